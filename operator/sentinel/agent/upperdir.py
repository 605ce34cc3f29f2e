"""The upper directory of an overlay, read as a stranger's: what the box changed, entry by entry, in a fixed order.

Everything is opened relative to a directory's descriptor and without following links, and only regular files and
directories are opened at all: a box can put symlinks, fifos and devices anywhere (`image-commit.md` §6.3).
Not here: the tar format (`layer.py`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event

from sentinel.agent.failures import CommitFailure
from sentinel.api.reasons import CommitReason

MAX_DEPTH = 256
"""Directories within directories; each holds a descriptor while we are in it."""

_MAX_LINKS = 40
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
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
        root = os.open(self._path, _OPEN | os.O_DIRECTORY)
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
                    inner = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=directory)
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
                yield Entry(directory, name, path, info, opaque=_is_opaque(inner, path))
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
    descriptor = os.open(entry.name, _OPEN, dir_fd=entry.parent)
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


def mount_residue(upper: Path, *, lowers: Sequence[Path], mounts: frozenset[str]) -> frozenset[str]:
    """What mounting left in the upper directory, as paths relative to it.

    Empty files and directories at the mounts' places, and directories that hold only these, unless the box changed
    them over the base image's.
    """
    layers = (upper, *lowers)
    places = {_resolved(layers, mount.strip("/")) for mount in mounts} - {""}
    parents = {
        "/".join(parts[:count])
        for parts in (place.split("/") for place in places)
        for count in range(1, len(parts))
    }
    found: set[str] = set()
    for path in sorted(places | parents, key=lambda path: -path.count("/")):
        with suppress(OSError), _directory(upper, path.split("/")[:-1]) as parent:
            name = path.rpartition("/")[2]
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode):
                if path in places and info.st_size == 0:
                    found.add(path)
            elif stat.S_ISDIR(info.st_mode):
                inner = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=parent)
                try:
                    with os.scandir(inner) as children:
                        rest = {f"{path}/{child.name}" for child in islice(children, 1024)} - found
                    opaque = _is_opaque(inner, path)
                finally:
                    os.close(inner)
                below = _look_up(lowers, path)
                if not rest and not opaque and (below is None or _same_directory(below, info)):
                    found.add(path)
    return frozenset(found)


def shown(path: str) -> str:
    """A path of the box's for a message: quoted, short, and printable whatever is in it."""
    text = ascii(f"/{path}")
    return text if len(text) <= 120 else f"{text[:60]}...{text[-57:]}"


@contextmanager
def _directory(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """A directory below root, reached part by part so that no link on the way is followed. Raises OSError."""
    descriptor = os.open(root, _OPEN | os.O_DIRECTORY)
    try:
        for part in parts:
            inner = os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _look_up(layers: Sequence[Path], path: str) -> os.stat_result | None:
    """What a path is in the topmost of these layers that has it; None for nothing, or for "deleted"."""
    *folders, name = path.split("/")
    for layer in layers:
        with suppress(OSError), _directory(layer, folders) as parent:
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            return None if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0 else info
    return None


def _same_directory(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def _resolved(layers: Sequence[Path], path: str) -> str:
    """Where a mount's place really is: /var/run/secrets of an image whose /var/run is a link to /run."""
    todo, done = path.split("/")[::-1], list[str]()
    for _ in range(_MAX_LINKS):
        while todo:
            part = todo.pop()
            if part == "..":
                done[-1:] = []
            elif part not in ("", "."):
                done.append(part)
                target = _link(layers, "/".join(done))
                if target is not None:
                    done = [] if target.startswith("/") else done[:-1]
                    todo += target.split("/")[::-1]
                    break
        else:
            return "/".join(done)
    return ""


def _link(layers: Sequence[Path], path: str) -> str | None:
    info = _look_up(layers, path)
    if info is None or not stat.S_ISLNK(info.st_mode):
        return None
    *folders, name = path.split("/")
    for layer in layers:
        with suppress(OSError), _directory(layer, folders) as parent:
            return os.readlink(name, dir_fd=parent)
    return None


def _is_opaque(descriptor: int, path: str) -> bool:
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
