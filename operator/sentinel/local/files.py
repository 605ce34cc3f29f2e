"""What a box finds when it starts, as one tar: boxkit, the source, the steps' files, the cache.

Modes are git's: 0755 for what its owner may execute, 0644 for the rest, so that a user of the box that is not root can
read everything, as in a pod. Owners are root.
"""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sentinel.layout import BOXKIT, FETCHED_SOURCE, WERCKER_DIR, step_dir
from sentinel.plan.model import Plan
from sentinel.source.shipped import place

IN_MEMORY = 32 * 1024 * 1024
"""Bytes of a tar that is not written to disk."""


@contextmanager
def packed(
    plan: Plan,
    *,
    root: Path,
    names: Iterable[str],
    archives: Mapping[str, Path],
    boxkit: Path,
    writable: Iterable[str],
) -> Iterator[BinaryIO]:
    """The tar, for the root of the box's file system. Blocking; OSError where a file cannot be read.

    `names` are the source's files below `root`; `archives` are the steps' own, by digest; `writable` directories are
    for everybody.
    """
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for directory in writable:
                _directory(tar, directory, mode=0o777)
            for directory in (WERCKER_DIR, FETCHED_SOURCE):
                _directory(tar, directory)
            _file(tar, boxkit, BOXKIT, mode=0o755)
            add_tree(tar, root, names, FETCHED_SOURCE)
            for step in plan.steps:
                if step.digest:
                    _archive(tar, archives[step.digest], step_dir(step.id))
                elif step.standard:
                    _standard(tar, step.name, step_dir(step.id))
        file.seek(0)
        yield file  # type: ignore[misc]  # a file in all but its type


def add_tree(tar: tarfile.TarFile, root: Path, names: Iterable[str], where: str) -> None:
    """Add files below `root`, with their directories, below `where`."""
    made: set[str] = set()
    for name in names:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in made:
                made.add(folder)
                _directory(tar, f"{where}/{folder}")
        _file(tar, root / name, f"{where}/{name}")


def _file(tar: tarfile.TarFile, path: Path, name: str, *, mode: int = 0) -> None:
    """A file or link; what is neither, like a socket, or has gone meanwhile, is left out."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    info = tarfile.TarInfo(name.lstrip("/"))
    info.mtime = int(found.st_mtime)
    info.mode = mode or (0o755 if found.st_mode & stat.S_IXUSR else 0o644)
    if stat.S_ISLNK(found.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(path.readlink())
        tar.addfile(info)
    elif stat.S_ISREG(found.st_mode):
        with path.open("rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            tar.addfile(info, file)


def _directory(tar: tarfile.TarFile, name: str, *, mode: int = 0o755) -> None:
    info = tarfile.TarInfo(name.lstrip("/"))
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def _archive(tar: tarfile.TarFile, archive: Path, where: str) -> None:
    """A step's archive below `where`. Its entries were checked when it was packed (`steps.pack`)."""
    _directory(tar, where)
    with tarfile.open(archive, mode="r:*") as packed_step:
        for member in packed_step:
            data = packed_step.extractfile(member) if member.isreg() else None
            executable = member.isdir() or bool(member.mode & stat.S_IXUSR)
            member.name = f"{where}/{member.name}".lstrip("/")
            member.mode = 0o755 if executable else 0o644
            member.uid = member.gid = 0
            tar.addfile(member, data)


def _standard(tar: tarfile.TarFile, name: str, where: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sentinel-step-") as folder:
        place(name, folder)
        found = sorted(each for each in Path(folder).rglob("*") if not each.is_dir())
        _directory(tar, where)
        add_tree(tar, Path(folder), (str(each.relative_to(folder)) for each in found), where)


def one_file(chunks: Iterable[bytes], *, limit: int) -> bytes:
    """The only file of a tar that comes in pieces. Raises OSError where the tar has more than `limit` bytes."""
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise OSError(f"it has more than {limit // 1024**2} MiB")
            file.write(chunk)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isreg() else None
                if data is not None:
                    return data.read()
    raise OSError("there is no such file in it")
