"""The upper directory of an overlay, read as a stranger's: what the box changed, entry by entry, in a fixed order.

Everything is opened relative to a directory's descriptor and without following links, and only regular files and
directories are opened at all: a box can put symlinks, fifos and devices anywhere (`image-commit.md` §6.3).
Not here: the tar format (`layer.py`), and what mounts left behind (`residue.py`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event

from sentinel.agent.failures import CommitFailure
from sentinel.api.reasons import CommitReason

MAX_DEPTH = 256
"""Directories within directories; each holds a descriptor while we are in it."""

OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""How everything of a box is opened: never following a link, never waiting for a fifo's other end."""

_OPAQUE = "trusted.overlay.opaque"
_FOREIGN = frozenset(
    {
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "trusted.overlay.whiteout",
        "trusted.overlay.xwhiteouts",
    }
)
"""Marks of overlay features that keep part of an entry elsewhere: what we would read is not what the box sees."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in the upper directory: `path` is relative to it, `parent` an open descriptor to use only now.

    `opaque` is of directories: what the base image has below is hidden.
    """

    parent: int
    name: str
    path: str
    info: os.stat_result
    opaque: bool = False

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    @property
    def is_whiteout(self) -> bool:
        """Overlay's mark for "deleted": a character device 0/0."""
        return stat.S_ISCHR(self.info.st_mode) and self.info.st_rdev == 0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a box may have changed: apparent bytes (a sparse file counts in full) and number of entries."""

    apparent_bytes: int
    entries: int


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much it has changed."""

    apparent_bytes: int
    entries: int


class UpperDir:
    """An upper directory.

    `excluded` are absolute paths of the container that are left out, with all below; `residue` paths relative to the
    directory that only a mount left behind. `stop` makes a walk end at its next entry with CommitFailure.
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: Limits,
        excluded: Sequence[str] = (),
        residue: frozenset[str] = frozenset(),
        stop: Event,
    ) -> None:
        self._path = path
        self._limits = limits
        self._excluded = frozenset(part.strip("/") for part in excluded) - {""}
        self._residue = residue
        self._stop = stop

    def measure(self) -> Size:
        """Count without opening a file: cheap enough to do before the box is frozen. Raises CommitFailure(TooBig)."""
        tally = _Tally(self._limits)
        for _ in self._walk(tally, moving=True):
            pass
        return Size(apparent_bytes=tally.apparent, entries=tally.entries)

    def walk(self) -> Iterator[Entry]:
        """Every entry, directories before what is in them, names sorted, while nothing changes.

        Raises CommitFailure: TooBig, Unsupported, RuntimeError when something changed all the same, Deadline.
        """
        return self._walk(_Tally(self._limits), moving=False)

    def _walk(self, tally: _Tally, *, moving: bool) -> Iterator[Entry]:
        """The walk; `moving` for a box that is not frozen, whose files may go while we look."""
        root = os.open(self._path, OPEN | os.O_DIRECTORY)
        stack = [(root, "", self._names(root))]
        try:
            while stack:
                directory, prefix, names = stack[-1]
                name = next(names, None)
                if name is None:
                    stack.pop()
                    os.close(directory)
                    continue
                if self._stop.is_set():
                    raise CommitFailure(
                        CommitReason.DEADLINE, "reading the box's files was stopped"
                    )
                path = f"{prefix}{name}"
                if path in self._residue or path in self._excluded:
                    continue
                try:
                    info = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    tally.add(info, path)
                    if not stat.S_ISDIR(info.st_mode):
                        yield Entry(directory, name, path, info)
                        continue
                    inner = os.open(name, OPEN | os.O_DIRECTORY, dir_fd=directory)
                except (FileNotFoundError, NotADirectoryError) as error:
                    if moving:
                        continue
                    raise CommitFailure(
                        CommitReason.RUNTIME_ERROR, f"{shown(path)} went while it was read"
                    ) from error
                stack.append((inner, f"{path}/", self._names(inner)))
                if len(stack) > MAX_DEPTH:
                    raise CommitFailure(
                        CommitReason.TOO_BIG,
                        f"the box has directories more than {MAX_DEPTH} deep, at {shown(path)}",
                    )
                yield Entry(directory, name, path, info, opaque=is_opaque(inner, path))
        finally:
            for descriptor, _, _ in stack:
                os.close(descriptor)

    def _names(self, directory: int) -> Iterator[str]:
        """A directory's names, sorted; never more than could be allowed, whatever the directory holds."""
        with os.scandir(directory) as found:
            names = [each.name for each in islice(found, self._limits.entries + 1)]
        return iter(sorted(names))


