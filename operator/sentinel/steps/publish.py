"""Adding a version of a step to a directory of steps (`folder.py`), from an uploaded archive. Blocking.

What is there is never changed: a version is written once, as a whole, or not at all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from sentinel.errors import UserError
from sentinel.source.failure import Deadline
from sentinel.steps.folder import SCRIPTS, FolderStep, is_step, manifest_of, versions_of
from sentinel.steps.manifest import MANIFESTS, Manifest
from sentinel.steps.pack import StepLimits, Unpackable, pack
from sentinel.steps.tree import unpacked
from sentinel.steps.versions import bare, choose, is_exact
from sentinel.steps.wanted import is_name

SECONDS = 60.0
"""For unpacking and packing an upload."""

_RESERVED = frozenset({"internal"})
_WORK = ".upload-"  # begins with a dot, so that no listing of the directory shows it


class Invalid(Exception):
    """What was uploaded cannot be a step of that name. The message is a sentence."""


class Exists(Exception):
    """The registry has that version, or has the step in a way that takes no other. The message is a sentence."""


def check_new(folder: Path, *, owner: str, name: str, version: str) -> None:
    """Raises Invalid for what no step may be called, Exists for a version that cannot be added."""
    for what, text in (("owner", owner), ("name", name)):
        if not is_name(text):
            raise Invalid(
                f"{text[:100]!r} cannot be the {what} of a step: use letters, digits, dots, dashes and underscores"
            )
    if owner in _RESERVED:
        raise Invalid(
            f"owner {owner} is reserved: a wercker.yml cannot refer to a step of this owner"
        )
    if not is_exact(version) or version != bare(version):
        raise Invalid(f"{version[:100]!r} is not a version: write one such as 1.2.3")
    if is_step(folder / owner):
        raise Exists(f"{owner} is a step in this registry's directory, not an owner")
    if is_step(folder / owner / name):
        raise Exists(
            f"{owner}/{name} is one directory without versions in this registry: move it to "
            f"{owner}/{name}/<version> there, then others can be published"
        )
    if choose(version, (each.version for each in versions_of(folder, owner, name))) is not None:
        raise Exists(
            f"{owner}/{name}@{version} exists, and versions are never overwritten: publish a higher version"
        )


def publish(
    archive: Path, *, folder: Path, owner: str, name: str, version: str, limits: StepLimits
) -> FolderStep:
    """Check the archive (tar.gz) and add it to `folder` as `owner/name/version`; that step.

    Raises Invalid, Exists; OSError where the directory cannot be written.
    """
    check_new(folder, owner=owner, name=name, version=version)
    # On the file system of the directory, so that it can be renamed into its place.
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=folder) as work:
        root, manifest = _checked(archive, Path(work), name=name, version=version, limits=limits)
        home = folder / owner / name
        home.mkdir(parents=True, exist_ok=True)
        target = home / version
        try:
            root.rename(target)
        except OSError as error:
            if target.exists():
                raise Exists(
                    f"{owner}/{name}@{version} exists, and versions are never overwritten"
                ) from error
            raise
    return FolderStep(owner=owner, name=name, version=version, root=target, manifest=manifest)


def _checked(
    archive: Path, work: Path, *, name: str, version: str, limits: StepLimits
) -> tuple[Path, Manifest]:
    """The unpacked step's root and its manifest. Raises Invalid."""
    try:
        root = unpacked(
            archive, work, limits=limits, what="the archive", deadline=Deadline(SECONDS)
        )
    except UserError as error:
        raise Invalid(error.message) from error
    except TimeoutError as error:
        raise Invalid(f"the archive took more than {SECONDS:.0f} s to unpack") from error
    if not is_step(root):
        raise Invalid(
            f"the archive is not a step: it has none of {', '.join((*SCRIPTS, *MANIFESTS))} in its root"
        )
    manifest = manifest_of(root)
    if not manifest.file:
        raise Invalid("the step has no manifest: add a step.yml with its name and version")
    for what, text, wanted in (
        ("name", manifest.name, name),
        ("version", bare(manifest.version), version),
    ):
        if text != wanted:
            why = f"; {manifest.warnings[0]}" if manifest.warnings else ""
            raise Invalid(
                f"{manifest.file} has {what} {text[:100]!r}, and the upload is for {wanted!r}{why}"
            )
    try:
        pack(root, work / "check.tar.gz", limits=limits)
    except Unpackable as error:
        raise Invalid(f"the step {error}") from error
    return root, manifest
