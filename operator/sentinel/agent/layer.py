"""A layer: the box's changes as a tar in the form of the OCI image spec, spooled to a file and hashed on the way.

Two passes, because the box stands still during the first: `write_layer` copies the changes into a plain tar;
`compress_layer` packs that when the box runs again. Both block, so they run in a thread. Not here: which entries there
are and how they are opened safely (`upperdir.py`).
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import IO

from sentinel.agent.boxindex import (
    IndexReader,
    IndexWriter,
    content_hash,
    is_in_memory,
    young_since,
)
from sentinel.agent.failures import CommitFailure
from sentinel.agent.increment import Change, Increment, NotAnIncrement, everything
from sentinel.agent.packer import Gzip
from sentinel.agent.tally import gib, shown
from sentinel.agent.upperdir import WHITEOUT, UpperDir, UpperEntry, capability, opened
from sentinel.api.reasons import CommitReason

log = logging.getLogger(__name__)

_PART = 1024 * 1024
_BLOCK = tarfile.BLOCKSIZE
_OPAQUE_MARK = ".wh..wh..opq"
_CAPABILITY = "SCHILY.xattr.security.capability"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A kind of entries that no layer can hold, or must not: how many there were, and the first of them."""

    what: str
    count: int
    first: str

    def __str__(self) -> str:
        return f"{self.what}: {self.count}, the first at {shown(self.first)}"


RESERVED = (
    f"names beginning with {WHITEOUT}, which in an image layer delete a file of the base image"
)
DEVICES = "device nodes"
SOCKETS = "sockets"


@dataclass(frozen=True, kw_only=True)
class PlainLayer:
    """An uncompressed layer in a file. `diff_id` is its digest. `dropped` are entries that were left out, `setuid`
    counts files with set-id bits or capabilities, which are kept. `incremental`: it stands on the image of the commit
    before, not on the box's."""

    path: Path
    diff_id: str
    size: int
    entries: int
    dropped: tuple[LeftOut, ...]
    setuid: int
    incremental: bool = False


@dataclass(frozen=True, kw_only=True)
class PackedLayer:
    """A layer as it is pushed; `compression` is gzip or none."""

    path: Path
    digest: str
    size: int
    diff_id: str
    compression: str


def write_layer(
    upper: UpperDir,
    path: Path,
    *,
    most: int,
    stop: Event,
    since: IO[bytes] | None = None,
    index: IndexWriter | None = None,
) -> PlainLayer:
    """Write the tar of an upper directory, of `most` bytes. The same changes give the same bytes.

    `since` is the index that an earlier commit of the box has written: the tar then holds what changed after it, if a
    layer can express that. `index` is written for the next one.

    Where only a directory of it is walked (`upper.root`), that is the root of the layer, which has nothing below it:
    marks of deletions are left out.

    Raises CommitFailure: TooBig, Unsupported, RuntimeError when a file changed meanwhile, NoSpace, Deadline.
    """
    young = 0 if is_in_memory(upper.path) else young_since(time.time())
    if since is not None:
        try:
            changes = Increment(upper, IndexReader(since), young=young).changes()
            layer = _write(upper, changes, path, most=most, stop=stop, young=young, index=index)
            return replace(layer, incremental=True)
        except NotAnIncrement as why:
            log.info("the layer holds everything that the box changed: %s", why)
        except CommitFailure as error:
            # Deletions are not part of what was measured.
            if error.why is not CommitReason.TOO_BIG:
                raise
            log.info("the layer holds everything that the box changed: %s", error)
        if index is not None:
            index.restart()
    changes = everything(upper)
    return _write(upper, changes, path, most=most, stop=stop, young=young, index=index)


