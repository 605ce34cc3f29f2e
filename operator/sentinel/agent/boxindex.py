"""What a box's files were like when it was committed: one record for each entry, in the order of a walk.

The next commit of the same box is compared with it (`increment.py`), so that its layer holds what changed since. It is
a file in the spool, read and written once from front to back: it takes no memory, whatever the box holds. Not here:
which index is of which box (`indexes.py`).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import struct
from pathlib import Path
from typing import IO, NamedTuple

from sentinel.agent.upperdir import UpperEntry

YOUNG_SECONDS = 120.0
"""A file that was changed so shortly before a commit is compared by its content at the next one.

A process can write to a file that it has mapped without a new ctime, until the kernel has written the page to disk,
which takes some 35 s by default; and two changes within one tick of the clock (4 ms, 10 ms) have the same ctime."""

CONTENT_BYTES = 16

_RECORD = struct.Struct(f"<QQQQIIIB{CONTENT_BYTES}sH")
_TIME = 2**64 - 1
"""A box can give a file any mtime, and nanoseconds since 1970 take more than 64 bits far from today."""
_IN_MEMORY = frozenset({0x01021994, 0x858458F6})
"""What statfs(2) calls tmpfs and ramfs."""

_OPAQUE, _WHITEOUT = 1, 2
_NOTHING = bytes(CONTENT_BYTES)


class Stamp(NamedTuple):
    """What tells that an entry was not touched: the kernel sets ctime, and no box can."""

    inode: int
    ctime: int
    mtime: int
    size: int
    mode: int
    uid: int
    gid: int

    @classmethod
    def of(cls, info: os.stat_result) -> Stamp:
        """Of an entry that was looked at; times in nanoseconds."""
        return cls(
            info.st_ino,
            info.st_ctime_ns & _TIME,
            info.st_mtime_ns & _TIME,
            info.st_size,
            info.st_mode,
            info.st_uid,
            info.st_gid,
        )


class Known(NamedTuple):
    """An entry as it was. `content` is a digest of what a young file held, b"" where its ctime is enough."""

    path: str
    stamp: Stamp
    opaque: bool
    whiteout: bool
    content: bytes

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.stamp.mode)


class IndexReader:
    """Reads an index; `current` is the entry that it stands at, None at the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.current: Known | None = None
        self.advance()

    def advance(self) -> None:
        """Go to the next entry."""
        head = self._file.read(_RECORD.size)
        if not head:
            self.current = None
            return
        *stamp, flags, content, length = _RECORD.unpack(head)
        self.current = Known(
            os.fsdecode(self._file.read(length)),
            Stamp(*stamp),
            bool(flags & _OPAQUE),
            bool(flags & _WHITEOUT),
            b"" if content == _NOTHING else content,
        )


class IndexWriter:
    """Writes an index of `most` bytes at `path`.

    One that would be larger, or cannot be written, is given up and not `complete`: no commit fails for that.
    """

    def __init__(self, path: Path, *, most: int) -> None:
        self.path = path
        self._most = most
        self._file = path.open("wb")
        self._size = 0
        self._full = False

    @property
    def complete(self) -> bool:
        """Whether it has all that was added."""
        return not self._full

    def add(self, entry: UpperEntry, content: bytes) -> None:
        """The next entry of the walk."""
        path = os.fsencode(entry.path)
        self._size += _RECORD.size + len(path)
        if self._full or self._size > self._most:
            self._full = True
            return
        flags = _OPAQUE * entry.opaque | _WHITEOUT * entry.is_whiteout
        record = _RECORD.pack(*Stamp.of(entry.info), flags, content or _NOTHING, len(path))
        try:
            self._file.write(record + path)
        except OSError:
            self._full = True

    def restart(self) -> None:
        """Forget what was added."""
        self._size, self._full = 0, False
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError:
            self._full = True

    def close(self) -> None:
        """Nothing more is added."""
        try:
            self._file.close()
        except OSError:
            self._full = True


def content_hash() -> hashlib.blake2b:
    """What a young file's content goes through."""
    return hashlib.blake2b(digest_size=CONTENT_BYTES)


def is_in_memory(place: Path) -> bool:
    """Whether a file system has no disk to write to: a page that a process has mapped never gets a new time there.

    True where that cannot be found out.
    """
    # struct statfs has some 120 bytes, and begins with the type on 64-bit processors.
    found = (ctypes.c_ulong * 64)()
    if ctypes.CDLL(None).statfs(os.fsencode(place), found):
        return True
    return found[0] in _IN_MEMORY


def young_since(now: float, *, kernel: Path = Path("/proc/sys/vm")) -> int:
    """The ctime in nanoseconds from which on a file is young, of the time in seconds.

    `kernel` has the node's settings of when it writes to disk: with others than the usual ones it may be earlier, and a
    node that never does it by itself has young files only.
    """
    try:
        expire, interval = [
            int((kernel / f"dirty_{name}_centisecs").read_text()) / 100
            for name in ("expire", "writeback")
        ]
    except (OSError, ValueError):
        return 0
    if not interval:
        return 0
    return int((now - max(YOUNG_SECONDS, 3 * (expire + interval))) * 1_000_000_000)
