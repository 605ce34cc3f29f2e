"""A registry behind http: wercker's API in both generations, and a plain index (wercker.md "Registries of steps").

Asked in this order, each where the one before it answers 404:

* `GET <url>/api/steps/<owner>/<name>/<version>` with the token: `step.tarballUrl`, `step.version.number`
* `GET <url>/api/v2/steps/<owner>/<name>/<version>` without: `tarballUrl`, `version`
* `GET <url>/index.json` with the token: a list of `{"owner", "name", "version", "tarballUrl", "sha256"}`, which any
  web server can give. A `tarballUrl` may be relative to the answer's URL. Its names are also what a missing step is
  compared with.

Beside a tarball's URL a SHA-256 may stand as `sha256` or `checksum`; where it does, the bytes must have it. A published
version does not change, so one without a checksum is downloaded once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from sentinel import network
from sentinel.config.findings import visible
from sentinel.source.failure import Deadline
from sentinel.steps.pack import StepLimits
from sentinel.steps.registry import Release
from sentinel.steps.tree import unpacked
from sentinel.steps.versions import LATEST, bare, choose, is_exact
from sentinel.steps.wanted import (
    WantedStep,
    invalid,
    is_name,
    no_such_step,
    not_found,
    unavailable,
    without_credentials,
)
from sentinel.steps.web import Web

_ANSWER_LIMIT = 1024 * 1024
_INDEX_LIMIT = 16 * 1024 * 1024
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_REFUSED = frozenset({401, 403})


class RemoteRegistry:
    """A registry behind http(s). `url` may have a path, and user and password, which stay between us and its host."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        ca: str = "",
        pause: float = 0.3,
        policy: network.Policy | None = None,
    ) -> None:
        self.title = without_credentials(url).rstrip("/")
        self._web = Web(home=url, token=token, ca=ca, pause=pause, policy=policy)
        # A server that gave a step by its index, and none by the API, is spared two 404s for each of the next ones.
        self._has_api = False
        self._is_index = False

    def look_up(self, wanted: WantedStep, deadline: Deadline) -> Release:
        if not self._is_index:
            found = self._from_api(wanted, deadline)
            if found is not None:
                return found
        base = f"{self.title}/index.json"
        entries = self._index(base, deadline)
        if entries is None:
            raise no_such_step(wanted, where=f"the step registry {self.title}")
        versions = {
            str(each.get("version")): each
            for each in entries
            if each.get("owner") == wanted.owner and each.get("name") == wanted.name
        }
        version = choose(wanted.version, versions)
        if version is None:
            raise no_such_step(
                wanted,
                where=f"the step registry {self.title}",
                names=[] if versions else _names(entries),
                versions=sorted(versions, reverse=True),
            )
        self._is_index = not self._has_api
        return self._release(wanted, versions[version], number=version, base=base)

    def fetch(
        self, release: Release, workdir: Path, *, limits: StepLimits, deadline: Deadline
    ) -> Path:
        return download_tree(
            self._web, release, workdir, limits=limits, deadline=deadline, with_token=True
        )

    def _from_api(self, wanted: WantedStep, deadline: Deadline) -> Release | None:
        version = wanted.version if wanted.version == LATEST else bare(wanted.version)
        path = f"{quote(wanted.owner)}/{quote(wanted.name)}/{quote(version, safe='*+')}"
        url = f"{self.title}/api/steps/{path}"
        status, data = self._ask(url, deadline)
        if status == 200:
            self._has_api = True
            step = _mapping(data, "step", url)
            facts = step.get("version")
            number = facts.get("number") if isinstance(facts, Mapping) else facts
            sums = {**(facts if isinstance(facts, Mapping) else {}), **step}
            return self._release(wanted, sums, number=number, base=url)
        url = f"{self.title}/api/v2/steps/{path}"
        status, data = self._ask(url, deadline, with_token=False)
        if status == 200:
            self._has_api = True
            flat = _mapping(data, "", url)
            return self._release(wanted, flat, number=flat.get("version"), base=url)
        return None

    def _index(self, url: str, deadline: Deadline) -> list[Mapping[str, Any]] | None:
        status, data = self._ask(url, deadline, limit=_INDEX_LIMIT)
        if status != 200:
            return None
        if not isinstance(data, list):
            raise unavailable(f"{url} is not a list of steps")
        return [each for each in data if isinstance(each, Mapping)]

    def _ask(
        self, url: str, deadline: Deadline, *, limit: int = _ANSWER_LIMIT, with_token: bool = True
    ) -> tuple[int, Any]:
        status, data = self._web.get_json(
            url, limit=limit, deadline=deadline, with_token=with_token
        )
        if status in _REFUSED and with_token:
            raise unavailable(
                f"the step registry {self.title} denied access: HTTP {status}. Check the operator's setting "
                "steps.token"
            )
        if status not in (200, 404, 410, *_REFUSED):
            raise unavailable(f"the step registry {self.title} answers HTTP {status} to {url}")
        return status, data

    def _release(
        self, wanted: WantedStep, facts: Mapping[str, Any], *, number: object, base: str
    ) -> Release:
        """Nothing of the answer is believed before it was looked at."""
        place = facts.get("tarballUrl")
        if not isinstance(place, str) or not place:
            raise unavailable(f"{base} names no tarballUrl for step {wanted}")
        try:
            place = urljoin(base, place)
            parts = urlsplit(place)
            # A port that is none raises when it is read.
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise invalid(
                f"step {wanted}: the registry {self.title} says it is at {without_credentials(place)}, which is not an "
                "http address"
            )
        version = number if isinstance(number, str) and is_exact(number) else ""
        if wanted.version != LATEST:
            if version and bare(version) != bare(wanted.version):
                raise invalid(
                    f"step {wanted}: the registry {self.title} gives version {version} in its place"
                )
            version = version or bare(wanted.version)
        stated = facts.get("sha256") or facts.get("checksum") or ""
        match = _SHA256.fullmatch(stated) if isinstance(stated, str) else None
        warnings: tuple[str, ...] = ()
        if stated and match is None:
            warnings = (
                f"the registry's checksum is not a SHA-256, so it is not used: {visible(str(stated))}",
            )
        return Release(
            owner=wanted.owner,
            name=wanted.name,
            version=version,
            place=place,
            origin=without_credentials(place),
            mark=match[1].lower() if match else "",
            settled=bool(version or match),
            warnings=warnings,
        )


