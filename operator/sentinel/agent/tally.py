"""What reading an upper directory may cost, counted while it is read: entries, bytes, and the memory for names.

One budget for all of it, because a box chooses the shape: few large files, many small ones, long paths, or hard links
that have to be remembered. Not here: reading (`upperdir.py`).
"""

from __future__ import annotations

import os
import stat
import sys
import tarfile
from dataclasses import dataclass

from sentinel.agent.failures import CommitFailure
from sentinel.api.reasons import CommitReason

MAX_PATH = 3968
"""Bytes of a path. Linux takes 4095, and a runtime unpacks an image below a directory of its own."""

MAX_NAMES = 128 * 1024 * 1024
"""Bytes of memory for the names of open directories and for hard links."""

_BLOCK = tarfile.BLOCKSIZE
_LINK_COST = 256
"""Bytes that a remembered inode takes, here and in the writer, besides its path."""
_RECORDS = 384
"""Bytes of pax records besides path and link target: large numbers, capabilities, the encoding."""


@dataclass(frozen=True, kw_only=True)
class ChangeLimits:
    """How much a box may have changed: apparent bytes (a sparse file counts in full) and number of entries."""

    apparent_bytes: int
    entries: int


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much it has changed. `tar_bytes` is the most that a tar of it can take."""

    apparent_bytes: int
    entries: int
    tar_bytes: int


class Tally:
    """Counts one walk. Its methods raise CommitFailure(TooBig) at the limit, naming the path that passed it."""

    def __init__(self, limits: ChangeLimits, *, names: int = MAX_NAMES) -> None:
        self._limits = limits
        self._names = names
        self._held = 0
        self._links: dict[int, int] = {}
        self.entries = 0
        self.apparent = 0
        self.tar = 2 * _BLOCK

    @property
    def size(self) -> Size:
        """What was counted so far."""
        return Size(apparent_bytes=self.apparent, entries=self.entries, tar_bytes=self.tar)

    def hold(self, name: str, folder: str) -> int:
        """Count the memory of one name in an open directory; gives it, for `release`."""
        cost = sys.getsizeof(name) + 16
        self._take(cost, folder)
        return cost

    def release(self, cost: int) -> None:
        """The names of a directory that was left."""
        self._held -= cost

    def add(self, info: os.stat_result, path: str) -> None:
        """Count an entry, and its content unless it is a hard link to something counted before."""
        length = len(os.fsencode(path))
        if length > MAX_PATH:
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"the path {shown(path)} has {length} bytes; an image with paths longer than {MAX_PATH} bytes cannot "
                "be unpacked. Delete it, or leave it out with image.excludePaths",
            )
        self.entries += 1
        if self.entries > self._limits.entries:
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"the box changed more than {self._limits.entries} files; the limit was passed at {shown(path)}. "
                "Delete what the image does not need, or leave it out with image.excludePaths",
            )
        link = info.st_size if stat.S_ISLNK(info.st_mode) else 0
        if stat.S_ISREG(info.st_mode):
            link = self._add_file(info, path, length)
        self.tar += _member(length, link)

    def mark(self, path: str) -> None:
        """Count the marker of an opaque directory."""
        self.tar += _member(len(os.fsencode(path)), 0)

    def _add_file(self, info: os.stat_result, path: str, length: int) -> int:
        """Count a regular file; gives the length of the path that it is a hard link to, or 0."""
        if info.st_nlink > 1:
            inode = info.st_dev << 64 | info.st_ino
            first = self._links.get(inode)
            if first is not None:
                return first
            self._take(_LINK_COST + sys.getsizeof(path), path)
            self._links[inode] = length
        self.apparent += info.st_size
        self.tar += info.st_size + -info.st_size % _BLOCK
        if self.apparent > self._limits.apparent_bytes:
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"the box changed more than {gib(self._limits.apparent_bytes)} (sparse files count in full); the "
                f"limit was passed at {shown(path)}, a file of {gib(info.st_size)}. Delete it, or leave it out with "
                "image.excludePaths",
            )
        return 0

    def _take(self, cost: int, path: str) -> None:
        self._held += cost
        if self._held > self._names:
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"the box has too many long names or hard links: listing them takes more than {gib(self._names)}, "
                f"passed at {shown(path)}. Delete what the image does not need, or leave it out with "
                "image.excludePaths",
            )


def shown(path: str) -> str:
    """A path of the box's for a message: quoted, short, and printable whatever is in it."""
    text = ascii(f"/{path}")
    return text if len(text) <= 120 else f"{text[:60]}...{text[-57:]}"


def gib(size: int) -> str:
    """A number of bytes for a person, in the largest unit that fits."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def _member(path: int, link: int) -> int:
    """The most that an entry takes in a tar besides its content: two headers and pax records."""
    records = path + link + _RECORDS
    return 2 * _BLOCK + records + -records % _BLOCK
