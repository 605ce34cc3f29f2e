"""Which step a build wants, which one was found, and what is said where there is none. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sentinel.api.reasons import Reason
from sentinel.config.findings import visible
from sentinel.errors import InfrastructureError, UserError
from sentinel.nearest import nearest
from sentinel.steps.manifest import Manifest
from sentinel.steps.versions import LATEST, is_exact
from sentinel.text import count_of

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class WantedStep:
    """A step as wercker.yml names it. `version` is `*` or exact; `url` what stands quoted behind it, or ""."""

    owner: str
    name: str
    version: str = LATEST
    url: str = ""

    def __str__(self) -> str:
        version = "" if self.version == LATEST else f"@{self.version}"
        return visible(f"{self.owner}/{self.name}{version}")

    @property
    def path_in_source(self) -> str:
        """Where in the project's own source the step lies, from `file://./steps/x` or `file://steps/x`; else "".

        "." is the root itself. Whether it leads out of the source is checked by `check_wanted`.
        """
        if not self.url.startswith("file://") or self.url.startswith("file:///"):
            return ""
        parts = [
            part for part in self.url.removeprefix("file://").split("/") if part not in ("", ".")
        ]
        return "/".join(parts) or "."


@dataclass(frozen=True, kw_only=True)
class FoundStep:
    """A step, ready to be put into a box.

    `version` is the one `*` stood for, "" where the step does not say; `archive` a tar.gz in the cache, entries
    relative to the step's root, safe to unpack, always the same bytes for the same step; `digest` its SHA-256 in hex,
    `size` its bytes; `origin` says where it came from, without credentials; `warnings` are for the build's author.

    A `standard` step is a part of our own image: `archive` is its directory there, and it has no digest.

    The archive stays as long as the cache's directory.
    """

    owner: str
    name: str
    version: str
    digest: str
    size: int
    archive: Path
    manifest: Manifest
    origin: str
    warnings: tuple[str, ...] = ()
    standard: bool = False

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}" + (f"@{self.version}" if self.version else "")


def check_wanted(wanted: WantedStep) -> None:
    """Raises UserError(StepInvalid) for names and versions that no registry could have."""
    for what, text in (("owner", wanted.owner), ("name", wanted.name)):
        if _NAME.fullmatch(text) is None:
            raise invalid(
                f"step {wanted}: {visible(text)!r} cannot be the {what} of a step. Use letters, digits, dots, dashes "
                "and underscores"
            )
    if wanted.version != LATEST and not is_exact(wanted.version):
        raise invalid(
            f"step {wanted}: {visible(wanted.version)!r} is not a version. Write one version exactly, such as "
            f"{wanted.owner}/{wanted.name}@1.2.3, or none for the highest; there are no ranges"
        )
    try:
        urlsplit(wanted.url).port  # noqa: B018 - read, it is checked
    except ValueError as error:
        raise invalid(
            f"step {wanted}: what is quoted behind its name is not a URL: {error}"
        ) from error
    if ".." in wanted.path_in_source.split("/"):
        raise invalid(f"step {wanted}: {visible(wanted.url)} leads outside the project's source")


def is_name(text: str) -> bool:
    """Whether it may be the owner or the name of a step."""
    return _NAME.fullmatch(text) is not None


def invalid(message: str) -> UserError:
    """A step that is there, or is asked for, in a way that cannot be."""
    return UserError(message, reason=Reason.STEP_INVALID)


def not_found(message: str) -> UserError:
    """A step that is not there."""
    return UserError(message, reason=Reason.STEP_NOT_FOUND)


def unavailable(message: str) -> InfrastructureError:
    """A registry that cannot be asked."""
    return InfrastructureError(message, reason=Reason.REGISTRY_UNAVAILABLE)


def no_such_step(
    wanted: WantedStep, *, where: str, names: Sequence[str] = (), versions: Sequence[str] = ()
) -> UserError:
    """StepNotFound with what the registry has that is like it: `names` are owner/name, `versions` of this step."""
    if versions:
        return not_found(
            f"step {wanted}: {where} has no such version. It has {_list(versions)}; without @ the highest is used"
        )
    return not_found(f"step {wanted} is not in {where}{_suggestion(wanted, names)}")


def without_credentials(url: str) -> str:
    """The URL for people: no user, password, query or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    if not parts.scheme or not parts.netloc:
        return visible(url.partition("?")[0])
    return visible(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def _suggestion(wanted: WantedStep, names: Sequence[str]) -> str:
    # The repository of a step is often called step-x, and x is the step's name.
    short = wanted.name.removeprefix("wercker-").removeprefix("step-")
    full = f"{wanted.owner}/{wanted.name}"
    near = [
        each
        for each in names
        if each.partition("/")[2] in (wanted.name, short)
        or each.lower().replace("_", "-") == full.lower().replace("_", "-")
    ]
    near += [each for each in nearest(full, names, count=3, share=0.25) if each not in near]
    return f". Did you mean {' or '.join(near[:3])}?" if near else ""


def _list(words: Sequence[str]) -> str:
    more = f" and {count_of(len(words) - 5, 'other')}" if len(words) > 5 else ""
    return ", ".join(words[:5]) + more