def _write(
    upper: UpperDir,
    changes: Iterator[Change],
    path: Path,
    *,
    most: int,
    stop: Event,
    young: int,
    index: IndexWriter | None,
) -> PlainLayer:
    with _out_of_space(path), path.open("wb", buffering=_PART) as file:
        writer = _Writer(
            file, root=upper.root, most=most, stop=stop, young=None if index is None else young
        )
        for change in changes:
            content = change.content
            if change.entry is None:
                writer.delete(change.gone)
                continue
            if change.write:
                content = writer.add(change.entry, mark=change.mark)
            if index is not None and change.index:
                index.add(change.entry, content)
        writer.finish()
    return PlainLayer(
        path=path,
        diff_id=f"sha256:{writer.hash.hexdigest()}",
        size=writer.size,
        entries=writer.entries,
        dropped=tuple(writer.dropped.values()),
        setuid=writer.setuid,
    )


def packed_at_most(size: int) -> int:
    """The most bytes that a tar of `size` bytes takes compressed: gzip stores what it cannot compress."""
    return size + size // 1024 + 4096


def compress_layer(layer: PlainLayer, path: Path, *, compression: str, stop: Event) -> PackedLayer:
    """Pack a layer into a file of its own, of at most `packed_at_most` bytes; with `none` it is the same file.

    Raises CommitFailure(NoSpace, Deadline).
    """
    if compression == "none":
        return PackedLayer(
            path=layer.path,
            digest=layer.diff_id,
            size=layer.size,
            diff_id=layer.diff_id,
            compression="none",
        )
    packer = Gzip()
    hashed = hashlib.sha256()
    size = 0
    with _out_of_space(path), layer.path.open("rb") as source, path.open("wb") as target:
        while part := source.read(_PART):
            if stop.is_set():
                raise CommitFailure(CommitReason.DEADLINE, "compressing the layer was stopped")
            size += _put(packer.pack(part), target, hashed)
        size += _put(packer.finish(), target, hashed)
    return PackedLayer(
        path=path,
        digest=f"sha256:{hashed.hexdigest()}",
        size=size,
        diff_id=layer.diff_id,
        compression="gzip",
    )


