"""What every kind of registry is to us: a release is looked up, then its tree is fetched. Blocking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sentinel.source.failure import Deadline
from sentinel.steps.pack import StepLimits
from sentinel.steps.wanted import WantedStep


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version of a step, where it is, and how to know it again.

    `version` is "" where only the step itself may tell; `place` is the registry's own way to it (a URL, a path, a ref);
    `mark` is a checksum or commit, "" for none. `settled` where the same version with the same mark is the same bytes,
    so that a copy in the cache will do. `origin` is for people, without credentials.
    """

    owner: str
    name: str
    version: str
    place: str
    origin: str
    mark: str = ""
    settled: bool = False
    warnings: tuple[str, ...] = ()


class Registry(Protocol):
    """A place that has steps."""

    @property
    def title(self) -> str:
        """What it is called in messages: its URL without credentials. Names it in the cache as well."""

    def look_up(self, wanted: WantedStep, deadline: Deadline) -> Release:
        """Which version is meant. UserError StepNotFound, InfrastructureError where the registry cannot be asked."""

    def fetch(
        self, release: Release, workdir: Path, *, limits: StepLimits, deadline: Deadline
    ) -> Path:
        """The directory that has its tree: below `workdir`, or the registry's own, which is only read.

        UserError StepInvalid for what may not be unpacked, StepNotFound where it went away meanwhile.
        """
