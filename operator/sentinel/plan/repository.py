"""Which repository a build's image goes to, and what of it is left out.

Whether the name is one, and whether the namespace may push there, is decided with `registry.pushing`.
"""

from __future__ import annotations

import hashlib
import posixpath
import re

from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.plan.generic import application_name
from sentinel.plan.model import PlanImage, PlanSource
from sentinel.plan.users import is_read_only
from sentinel.settings import Settings

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LONGEST = 128


def plan_image(build: Build, *, source: PlanSource, settings: Settings) -> PlanImage:
    """Where the box goes. Without a repository, or a prefix of the operator's to make one, it goes nowhere.

    Raises UserError InvalidSpec for an excludePath that is no plain absolute path, CommitUnsupported.
    """
    spec = build.spec.image
    exclude_paths = tuple(dict.fromkeys(_plain_path(path) for path in spec.exclude_paths))
    repository = own_repository(build, source=source, settings=settings)
    if spec.commit == "never" or not repository:
        return PlanImage(pull_secrets=tuple(ref.name for ref in spec.pull_secret_refs))
    if is_read_only(build.spec.pod.box):
        raise UserError(
            "spec.pod.box.securityContext.readOnlyRootFilesystem leaves nothing to commit: remove it, or set "
            "spec.image.commit: never",
            reason=Reason.COMMIT_UNSUPPORTED,
        )
    return PlanImage(
        commit=spec.commit,
        repository=repository,
        push_secret=spec.push_secret_ref.name if spec.push_secret_ref else "",
        pull_secrets=tuple(ref.name for ref in spec.pull_secret_refs),
        exclude_paths=exclude_paths,
        latest="every" if settings.images.latest == "every" else "green",
    )


def own_repository(build: Build, *, source: PlanSource, settings: Settings) -> str:
    """Where a Build's images go, the box's and those that its steps build; "" for nowhere."""
    if settings.images.local:
        return ""
    # Registries have no upper case in a repository's path, and wercker lower-cased it.
    repository = build.spec.image.repository.lower()
    if not repository and settings.images.prefix:
        name = repository_name(application_name(build, source=source))
        repository = f"{settings.images.prefix.rstrip('/').lower()}/{build.namespace}/{name}"
    return repository


def repository_name(application: str) -> str:
    """An application's name as a repository's, which has lower case only (github.com/distribution/reference).

    What still cannot be one is cut to shape and gets eight hexadecimal digits of its hash, so that `.x`, `x` and `x!`
    never share a repository.
    """
    name = application.lower()
    if _NAME.fullmatch(name) and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(application.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    shape = re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:80].rstrip("-")
    return f"{shape}-{digest}" if shape else f"app-{digest}"


def _plain_path(path: str) -> str:
    """An entry of excludePaths as the agent compares it. Raises UserError InvalidSpec."""
    parts = path.split("/")
    why = ""
    if not path.startswith("/"):
        why = "it does not begin with /" + (
            "; ~ is not replaced by a home directory" if path.startswith("~") else ""
        )
    elif ".." in parts:
        why = "it contains .."
    elif found := re.search(r"[*?\[\]{}]", path):
        why = (
            f"{found[0]} is not a pattern here, and everything below a directory is left out anyway: write "
            f"{posixpath.dirname(path[: found.start()] + 'x') or '/'}"
        )
    elif not path.isprintable():
        why = "it contains a control character"
    plain = posixpath.normpath(f"/{path.lstrip('/')}")
    if not why and plain == "/":
        why = "nothing would be left of the image; set spec.image.commit: never for that"
    if why:
        raise UserError(
            f"spec.image.excludePaths: {path[:200]!r} cannot be used: {why}. Entries are absolute paths of files or "
            "directories in the box",
            reason=Reason.INVALID_SPEC,
        )
    return plain
