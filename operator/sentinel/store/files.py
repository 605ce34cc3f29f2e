"""Objects as files below a directory: written whole or not at all. Blocking; what may be done is decided elsewhere.

::

    <root>/objects/<key>          the object's bytes; its sha256 is the extended attribute user.sentinel.sha256
    <root>/used/<expires>.<nonce> a URL that something was stored with: it stores nothing again
    <root>/tmp/…                  what is being received; emptied at start
    <root>/lock                   held by the one server that keeps the directory

A draft is written and synchronised in tmp/, then renamed to its key, then its URL is marked as used. A server that dies
between the two takes the same bytes once more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sentinel.store.objects import ObjectInfo

_DIGEST = "user.sentinel.sha256"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What an OSError's errno says where the disk, its inodes or a quota are used up."""


class Unusable(Exception):
    """The directory cannot be a store. The message says why, and what to do."""


class Exists(Exception):
    """There is an object of that key already, or the URL was used."""


class Draft:
    """The bytes of an object to be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file: BinaryIO = path.open("xb")
        self._sum = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was written, in hexadecimal digits."""
        return self._sum.hexdigest()

    def write(self, data: bytes) -> None:
        """Append. OSError where the disk is full."""
        self._file.write(data)
        self._sum.update(data)
        self.size += len(data)

    def finish(self) -> None:
        """Everything on the disk, with its sha256 where the file system keeps such attributes."""
        self._file.flush()
        with contextlib.suppress(OSError):
            os.setxattr(self._file.fileno(), _DIGEST, self.sha256.encode())
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Remove it; nothing happens where it has become an object."""
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


class Directory:
    """The objects below `root`. `open` first; threads may share it.

    `limit`: bytes that all objects may have together, 0 for what the disk has. Stay below an emptyDir's sizeLimit: the
    kubelet evicts a pod that passes it. `reserve`: bytes of the disk that are left free.
    """

    def __init__(self, root: Path, *, limit: int = 0, reserve: int = 0) -> None:
        self._root = root
        self._limit, self._reserve = limit, reserve
        self._stored = 0
        self._objects, self._used, self._tmp = (root / each for each in ("objects", "used", "tmp"))
        self._lock = threading.Lock()
        self._held: BinaryIO | None = None

    def open(self) -> None:
        """Make what is missing, and remove what an earlier server had not finished. Raises Unusable."""
        if not self._root.is_dir():
            raise Unusable(
                f"{self._root} is not a directory: mount a volume there, or correct --path"
            )
        try:
            held = (self._root / "lock").open("ab")
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._held = held
            shutil.rmtree(self._tmp, ignore_errors=True)
            for each in (self._objects, self._used, self._tmp):
                each.mkdir(exist_ok=True)
            draft = self.draft()
            try:
                draft.write(b"sentinel")
                draft.finish()
            finally:
                draft.discard()
            self._stored = sum(
                self._size(path) for _, path in self._walk(self._objects, "", "", "")
            )
        except BlockingIOError:
            held.close()
            raise Unusable(
                f"another server keeps {self._root}: a directory has one server at a time"
            ) from None
        except OSError as error:
            self.close()
            raise Unusable(f"cannot write to {self._root}: {_advice(error)}") from error

    def close(self) -> None:
        """Leave the directory to another server."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def room(self) -> int:
        """Bytes that can still be stored, less than 0 where there is more than there may be."""
        disk = os.statvfs(self._root)
        # File systems that make inodes as they need them have a total of 0.
        free = disk.f_bavail * disk.f_frsize if disk.f_favail or not disk.f_files else 0
        left = free - self._reserve
        return min(left, self._limit - self._stored) if self._limit else left

    def draft(self) -> Draft:
        """A new one."""
        return Draft(self._tmp / secrets.token_hex(16))

    def used(self, nonce: str, *, expires: int) -> bool:
        """Whether something was stored with that URL."""
        return (self._used / f"{expires}.{nonce}").exists()

    def commit(self, draft: Draft, key: str, *, once: bool, nonce: str, expires: int) -> None:
        """Make a finished draft the object of that key. Raises Exists, and OSError."""
        target = self.path(key)
        with self._lock:
            if self.used(nonce, expires=expires) or (once and target.exists()):
                raise Exists(key)
            _make(target.parent)
            replaced = self._size(target)
            draft.path.replace(target)
            self._stored += draft.size - replaced
            _sync(target.parent)
            (self._used / f"{expires}.{nonce}").touch()
            _sync(self._used)

    def path(self, key: str) -> Path:
        """The file of an object. `key` was checked."""
        return self._objects / key

    def find(self, key: str) -> tuple[ObjectInfo, str] | None:
        """An object and the sha256 that it was stored with, "" where that is not known; None where there is none."""
        path = self.path(key)
        try:
            if not path.is_file():
                return None
            info = self._info(key, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        digest = ""
        with contextlib.suppress(OSError):
            digest = os.getxattr(path, _DIGEST).decode("ascii", "replace")
        return info, digest

    def delete(self, key: str) -> None:
        """Remove an object, and directories that it leaves empty. Nothing happens where there is none."""
        path = self.path(key)
        with self._lock:
            size = self._size(path)
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            self._stored -= size
            for parent in path.parents:
                if parent == self._objects:
                    break
                try:
                    parent.rmdir()
                except OSError:
                    break

    def list(self, prefix: str, *, after: str, most: int) -> tuple[ObjectInfo, ...]:
        """At most that many objects whose keys begin with `prefix`, by key, of those behind `after`."""
        found: list[ObjectInfo] = []
        for key, path in self._walk(self._objects, "", prefix, after):
            with contextlib.suppress(FileNotFoundError):
                found.append(self._info(key, path))
            if len(found) == most:
                break
        return tuple(found)

    def sweep(self, *, now: float) -> None:
        """Forget the used URLs that have expired."""
        for path in self._used.iterdir():
            expires = path.name.partition(".")[0]
            if not expires.isdecimal() or int(expires) < now - 60:
                path.unlink(missing_ok=True)

    def _walk(
        self, directory: Path, above: str, prefix: str, after: str
    ) -> Iterator[tuple[str, Path]]:
        try:
            with os.scandir(directory) as entries:
                # A directory stands where its keys do: "a.b" comes before "a/b".
                names = sorted(
                    f"{each.name}/" if each.is_dir(follow_symlinks=False) else each.name
                    for each in entries
                )
        except FileNotFoundError:
            return  # removed meanwhile
        for name in names:
            key = above + name
            if name.endswith("/"):
                # What lies in it may begin with the prefix, and some of it come behind `after`.
                inside = key.startswith(prefix) or prefix.startswith(key)
                if inside and (after < key or after.startswith(key)):
                    yield from self._walk(directory / name, key, prefix, after)
            elif key.startswith(prefix) and key > after:
                yield key, directory / name

    def _size(self, path: Path) -> int:
        try:
            return path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def _info(self, key: str, path: Path) -> ObjectInfo:
        stat = path.stat()
        return ObjectInfo(
            key=key,
            size=stat.st_size,
            etag=f"{stat.st_mtime_ns:x}-{stat.st_size:x}",
            modified=datetime.fromtimestamp(stat.st_mtime, UTC),
        )


def _make(directory: Path) -> None:
    """Make a directory and those above it, each on the disk before the next."""
    if directory.is_dir():
        return
    _make(directory.parent)
    directory.mkdir(exist_ok=True)
    _sync(directory.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advice(error: OSError) -> str:
    why = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{why}. Give the directory to user {os.geteuid()}, or set fsGroup"
    if error.errno == errno.EROFS:
        return f"{why}. Mount the volume without readOnly"
    if error.errno in FULL:
        return f"{why}. Enlarge the volume or remove objects"
    return why
