"""One step, one archive: the same tree always becomes the same bytes, so that its digest names the step.

Entries are sorted; owners and times are fixed; permission bits are kept, set-id bits are not. What a step has no
business with is refused here as well, because a tree may come from a folder and not out of a checked archive: devices,
links that lead out, names with control characters. Blocking; call it in a thread.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentinel.config.findings import visible
from sentinel.source import packed as archives
from sentinel.source.tree import MAX_DEPTH

# 1980, the oldest time that zip and make are at ease with.
_TIME = 315532800
_LEFT_OUT = frozenset({".git"})


@dataclass(frozen=True, kw_only=True)
class StepLimits:
    """How large a step may be: bytes of its archive, bytes and number of its files."""

    packed: int = 20 * 1024 * 1024
    unpacked: int = 100 * 1024 * 1024
    entries: int = 5000


@dataclass(frozen=True, kw_only=True)
class Packed:
    """An archive that was written: SHA-256 in hex, bytes."""

    digest: str
    size: int


class Unpackable(Exception):
    """The tree cannot be a step's. The message is a sentence's end: `holds a device: x`."""


def pack(root: Path, target: Path, *, limits: StepLimits) -> Packed:
    """Write the tree below the directory `root` to the new file `target`, a tar.gz. Raises Unpackable."""
    root = Path(os.path.realpath(root))
    left = limits.unpacked
    try:
        with (
            target.open("xb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as zipped,
            tarfile.open(fileobj=zipped, mode="w|", format=tarfile.GNU_FORMAT) as archive,
        ):
            for count, (name, entry) in enumerate(_entries(root, ""), start=1):
                if count > limits.entries:
                    raise Unpackable(f"has more than {limits.entries} files")
                header = _header(root, name, entry)
                if not header.isreg():
                    archive.addfile(header)
                    continue
                # Not followed even if it was made a link since.
                descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW)
                with open(descriptor, "rb") as file:  # noqa: PTH123 - by its descriptor
                    header.size = os.fstat(descriptor).st_size
                    left -= header.size
                    if left < 0:
                        raise Unpackable(f"has more than {limits.unpacked} bytes")
                    archive.addfile(header, file)
    except OSError as error:
        raise Unpackable(f"cannot be read: {visible(str(error))}") from error
    size = target.stat().st_size
    unpacked = limits.unpacked - left
    if unpacked > max(archives.FLOOR, archives.ArchiveLimits().ratio * size):
        raise Unpackable(
            f"has {unpacked} bytes that pack to {size}, as a decompression bomb does: leave out large files of "
            "nothing but zeros"
        )
    if size > limits.packed:
        raise Unpackable(f"has {size} bytes even when packed, more than {limits.packed}")
    with target.open("rb") as file:
        return Packed(digest=hashlib.file_digest(file, "sha256").hexdigest(), size=size)


def fingerprint(root: Path) -> str:
    """Changes when a file below `root` does, at the price of a stat each. Raises Unpackable for more than 50,000."""
    digest = hashlib.sha256()
    for count, (name, entry) in enumerate(_entries(Path(os.path.realpath(root)), "")):
        if count > 50_000:
            raise Unpackable("has more than 50000 files")
        facts = entry.stat(follow_symlinks=False)
        digest.update(
            f"{name}\0{facts.st_mode}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ino}\n".encode(
                errors="surrogateescape"
            )
        )
    return digest.hexdigest()


def _entries(root: Path, below: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Relative names, each directory before what is in it, siblings by the bytes of their names."""
    with os.scandir(root / below) as found:
        entries = sorted(found, key=lambda each: os.fsencode(each.name))
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if name in _LEFT_OUT:
            continue
        _check_name(name)
        yield name, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(root, name)


def _check_name(name: str) -> None:
    """What unpacking would refuse in the box is refused here, where it can be reported."""
    if _is_odd(name):
        raise Unpackable(f"has a file with control characters in its name: {visible(name)}")
    if len(os.fsencode(name)) > archives.ArchiveLimits().name or name.count("/") >= MAX_DEPTH:
        raise Unpackable(f"has a file with a name that is too long: {visible(name)}")


def _is_odd(text: str) -> bool:
    return any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text)


def _header(root: Path, name: str, entry: os.DirEntry[str]) -> tarfile.TarInfo:
    facts = entry.stat(follow_symlinks=False)
    header = tarfile.TarInfo(name)
    header.mtime = _TIME
    header.mode = stat.S_IMODE(facts.st_mode) & 0o777 | 0o600
    if stat.S_ISDIR(facts.st_mode):
        header.type = tarfile.DIRTYPE
        header.mode |= 0o700
    elif stat.S_ISLNK(facts.st_mode):
        header.type = tarfile.SYMTYPE
        header.mode = 0o777
        header.linkname = _target(root, name)
    elif not stat.S_ISREG(facts.st_mode):
        raise Unpackable(f"has an entry that is not a file, directory or link: {visible(name)}")
    return header


def _target(root: Path, name: str) -> str:
    """Where a link leads, if that is inside. Followed for real: `a/..` is not where it seems if `a` is a link."""
    target = str((root / name).readlink())
    if target.startswith("/"):
        raise Unpackable(f"has a link with an absolute target: {visible(name)}")
    real = os.path.realpath(root / name)
    if real != str(root) and not real.startswith(f"{root}{os.sep}"):
        raise Unpackable(f"has a link that leads outside it: {visible(name)}")
    if _is_odd(target):
        raise Unpackable(f"has a link with control characters in its target: {visible(name)}")
    return target