class _Tally:
    """Counts entries and apparent bytes, each inode once, up to the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._linked: set[tuple[int, int]] = set()
        self.entries = 0
        self.apparent = 0

    def add(self, info: os.stat_result, path: str) -> None:
        self.entries += 1
        if self.entries > self._limits.entries:
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"the box changed more than {self._limits.entries} files; the limit was passed at {shown(path)}. "
                "Delete what the image does not need, or leave it out with image.excludePaths",
            )
        if not stat.S_ISREG(info.st_mode):
            return
        if info.st_nlink > 1:
            inode = (info.st_dev, info.st_ino)
            if inode in self._linked:
                return
            self._linked.add(inode)
        self.apparent += info.st_size
        if self.apparent > self._limits.apparent_bytes:
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"the box changed more than {self._limits.apparent_bytes} bytes (sparse files count in full); the "
                f"limit was passed at {shown(path)}. Delete it, or leave it out with image.excludePaths",
            )


@contextmanager
def opened(entry: Entry) -> Iterator[int]:
    """A regular file's descriptor, certain to be the file that was looked at. Raises CommitFailure."""
    descriptor = os.open(entry.name, OPEN, dir_fd=entry.parent)
    try:
        info = os.fstat(descriptor)
        if (info.st_dev, info.st_ino, stat.S_IFMT(info.st_mode)) != (
            entry.info.st_dev,
            entry.info.st_ino,
            stat.S_IFMT(entry.info.st_mode),
        ):
            raise CommitFailure(
                CommitReason.RUNTIME_ERROR, f"{shown(entry.path)} changed while it was read"
            )
        yield descriptor
    finally:
        os.close(descriptor)


def capability(descriptor: int, path: str) -> bytes:
    """The file's capabilities, the one extended attribute that images keep; b'' for none.

    Raises CommitFailure(Unsupported) for a file whose content lies in the base image.
    """
    names = os.listxattr(descriptor)
    _refuse_foreign(names, path)
    return os.getxattr(descriptor, "security.capability") if "security.capability" in names else b""


def shown(path: str) -> str:
    """A path of the box's for a message: quoted, short, and printable whatever is in it."""
    text = ascii(f"/{path}")
    return text if len(text) <= 120 else f"{text[:60]}...{text[-57:]}"


def is_opaque(descriptor: int, path: str) -> bool:
    """Whether a directory hides what the base image has below. Raises CommitFailure(Unsupported)."""
    names = os.listxattr(descriptor)
    _refuse_foreign(names, path)
    if _OPAQUE not in names:
        return False
    value = os.getxattr(descriptor, _OPAQUE)
    if value == b"x":
        _refuse_foreign(["trusted.overlay.xwhiteouts"], path)
    return value == b"y"


def _refuse_foreign(names: Sequence[str], path: str) -> None:
    foreign = _FOREIGN.intersection(names)
    if foreign:
        raise CommitFailure(
            CommitReason.UNSUPPORTED,
            f"{shown(path)} uses an overlay feature ({', '.join(sorted(foreign))}) that keeps its content elsewhere; "
            "commit from nodes with redirect_dir and metacopy off",
        )
