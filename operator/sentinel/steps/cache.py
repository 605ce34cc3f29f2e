"""Steps that were fetched for one Build: archives by digest, and which digest a version of a step had.

In a directory of the Build's own, which is gone when it was resolved; what later Builds may use is kept by whoever
asked (`resolver/shelf.py`). An archive appears by a rename, whole or not at all. Several threads may use it at once.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sentinel.steps.folder import SCRIPTS, manifest_of
from sentinel.steps.manifest import Manifest
from sentinel.steps.pack import StepLimits, pack


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A step in the cache. `does_something` where it has a script."""

    digest: str
    size: int
    archive: Path
    manifest: Manifest
    does_something: bool


@dataclass(frozen=True, kw_only=True)
class Key:
    """A version of a step in a registry."""

    registry: str
    owner: str
    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a version turned out to be. `mark` is its checksum or commit, "" where the registry gave none."""

    mark: str
    digest: str


class Cache:
    """A directory of steps, and what is known of them."""

    def __init__(self, directory: Path) -> None:
        self._archives = directory / "archives"
        self._work = directory / "work"
        self._stored: dict[str, Stored] = {}
        self._versions: dict[Key, Known] = {}
        self._lock = threading.Lock()
        for each in (self._archives, self._work):
            each.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def workdir(self) -> Iterator[Path]:
        """A directory for one fetch, on the cache's file system, gone afterwards."""
        directory = Path(tempfile.mkdtemp(dir=self._work))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def put(self, tree: Path, workdir: Path, *, limits: StepLimits) -> Stored:
        """Pack the tree and keep it. Raises Unpackable."""
        made = workdir / "step.tar.gz"
        packed = pack(tree, made, limits=limits)
        stored = Stored(
            digest=packed.digest,
            size=packed.size,
            archive=self._archives / f"{packed.digest}.tar.gz",
            manifest=manifest_of(tree),
            does_something=any((tree / name).is_file() for name in SCRIPTS),
        )
        with self._lock:
            made.rename(stored.archive)
            return self._stored.setdefault(packed.digest, stored)

    def get(self, digest: str) -> Stored | None:
        """The step of this digest; None where the cache does not have it."""
        with self._lock:
            return self._stored.get(digest)

    def look_up(self, key: Key) -> Known | None:
        """What this version was when it was fetched."""
        with self._lock:
            return self._versions.get(key)

    def remember(self, key: Key, known: Known) -> None:
        """Note what this version is."""
        with self._lock:
            self._versions[key] = known