class _Writer:
    """Writes entries to a tar, hashing as it goes."""

    def __init__(
        self, file: IO[bytes], *, root: str, most: int, stop: Event, young: int | None
    ) -> None:
        self._file = file
        self._young = young
        self._contents: dict[int, bytes] = {}
        self._root = root
        self._most = most
        self._stop = stop
        self._links: dict[int, str] = {}
        self.hash = hashlib.sha256()
        self.size = self.entries = self.setuid = 0
        self.dropped: dict[str, LeftOut] = {}

    def add(self, entry: UpperEntry, *, mark: bool = True) -> bytes:
        """One entry, and for an opaque directory its mark; devices, sockets and reserved names are left out.

        Gives a digest of what a file holds whose ctime is not before `young`, b"" for all others.
        """
        place = self._place(entry)
        if entry.is_whiteout:
            if not self._root:
                self._header(_marker(f"{_beside(place)}{WHITEOUT}{entry.name}"))
        elif entry.name.startswith(WHITEOUT):
            self._drop(RESERVED, entry)
        elif entry.is_directory:
            self._header(_member(entry, tarfile.DIRTYPE, name=f"{place}/"))
            if entry.opaque and mark and not self._root:
                self._header(_marker(f"{place}/{_OPAQUE_MARK}"))
        elif entry.is_file:
            return self._add_file(entry, place)
        elif stat.S_ISLNK(entry.info.st_mode):
            member = _member(entry, tarfile.SYMTYPE, name=place)
            member.linkname = os.readlink(entry.name, dir_fd=entry.parent)
            self._header(member)
        elif stat.S_ISFIFO(entry.info.st_mode):
            self._header(_member(entry, tarfile.FIFOTYPE, name=place))
        else:
            self._drop(SOCKETS if stat.S_ISSOCK(entry.info.st_mode) else DEVICES, entry)
        return b""

    def delete(self, path: str) -> None:
        """The mark of something that an earlier layer has and the box deleted."""
        self._header(_marker(f"{_beside(path)}{WHITEOUT}{path.rpartition('/')[2]}"))

    def _place(self, entry: UpperEntry) -> str:
        """The entry's path in the layer."""
        return entry.path.removeprefix(f"{self._root}/") if self._root else entry.path

    def _drop(self, what: str, entry: UpperEntry) -> None:
        known = self.dropped.get(what) or LeftOut(what=what, count=0, first=entry.path)
        self.dropped[what] = replace(known, count=known.count + 1)

    def finish(self) -> None:
        """The two empty blocks at a tar's end."""
        self._put(bytes(2 * _BLOCK))

    def _add_file(self, entry: UpperEntry, place: str) -> bytes:
        inode = entry.info.st_dev << 64 | entry.info.st_ino
        first = self._links.get(inode)
        if first is not None:
            member = _member(entry, tarfile.LNKTYPE, name=place)
            member.linkname = first
            self._header(member)
            return self._contents.get(inode, b"")
        if entry.info.st_nlink > 1:
            self._links[inode] = place
        with opened(entry) as descriptor:
            member = _member(entry, tarfile.REGTYPE, name=place)
            member.size = entry.info.st_size
            capabilities = capability(descriptor, entry.path)
            if capabilities:
                text = capabilities.decode("utf-8", "surrogateescape")
                member.pax_headers = {_CAPABILITY: text}
            if capabilities or entry.info.st_mode & (stat.S_ISUID | stat.S_ISGID):
                self.setuid += 1
            self._header(member)
            young = self._young is not None and entry.info.st_ctime_ns >= self._young
            content = self._copy(descriptor, entry, content_hash() if young else None)
        if content and inode in self._links:
            self._contents[inode] = content
        return content

    def _copy(self, descriptor: int, entry: UpperEntry, hashed: hashlib.blake2b | None) -> bytes:
        """Exactly as many bytes as the header says: a file that grew is cut, one that shrank is an error."""
        left = entry.info.st_size
        while left:
            if self._stop.is_set():
                raise CommitFailure(CommitReason.DEADLINE, "reading the box's files was stopped")
            part = os.read(descriptor, min(left, _PART))
            if not part:
                raise CommitFailure(
                    CommitReason.RUNTIME_ERROR, f"{shown(entry.path)} shrank while it was read"
                )
            self._put(part)
            if hashed is not None:
                hashed.update(part)
            left -= len(part)
        self._put(bytes(-entry.info.st_size % _BLOCK))
        return hashed.digest() if hashed is not None else b""

    def _header(self, member: tarfile.TarInfo) -> None:
        self.entries += 1
        self._put(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def _put(self, part: bytes) -> None:
        if self.size + len(part) > self._most:
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"the box wrote more while its commit was prepared: its changes take more than the {gib(self._most)} "
                "reserved for them. Stop background processes that write files before the build ends",
            )
        self._file.write(part)
        self.hash.update(part)
        self.size += len(part)


def _member(entry: UpperEntry, kind: bytes, *, name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = stat.S_IMODE(entry.info.st_mode)
    member.uid, member.gid = entry.info.st_uid, entry.info.st_gid
    # Whole seconds, as in the layers of other tools; a fraction costs two more blocks per file.
    member.mtime = max(0, entry.info.st_mtime_ns // 1_000_000_000)
    return member


def _marker(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    return member


def _beside(path: str) -> str:
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}"


def _put(part: bytes, target: IO[bytes], hashed: hashlib._Hash) -> int:
    target.write(part)
    hashed.update(part)
    return len(part)


@contextmanager
def _out_of_space(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CommitFailure(
                CommitReason.NO_SPACE, f"no space left for the layer at {path.parent} on the node"
            ) from error
        raise CommitFailure(
            CommitReason.RUNTIME_ERROR, f"reading the box's files failed: {error.strerror}"
        ) from error
