"""Directory trees for the layer tests: a real overlay to change, a tree as a value, and a layer laid over a tree."""

# Names that are no UTF-8 are bytes, which pathlib does not take.
# ruff: noqa: PTH115, PTH118, PTH123

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from sentinel.agent.layer import PlainLayer, write_layer
from sentinel.agent.tally import ChangeLimits
from sentinel.agent.upperdir import UpperDir

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount an overlay")

PLENTY = ChangeLimits(apparent_bytes=1 << 40, entries=100_000)
NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Overlay:
    """A mounted overlay: `merged` is what a box sees, `upper` what it changed over `lower`."""

    lower: Path
    upper: Path
    merged: Path


@contextmanager
def overlay(root: Path, *, base: Path | None = None) -> Iterator[Overlay]:
    """Mount an overlay below root; `base` becomes the lower directory."""
    lower = base or root / "lower"
    upper, work, merged = (root / name for name in ("upper", "work", "merged"))
    for path in (lower, upper, work, merged):
        path.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work},index=off"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=True)
    try:
        yield Overlay(lower, upper, merged)
    finally:
        subprocess.run(["umount", str(merged)], check=True)


def write(upper: Path, target: Path, **options: object) -> tuple[PlainLayer, list[tarfile.TarInfo]]:
    """The layer of an upper directory, and its members as tarfile reads them."""
    settings = {"limits": PLENTY, "stop": Event()} | options
    directory = UpperDir(upper, **settings)  # type: ignore[arg-type]
    layer = write_layer(directory, target, most=NO_LIMIT, stop=Event())
    assert layer.size <= directory.measure().tar_bytes
    with tarfile.open(target, "r:", errors="surrogateescape") as tar:
        return layer, tar.getmembers()


def names(members: list[tarfile.TarInfo]) -> list[str]:
    return [member.name for member in members]


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path below root: kind and mode, owner, seconds of mtime (files), content or target, its other names."""
    found: dict[str, tuple[object, ...]] = {}
    links: dict[int, list[str]] = {}
    for folder, directories, files in os.walk(os.fsencode(root)):
        for name in sorted(directories + files):
            path = os.path.join(folder, name)
            relative = os.fsdecode(os.path.relpath(path, os.fsencode(root)))
            info = os.lstat(path)
            body: object = ""
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    body = hashlib.sha256(file.read()).hexdigest()
                links.setdefault(info.st_ino, []).append(relative)
            elif stat.S_ISLNK(info.st_mode):
                body = os.readlink(path)
            mtime = int(info.st_mtime) if stat.S_ISREG(info.st_mode) else 0
            found[relative] = (
                stat.filemode(info.st_mode),
                info.st_uid,
                info.st_gid,
                mtime,
                body,
            )
    for group in links.values():
        for path in group:
            found[path] = (*found[path], tuple(sorted(group)))
    return found


def apply(layer: Path, base: Path) -> None:
    """Lay a layer over a tree, as the OCI image spec has it ("Applying changesets")."""
    fresh: set[str] = set()
    with tarfile.open(layer, "r:", errors="surrogateescape") as tar:
        # As `filter="fully_trusted"`, which Python has since 3.11.4 only.
        tar.extraction_filter = lambda member, _: member
        for member in tar.getmembers():
            folder, _, name = member.name.rpartition("/")
            where = base / folder
            if name == ".wh..wh..opq":
                for child in list(where.iterdir()):
                    if str(child.relative_to(base)) not in fresh:
                        _remove(child)
            elif name.startswith(".wh."):
                _remove(where / name.removeprefix(".wh."))
            else:
                fresh.add(member.name)
                target = base / member.name
                if os.path.lexists(target) and not (target.is_dir() and member.isdir()):
                    _remove(target)
                elif target.is_symlink():
                    target.unlink()
                tar.extract(member, base)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def tar_of(content: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(content), mode="r:")
