"""The upper directory of an overlay, untrusted: what the box changed, entry by entry, in a fixed order.

Everything is opened relative to a directory's descriptor and without following links, and only regular files and
directories are opened at all: a box can put symlinks, fifos and devices anywhere (images.md).
Not here: limits (`tally.py`), the tar format (`layer.py`), and what mounts left behind (`residue.py`).
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from sentinel.agent.failures import CommitFailure
from sentinel.agent.tally import ChangeLimits, Size, Tally, shown
from sentinel.api.reasons import CommitReason

MAX_DEPTH = 256
"""Directories within directories; each holds a descriptor while we are in it."""

OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""How everything of a box is opened: never following a link, never waiting for a fifo's other end."""

WHITEOUT = ".wh."
"""Prefix of names that a layer uses for deletions (OCI image spec, layer.md "Whiteouts")."""

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
class UpperEntry:
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


class UpperDir:
    """An upper directory.

    `excluded` are paths relative to it that are left out, with all below, each with the rule that names it; `residue`
    paths that only a mount left behind. `root` is the directory that is walked, relative to it; "" is all of it.
    `stop` makes a walk end at its next entry with CommitFailure.
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: ChangeLimits,
        excluded: Mapping[str, str] | None = None,
        residue: frozenset[str] = frozenset(),
        root: str = "",
        stop: Event,
    ) -> None:
        self.root = root
        self.path = path
        self._limits = limits
        self._excluded = dict(excluded or {})
        self._residue = residue
        self._stop = stop
        self._counts: Counter[str] = Counter()
        self._seen: set[str] = set()

    @property
    def excluded(self) -> dict[str, int]:
        """How many entries each rule left out, as far as walked; 0 for a rule that matched nothing."""
        return {
            rule: self._counts[rule] or int(rule in self._seen)
            for rule in dict.fromkeys(self._excluded.values())
        }

    @property
    def stopped(self) -> bool:
        """Whether reading is to end."""
        return self._stop.is_set()

    def leaves_out(self, path: str) -> bool:
        """Whether a walk passes over this path, whatever is there."""
        return path in self._residue or path in self._excluded

    def measure(self) -> Size:
        """Count without opening a file: cheap enough to do before the box is frozen. Raises CommitFailure(TooBig)."""
        tally = Tally(self._limits)
        self._counts.clear()
        for _ in self._walk(tally, moving=True):
            pass
        return tally.size

    def walk(self) -> Iterator[UpperEntry]:
        """Every entry, directories before what is in them, names sorted, while nothing changes.

        Raises CommitFailure: TooBig, Unsupported, RuntimeError when something changed all the same, Deadline.
        """
        return self._walk(Tally(self._limits), moving=False)

    def _walk(self, tally: Tally, *, moving: bool) -> Iterator[UpperEntry]:
        """The walk; `moving` for a box that is not frozen, whose files may go while we look."""
        prefix = f"{self.root}/" if self.root else ""
        try:
            root = open_below(self.path, self.root)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CommitFailure(
                CommitReason.RUNTIME_ERROR, f"{shown(self.root)} disappeared while it was read"
            ) from error
        stack = [_Folder(root, prefix, [], 0)]
        try:
            self._list(stack[0], tally)
            while stack:
                folder = stack[-1]
                if not folder.names:
                    stack.pop()
                    os.close(folder.descriptor)
                    tally.release(folder.held)
                    continue
                self._check_stop()
                name = folder.names.pop()
                path = f"{folder.prefix}{name}"
                if path in self._residue:
                    continue
                if path in self._excluded:
                    self._leave_out(folder.descriptor, name, path, counting=moving)
                    continue
                try:
                    info = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
                    tally.add(info, path)
                    # Below a name that the layer cannot hold there is nothing that it could hold.
                    if not stat.S_ISDIR(info.st_mode) or name.startswith(WHITEOUT):
                        yield UpperEntry(folder.descriptor, name, path, info)
                        continue
                    inner = os.open(name, OPEN | os.O_DIRECTORY, dir_fd=folder.descriptor)
                except (FileNotFoundError, NotADirectoryError) as error:
                    if moving:
                        continue
                    raise CommitFailure(
                        CommitReason.RUNTIME_ERROR, f"{shown(path)} disappeared while it was read"
                    ) from error
                stack.append(_Folder(inner, f"{path}/", [], 0))
                if len(stack) > MAX_DEPTH:
                    raise CommitFailure(
                        CommitReason.TOO_BIG,
                        f"the box has directories more than {MAX_DEPTH} deep, at {shown(path)}",
                    )
                self._list(stack[-1], tally)
                opaque = is_opaque(inner, path)
                if opaque:
                    tally.mark(path)
                yield UpperEntry(folder.descriptor, name, path, info, opaque=opaque)
        finally:
            for folder in stack:
                os.close(folder.descriptor)

    def _list(self, folder: _Folder, tally: Tally) -> None:
        """Read a directory's names, last first, within the tally's budget whatever the directory holds."""
        with os.scandir(folder.descriptor) as found:
            for each in found:
                folder.held += tally.hold(each.name, folder.prefix)
                folder.names.append(each.name)
        folder.names.sort(reverse=True)

    def _leave_out(self, parent: int, name: str, path: str, *, counting: bool) -> None:
        """Note that something is left out; `counting` for how much, up to the limit for entries."""
        self._seen.add(self._excluded[path])
        if not counting:
            return
        left = self._limits.entries
        for rules in self._below(parent, name, path):
            self._counts.update(rules)
            left -= 1
            if not left:
                return

    def _below(self, parent: int, name: str, path: str) -> Iterator[tuple[str, ...]]:
        """For an excluded path and each entry below, the rules that leave it out. Never raises for what disappears."""
        rules: tuple[str, ...] = (self._excluded[path],)
        yield rules
        stack: list[tuple[int, Iterator[str], str, tuple[str, ...]]] = []

        def enter(directory: int, name: str, path: str, rules: tuple[str, ...]) -> None:
            with suppress(OSError):
                inner = os.open(name, OPEN | os.O_DIRECTORY, dir_fd=directory)
                stack.append((inner, _names(inner), f"{path}/", rules))

        try:
            enter(parent, name, path, rules)
            while stack:
                self._check_stop()
                directory, names, prefix, rules = stack[-1]
                child = next(names, None)
                if child is None:
                    os.close(stack.pop()[0])
                    continue
                path = f"{prefix}{child}"
                if path in self._excluded:
                    self._seen.add(self._excluded[path])
                    yield (*rules, self._excluded[path])
                    enter(directory, child, path, (*rules, self._excluded[path]))
                    continue
                yield rules
                if len(stack) <= MAX_DEPTH:
                    enter(directory, child, path, rules)
        finally:
            for directory, *_ in stack:
                os.close(directory)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise CommitFailure(CommitReason.DEADLINE, "reading the box's files was stopped")


@dataclass(slots=True)
class _Folder:
    """A directory that a walk is in: the names still to come, last first, and the memory that they took."""

    descriptor: int
    prefix: str
    names: list[str]
    held: int


def open_below(top: Path, path: str) -> int:
    """A descriptor of the directory `path` below `top`, "" for `top`, reached without following links.

    Raises OSError where there is none.
    """
    descriptor = os.open(top, OPEN | os.O_DIRECTORY)
    for part in path.split("/") if path else ():
        if part in ("", ".", ".."):
            os.close(descriptor)
            raise ValueError(f"{path!r} is not a plain path")
        try:
            inner = os.open(part, OPEN | os.O_DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _names(directory: int) -> Iterator[str]:
    """A directory's names in any order, never all at once."""
    with os.scandir(directory) as found:
        for each in found:
            yield each.name


@contextmanager
def opened(entry: UpperEntry) -> Iterator[int]:
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
