"""A directory as a registry: `owner/name/` is a step, or has one step for each version, `owner/name/1.2.3/`.

Whatever has a manifest or a script in it is a step; its manifest says which version it is. A directory may be a mounted
volume: links to directories (a ConfigMap's, for one) are followed down to the step, within it only where they stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sentinel.source.failure import Deadline
from sentinel.steps.manifest import MANIFESTS, Manifest, read_manifest
from sentinel.steps.pack import StepLimits
from sentinel.steps.registry import Release
from sentinel.steps.versions import choose, is_exact
from sentinel.steps.wanted import (
    WantedStep,
    is_name,
    no_such_step,
    not_found,
    unavailable,
)

SCRIPTS = ("run.sh", "init.sh")
"""What a step's root has if it does anything: they are sourced, `init.sh` first."""

NO_VERSION = "0.0.0"
"""The version of a step whose manifest names none."""

MAX_STEPS = 10_000


@dataclass(frozen=True, kw_only=True)
class FolderStep:
    """A version of a step in a directory."""

    owner: str
    name: str
    version: str
    root: Path
    manifest: Manifest

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}@{self.version}"


def is_step(folder: Path) -> bool:
    """Whether the directory is a step's root."""
    return any((folder / name).is_file() for name in (*SCRIPTS, *MANIFESTS))


def manifest_of(folder: Path) -> Manifest:
    """The manifest in a step's root."""
    files = {}
    for name in MANIFESTS:
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                files[name] = file.read(1024 * 1024 + 1)
    return read_manifest(files)


def list_steps(folder: Path) -> tuple[list[FolderStep], list[str]]:
    """All steps of a directory, sorted; and a sentence for each directory in a step's place that is none.

    Blocking. OSError where `folder` itself cannot be read.
    """
    steps: list[FolderStep] = []
    problems: list[str] = []
    for owner in _directories(folder):
        if is_step(owner):
            problems.append(
                f"{owner.name} is a step where an owner is expected: steps lie two levels deep, owner/name"
            )
            continue
        for home in _directories(owner):
            if not (is_name(owner.name) and is_name(home.name)):
                problems.append(
                    f"{owner.name}/{home.name} cannot be named in a wercker.yml: letters, digits, dots, dashes and "
                    "underscores only"
                )
                continue
            if is_exact(home.name) and is_step(home):
                problems.append(
                    f"{owner.name}/{home.name} is a version where a step is expected: the directory above this one is "
                    "what to serve"
                )
                continue
            found = versions_of(folder, owner.name, home.name)
            steps += found
            if not found:
                problems.append(
                    f"{owner.name}/{home.name} is not a step: it has none of "
                    f"{', '.join((*SCRIPTS, *MANIFESTS))}, and no "
                    "directory with one that is named after a version, such as 1.0.0"
                )
            if len(steps) > MAX_STEPS:
                problems.append(f"only the first {MAX_STEPS} steps are listed")
                return steps, problems
    return steps, problems


def versions_of(folder: Path, owner: str, name: str) -> list[FolderStep]:
    """The versions of one step, or none. Blocking."""
    home = folder / owner / name
    if not (is_name(owner) and is_name(name) and home.is_dir()):
        return []
    if is_step(home):
        manifest = manifest_of(home)
        version = manifest.version if is_exact(manifest.version) else NO_VERSION
        return [FolderStep(owner=owner, name=name, version=version, root=home, manifest=manifest)]
    return [
        FolderStep(owner=owner, name=name, version=each.name, root=each, manifest=manifest_of(each))
        for each in _directories(home)
        if is_exact(each.name) and is_step(each)
    ]


class FolderRegistry:
    """Steps in a directory of the operator's own file system. Read again each time: files change without notice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def title(self) -> str:
        return str(self._folder)

    def fetch(
        self, release: Release, workdir: Path, *, limits: StepLimits, deadline: Deadline
    ) -> Path:
        return Path(release.place)

    def look_up(self, wanted: WantedStep, deadline: Deadline) -> Release:
        if not self._folder.is_dir():
            raise unavailable(
                f"the step registry {self.title} is not a directory here: check the operator's setting steps.registry"
            )
        try:
            found = {
                step.version: step for step in versions_of(self._folder, wanted.owner, wanted.name)
            }
            version = choose(wanted.version, found)
            if version is None:
                names = [] if found else self._names()
                raise no_such_step(
                    wanted, where=self.title, names=names, versions=sorted(found, reverse=True)
                )
        except OSError as error:
            raise unavailable(
                f"the step registry {self.title} cannot be read: {error.strerror}"
            ) from error
        step = found[version]
        return Release(
            owner=step.owner,
            name=step.name,
            version=step.version,
            place=str(step.root),
            origin=str(step.root),
        )

    def _names(self) -> list[str]:
        return sorted({f"{step.owner}/{step.name}" for step in list_steps(self._folder)[0]})


class LocalStep:
    """One step by its path, from `file:///path` behind its name: only where the operator allows it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def title(self) -> str:
        return str(self._path)

    def look_up(self, wanted: WantedStep, deadline: Deadline) -> Release:
        try:
            there = is_step(self._path)
        except OSError:
            there = False
        if not there:
            raise not_found(
                f"step {wanted}: there is no step at {self.title} on the operator's file system. A step in the "
                "project itself is written with a relative path, file://./steps/x"
            )
        manifest = manifest_of(self._path)
        return Release(
            owner=wanted.owner,
            name=wanted.name,
            version=manifest.version if is_exact(manifest.version) else "",
            place=str(self._path),
            origin=f"file://{self._path}",
        )

    def fetch(
        self, release: Release, workdir: Path, *, limits: StepLimits, deadline: Deadline
    ) -> Path:
        return Path(release.place)


def _directories(folder: Path) -> list[Path]:
    return sorted(
        (each for each in folder.iterdir() if not each.name.startswith(".") and each.is_dir()),
        key=lambda each: each.name,
    )
