"""Steps that were fetched once: archives by digest, and which digest a version of a step had.

::

    archives/<digest>/step.tar.gz     the archive
    archives/<digest>/files.json      the manifests in it, and which scripts it has
    index/<sha256 of the key>.json    {"mark", "digest", "warnings"}
    work/                             half-done things

Everything appears by a rename, so a reader sees all of it or nothing; content is checked against its digest whenever it
is read. Bounded by bytes: who was not asked for longest goes first. Blocking; call it in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentinel.steps.manifest import MANIFESTS, Manifest, read_manifest
from sentinel.steps.pack import Limits, Packed, pack

SCRIPTS = ("run.sh", "init.sh")
"""What a step's root has if it does anything: they are sourced, `init.sh` first."""

_MOST_KEYS = 10_000
_STALE_SECONDS = 3600.0
_MANIFEST_LIMIT = 1024 * 1024


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
    """A directory of steps, at most `limit` bytes of archives. Several threads may use it at once."""

    def __init__(self, directory: Path, *, limit: int) -> None:
        self._archives = directory / "archives"
        self._index = directory / "index"
        self._work = directory / "work"
        self._limit = limit
        self._lock = threading.Lock()
        for each in (self._archives, self._index, self._work):
            each.mkdir(parents=True, exist_ok=True)
        # What a killed process left behind; another one may be at work right now.
        for left in self._work.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def workdir(self) -> Iterator[Path]:
        """A directory for one fetch, on the cache's file system, gone afterwards."""
        directory = Path(tempfile.mkdtemp(dir=self._work))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def put(self, tree: Path, workdir: Path, *, limits: Limits) -> Stored:
        """Pack the tree and keep it. Raises Unpackable."""
        made = workdir / "packed"
        made.mkdir()
        packed = pack(tree, made / "step.tar.gz", limits=limits)
        facts = {
            "files": {
                name: text
                for name in MANIFESTS
                if (text := _manifest_text(tree / name)) is not None
            },
            "scripts": [name for name in SCRIPTS if (tree / name).is_file()],
        }
        (made / "files.json").write_text(json.dumps(facts), encoding="utf-8")
        home = self._archives / packed.digest
        with self._lock:
            try:
                made.rename(home)
            except OSError:
                # Somebody was faster with the same bytes, unless what is there is spoiled.
                if self._read(packed.digest) is None:
                    shutil.rmtree(home, ignore_errors=True)
                    made.rename(home)
            stored = self._read(packed.digest)
            assert stored is not None  # noqa: S101 - just written, under the lock
            self._trim(keep=packed)
        return stored

    def get(self, digest: str) -> Stored | None:
        """The step of this digest, its bytes checked; None where the cache has it no more, or spoiled."""
        with self._lock:
            stored = self._read(digest)
            if stored is None and (self._archives / digest).exists():
                shutil.rmtree(self._archives / digest, ignore_errors=True)
            return stored

    def look_up(self, key: Key) -> Known | None:
        """What this version was when it was fetched."""
        try:
            facts = json.loads(self._path(key).read_bytes())
            return Known(mark=str(facts["mark"]), digest=str(facts["digest"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, key: Key, known: Known) -> None:
        """Note what this version is."""
        path = self._path(key)
        descriptor, name = tempfile.mkstemp(dir=self._work)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"mark": known.mark, "digest": known.digest}, file)
        Path(name).replace(path)

    def _path(self, key: Key) -> Path:
        text = json.dumps([key.registry, key.owner, key.name, key.version])
        return self._index / f"{hashlib.sha256(text.encode()).hexdigest()}.json"

    def _read(self, digest: str) -> Stored | None:
        home = self._archives / digest
        archive = home / "step.tar.gz"
        try:
            with archive.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return None
                size = file.tell()
            facts = json.loads((home / "files.json").read_bytes())
            files = {
                name: text.encode("utf-8", "surrogateescape")
                for name, text in facts["files"].items()
            }
            scripts = facts["scripts"]
            os.utime(home)
        except (OSError, ValueError, KeyError, AttributeError):
            return None
        return Stored(
            digest=digest,
            size=size,
            archive=archive,
            manifest=read_manifest(files),
            does_something=bool(scripts),
        )

    def _trim(self, *, keep: Packed) -> None:
        """Remove what was not used for longest, until the rest fits; and index entries that lead nowhere."""
        homes = []
        for home in self._archives.iterdir():
            with contextlib.suppress(OSError):
                homes.append((home.stat().st_mtime_ns, (home / "step.tar.gz").stat().st_size, home))
        total = sum(size for _, size, _ in homes)
        removed = False
        for _, size, home in sorted(homes):
            if total <= self._limit:
                break
            if home.name != keep.digest:
                shutil.rmtree(home, ignore_errors=True)
                total -= size
                removed = True
        notes = list(self._index.iterdir())
        if not removed and len(notes) <= _MOST_KEYS:
            return
        alive = {home.name for home in self._archives.iterdir()}
        aged = sorted(notes, key=lambda note: note.stat().st_mtime_ns, reverse=True)
        for age, note in enumerate(aged):
            with contextlib.suppress(OSError, ValueError, KeyError):
                if age >= _MOST_KEYS or json.loads(note.read_bytes())["digest"] not in alive:
                    note.unlink()


def _manifest_text(path: Path) -> str | None:
    """The file's text, bytes that are no UTF-8 kept; None where there is no such regular file."""
    if not path.is_file() or path.is_symlink():
        return None
    with path.open("rb") as file:
        return file.read(_MANIFEST_LIMIT + 1).decode("utf-8", "surrogateescape")