class UrlStep:
    """One step by the address of its archive, quoted behind its name: only where the operator allows it.

    Nobody says which version it is or whether it changed, so it is downloaded each time.
    """

    def __init__(
        self, url: str, *, ca: str = "", pause: float = 0.3, policy: network.Policy | None = None
    ) -> None:
        self.title = without_credentials(url)
        self._url = url
        self._web = Web(ca=ca, pause=pause, policy=policy)

    def look_up(self, wanted: WantedStep, deadline: Deadline) -> Release:
        version = "" if wanted.version == LATEST else bare(wanted.version)
        return Release(
            owner=wanted.owner,
            name=wanted.name,
            version=version,
            place=self._url,
            origin=self.title,
        )

    def fetch(
        self, release: Release, workdir: Path, *, limits: StepLimits, deadline: Deadline
    ) -> Path:
        return download_tree(
            self._web, release, workdir, limits=limits, deadline=deadline, with_token=False
        )


def download_tree(
    web: Web,
    release: Release,
    workdir: Path,
    *,
    limits: StepLimits,
    deadline: Deadline,
    with_token: bool,
) -> Path:
    """Download a release's archive, check it against `release.mark`, unpack it; the step's root."""
    what = f"step {release.owner}/{release.name}: the archive {release.origin}"
    archive = workdir / "download"
    status, digest = web.download(
        release.place, archive, limit=limits.packed, deadline=deadline, with_token=with_token
    )
    if status in (404, 410):
        raise not_found(f"{what} not found (HTTP {status})")
    if status != 200:
        raise unavailable(f"{what} was denied with HTTP {status}")
    if release.mark and digest != release.mark:
        raise invalid(
            f"{what} does not have the SHA-256 that the registry states, {release.mark}: it was changed or damaged, "
            "and is not used"
        )
    tree = unpacked(archive, workdir, limits=limits, what=what, deadline=deadline)
    archive.unlink()
    return tree


def _mapping(data: Any, key: str, url: str) -> Mapping[str, Any]:
    value = data.get(key) if key and isinstance(data, Mapping) else data
    if not isinstance(value, Mapping):
        raise unavailable(f"{url} did not answer with the JSON of a step")
    return value


def _names(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    found = {(each.get("owner"), each.get("name")) for each in entries}
    return sorted(
        f"{owner}/{name}"
        for owner, name in found
        if isinstance(owner, str) and isinstance(name, str) and is_name(owner) and is_name(name)
    )
