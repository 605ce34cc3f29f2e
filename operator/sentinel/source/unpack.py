"""Unpacking untrusted archives: projects as archives, and wercker steps.

Whatever the archive says, nothing outside `dest` is created, changed or linked to. How that holds:

* Names are refused that are absolute, climb by `..`, or hold control characters.
* Everything goes into a fresh directory below `dest` first, reached by directory descriptors that follow no link.
* Symbolic links are made last of all, when the whole tree is known: while files are written there is no link yet that
  they could be written through, and each link is followed through the tree, other links included, before it is made.
* Bytes, entries and the compression ratio are counted while they come, never taken from a header.

Only when all of it stands are the files moved to their place: an archive that is refused leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

from sentinel.source.packed import (
    BROKEN,
    ArchiveEntry,
    ArchiveLimits,
    Refused,
    Stream,
    gunzip,
    most_bytes,
    plain,
    unzstd,
)
from sentinel.source.tarreader import BLOCK, MAX_HEADER, is_tar, read_tar
from sentinel.source.tree import DIRECTORY, Tree

__all__ = ["ArchiveLimits", "Refused", "Unpacked", "unpack"]

_ZSTD, _SKIPPABLE = b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
_KNOWN = "tar, tar.gz, tar.zst and zip are supported"
_OTHERS = ((b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"7z\xbc\xaf", "7-zip"), (b"Rar!", "RAR"))


class Unpacked:
    """What was unpacked: `entries` made, `bytes` of files, and the leading directory that was dropped, or ""."""

    __slots__ = ("bytes", "entries", "stripped")

    def __init__(self, *, entries: int, bytes: int, stripped: str) -> None:  # noqa: A002
        self.entries = entries
        self.bytes = bytes
        self.stripped = stripped


def unpack(
    archive: str,
    dest: str,
    *,
    limits: ArchiveLimits,
    strip: str = "auto",
    readable: bool = False,
    peek: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    left_out: list[str] | None = None,
) -> Unpacked:
    """Unpack the file `archive` into `dest`, a missing or empty directory. Formats are known by content, not by name.

    `strip`: "none"; "one" drops the one leading directory and refuses an archive that has none; "auto" drops it if
    there is one: whether all entries lie below one directory (as hosts of git pack a commit; wercker.md
    "Registries of steps") and the archive has no entry for its own root (as `tar -C project .` makes one). `readable`
    makes everything readable for all users. Owners are never applied, nor setuid bits; times of files are kept. With
    `peek`, files of the root directory are written up to that many bytes and all others are left empty, while
    everything is still looked through. `stopped` is asked before each entry.

    With `left_out` unsafe entries are left out, and why is added to it, one text for each.

    Refused says which entry and why, and leaves `dest` empty. OSError where we ourselves cannot go on: no space, no
    `zstd` program, `dest` is not empty.
    """
    Path(dest).mkdir(parents=True, exist_ok=True)
    if any(Path(dest).iterdir()):
        raise FileExistsError(f"{dest} is not empty")
    # A name that no archive can foresee.
    staging = f".unpack-{os.urandom(8).hex()}"
    Path(dest, staging).mkdir(0o700)
    try:
        with Path(archive).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            tree = Tree(
                f"{dest}/{staging}",
                limits,
                size,
                readable=readable,
                peek=peek,
                left_out=left_out,
            )
            entries = _entries(file, limits, size)
            try:
                for entry in entries:
                    if stopped():
                        raise Refused(BROKEN, "unpacking was cancelled")
                    tree.add(entry)
                top = tree.leading(strip)
                tree.finish(top)
                _move_up(dest, staging, top)
            finally:
                # Now, not when the collector comes by: zstd runs until then.
                entries.close()
                tree.close()
    finally:
        shutil.rmtree(f"{dest}/{staging}")
    return Unpacked(entries=tree.entries, bytes=tree.bytes, stripped=top)


def _entries(
    file: BinaryIO, limits: ArchiveLimits, size: int
) -> Generator[ArchiveEntry, None, None]:
    head = file.read(BLOCK)
    file.seek(0)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        from sentinel.source.zipreader import read_zip  # noqa: PLC0415 - not needed by most

        yield from read_zip(file, limits=limits)
        return
    compressed = not is_tar(head)
    if head.startswith(b"\x1f\x8b"):
        pieces = gunzip(file)
    elif head.startswith(_ZSTD) or (head[1:4] == _SKIPPABLE and head[0] >> 4 == 5):
        pieces = unzstd(file)
    elif compressed:
        raise Refused(BROKEN, _unknown(head))
    else:
        pieces = plain(file)
    # Headers, names and padding come on top of the content.
    budget = most_bytes(limits, size) + limits.entries * 2 * BLOCK + MAX_HEADER
    try:
        stream = Stream(pieces, budget=budget, compressed=compressed)
        yield from read_tar(stream, max_name=limits.name)
    finally:
        pieces.close()


def _unknown(head: bytes) -> str:
    if not head:
        return f"the archive is an empty file: {_KNOWN}"
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return f"the archive is packed with {name}: {_KNOWN}"
    # Its first bytes are not quoted: it may be a page that only the operator can reach.
    page = ". It looks like a web page, perhaps one to log in" if head.lstrip()[:1] == b"<" else ""
    return f"the file is not an archive: {_KNOWN}{page}"


def _move_up(dest: str, staging: str, top: str) -> None:
    root = f"{dest}/{staging}/{top}" if top else f"{dest}/{staging}"
    source, target = os.open(root, DIRECTORY), os.open(dest, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(source):  # noqa: PTH208 - of a descriptor
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    finally:
        os.close(source)
        os.close(target)
