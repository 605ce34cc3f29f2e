"""What a box changed since its last commit: the entries of a layer that goes on top of that commit's image.

Two walks in the same order are merged: the upper directory as it is, and the index of what it was (`boxindex.py`). An
entry that was not touched is left out; one that is gone becomes a whiteout. Where a layer cannot express the
difference, or only perhaps, `NotAnIncrement` is raised, and the layer holds everything that the box changed over its
own image, which is always right. Not here: writing (`layer.py`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from sentinel.agent.boxindex import IndexReader, Known, Stamp, content_hash
from sentinel.agent.failures import CommitFailure
from sentinel.agent.tally import shown
from sentinel.agent.upperdir import WHITEOUT, UpperDir, UpperEntry, opened
from sentinel.api.reasons import CommitReason

_PART = 1024 * 1024


class NotAnIncrement(Exception):
    """The layer would not be right on the last commit's image. The message says at which path."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a layer and an index get of one entry, or of a path that is `gone`.

    `write`: it goes into the layer, with the mark of an opaque directory if `mark`; `index`: into the index. `content`
    is the digest that the index had of an entry that is not written.
    """

    entry: UpperEntry | None = None
    gone: str = ""
    write: bool = True
    mark: bool = True
    index: bool = True
    content: bytes = b""


def everything(upper: UpperDir) -> Iterator[Change]:
    """All that a box changed over its image."""
    return (Change(entry, index=is_storable(entry)) for entry in upper.walk())


def is_storable(entry: UpperEntry) -> bool:
    """Whether a layer can hold an entry: devices, sockets and names that mean deletions are left out."""
    mode = entry.info.st_mode
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK, stat.S_ISFIFO)
    return entry.is_whiteout or (
        not entry.name.startswith(WHITEOUT) and any(kind(mode) for kind in kinds)
    )


@dataclass(slots=True)
class _Folder:
    """A directory that the walk is in. `header` is its entry as long as the layer does not have it.

    `fresh`: it was not there at the last commit, so all below is written. `hides`: the layer hides what the earlier
    ones have below it.
    """

    path: str
    header: UpperEntry | None
    fresh: bool
    hides: bool


class Increment:
    """The changes of an upper directory since an index was written, both read once. `young` as in `LayerWriter`."""

    def __init__(self, upper: UpperDir, old: IndexReader, *, young: int) -> None:
        self._upper = upper
        self._old = old
        self._young = young
        self._stack = [_Folder("", None, fresh=False, hides=False)]
        self._kept: set[int] = set()
        self._written: set[int] = set()
        self._contents: dict[int, bytes] = {}

    def changes(self) -> Iterator[Change]:
        """In the order of a walk. Raises NotAnIncrement, and as `UpperDir.walk` does."""
        for entry in self._upper.walk():
            yield from self._gone_before(_order(entry.path))
            known = self._old.current
            if known is not None and known.path == entry.path:
                self._old.advance()
            else:
                known = None
            self._leave(entry.path)
            if not is_storable(entry):
                if known is not None and not self._stack[-1].hides:
                    raise NotAnIncrement(f"{shown(entry.path)} became what no layer can hold")
                yield Change(entry, index=False)
            elif entry.is_directory:
                yield from self._directory(entry, known)
            else:
                yield from self._other(entry, known)
        yield from self._gone_before(None)
        if self._kept & self._written:
            raise NotAnIncrement("a file and a hard link to it would be in different layers")

    def _directory(self, entry: UpperEntry, known: Known | None) -> Iterator[Change]:
        above = self._stack[-1]
        same = (
            known is not None
            and known.is_directory
            and known.stamp.inode == entry.info.st_ino
            and not above.fresh
        )
        hidden = known is not None and (known.opaque or known.whiteout) and not above.hides
        if hidden and not entry.opaque:
            # The earlier layers hide what the image has here, and a directory cannot show it again.
            raise NotAnIncrement(f"{shown(entry.path)} shows files of the box's image again")
        marked = entry.opaque and not (same and known is not None and known.opaque)
        fresh = not same or marked
        changed = fresh or known is None or known.stamp != Stamp.of(entry.info)
        if changed:
            yield from self._headers()
            yield Change(entry, mark=marked)
        else:
            yield Change(entry, write=False)
        self._stack.append(
            _Folder(
                entry.path,
                None if changed else entry,
                fresh=fresh,
                hides=above.hides or marked,
            )
        )

    def _other(self, entry: UpperEntry, known: Known | None) -> Iterator[Change]:
        kept = known is not None and not self._stack[-1].fresh and self._is_same(entry, known)
        if entry.is_file and entry.info.st_nlink > 1:
            (self._kept if kept else self._written).add(entry.info.st_ino)
        if kept and known is not None:
            young = known.stamp.ctime >= self._young
            yield Change(entry, write=False, content=known.content if young else b"")
            return
        yield from self._headers()
        yield Change(entry)

    def _is_same(self, entry: UpperEntry, known: Known) -> bool:
        if entry.is_whiteout or known.whiteout:
            # Overlays share one inode between whiteouts, which changes with each of them.
            return entry.is_whiteout and known.whiteout
        if known.stamp != Stamp.of(entry.info):
            return False
        return not known.content or known.content == self._content(entry)

    def _content(self, entry: UpperEntry) -> bytes:
        """What a file holds now; one with several names is read once."""
        content = self._contents.get(entry.info.st_ino)
        if content is None:
            content = self._read(entry)
            if entry.info.st_nlink > 1:
                self._contents[entry.info.st_ino] = content
        return content

    def _read(self, entry: UpperEntry) -> bytes:
        hashed = content_hash()
        with opened(entry) as descriptor:
            while part := os.read(descriptor, _PART):
                if self._upper.stopped:
                    raise CommitFailure(
                        CommitReason.DEADLINE, "comparing the box's files was stopped"
                    )
                hashed.update(part)
        return hashed.digest()

    def _gone_before(self, end: list[str] | None) -> Iterator[Change]:
        """What the index has up to here (None: to its end) and the box has not any more."""
        while (known := self._old.current) is not None:
            if end is not None and _order(known.path) >= end:
                return
            self._old.advance()
            self._leave(known.path)
            folder = self._stack[-1]
            if folder.path != known.path.rpartition("/")[0] or folder.hides:
                continue  # it went with a directory above it
            if known.whiteout or self._upper.leaves_out(known.path):
                raise NotAnIncrement(f"{shown(known.path)} shows a file of the box's image again")
            yield from self._headers()
            yield Change(gone=known.path)

    def _leave(self, path: str) -> None:
        """Leave the directories that a path is not in. Both walks have one order, so nothing below them follows."""
        while (folder := self._stack[-1]).path and not path.startswith(f"{folder.path}/"):
            self._stack.pop()

    def _headers(self) -> Iterator[Change]:
        """The directories that something is written in: some runtimes make missing ones with modes of their own."""
        for folder in self._stack:
            if folder.header is not None:
                yield Change(folder.header, mark=False, index=False)
                folder.header = None


def _order(path: str) -> list[str]:
    """Where a path comes in a walk: a directory, then what is in it, then the name after it."""
    return path.split("/")
