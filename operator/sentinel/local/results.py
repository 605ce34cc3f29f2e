"""What a run leaves in the project's `.sentinel`: output, report artifacts, logs, and the cache for the next run.

Boxes are somebody else's images: nothing of theirs is written outside of that directory, and none of it is unbounded.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from docker import errors

from sentinel.layout import CACHE_DIR, OUTPUT_DIR, report_artifacts
from sentinel.local.docker import Docker
from sentinel.local.project import OWN
from sentinel.source.unpack import ArchiveLimits, Refused, unpack

MIB = 1024 * 1024
OUTPUT_LIMIT = 5000 * MIB
"""Bytes of a build's output, as on a cluster."""
ARTIFACTS_LIMIT = 1000 * MIB
"""Bytes of one step's report artifacts, as on a cluster."""
MOST_ENTRIES = 2_000_000
"""Files and directories of either."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The directory `.sentinel` of a project."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / OWN

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def cache_of(self, pipeline: str) -> Path:
        """The cache of a pipeline, a tar."""
        return self.folder / "cache" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', pipeline)}.tar"

    def begin(self) -> None:
        """Make the directory, which git ignores, and remove what the last run left but for the cache."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / ".gitignore").write_text("*\n", encoding="utf-8")
        for name in ("output", "artifacts", "logs"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def log(self, ordinal: int, step_id: str) -> Path:
        """Where a step's log is written."""
        (self.folder / "logs").mkdir(exist_ok=True)
        return self.folder / "logs" / f"{ordinal:02d}-{step_id}.log"


def save_output(docker: Docker, box: str, kept: Kept) -> list[str]:
    """The output as a directory; what of it could not be written. Blocking. Raises OSError where it is too large."""
    return _unpack(docker, box, OUTPUT_DIR, kept.output, limit=OUTPUT_LIMIT)


def save_artifacts(docker: Docker, box: str, kept: Kept, step_id: str) -> list[str]:
    """The report artifacts of a step as a directory. As `save_output`."""
    target = kept.folder / "artifacts" / step_id
    return _unpack(docker, box, report_artifacts(step_id), target, limit=ARTIFACTS_LIMIT)


def save_cache(docker: Docker, box: str, path: Path, *, limit: int) -> None:
    """The cache as a tar, in the place of the last one. Blocking. Raises OSError where it is larger than `limit`."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with suppress(errors.NotFound):
            _write(docker.api.get_archive(box, CACHE_DIR)[0], fresh, limit=limit)
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _write(chunks: Iterable[bytes], path: Path, *, limit: int) -> None:
    size = 0
    with path.open("xb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise OSError(f"it has more than {limit // MIB} MiB")
            file.write(chunk)


def _unpack(docker: Docker, box: str, source: str, target: Path, *, limit: int) -> list[str]:
    """The directory `source` of the box as `target`, if it is there and holds anything."""
    try:
        chunks, _ = docker.api.get_archive(box, source)
    except errors.NotFound:
        return []
    return unpack_directory(chunks, target, limit=limit)


def unpack_directory(chunks: Iterable[bytes], target: Path, *, limit: int) -> list[str]:
    """Docker's tar of one directory as `target`, which is not made where the directory is empty.

    Gives what is unsafe to unpack and was left out. Raises OSError where it is too large or damaged.
    """
    left_out: list[str] = []
    limits = ArchiveLimits(bytes=limit, entries=MOST_ENTRIES, name=4096)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive.tar")
        # Headers and padding come on top of the files.
        _write(chunks, archive, limit=limit + limit // 8)
        try:
            unpack(str(archive), str(target), limits=limits, strip="one", left_out=left_out)
        except Refused as e:
            raise OSError(e.message) from e
    if not any(target.iterdir()):
        target.rmdir()
    return left_out
