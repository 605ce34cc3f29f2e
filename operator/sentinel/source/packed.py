"""Archives as streams of entries: what `tarreader` and `zipreader` give and `unpack` writes, and the way to the bytes.

The archive may be hostile, so nothing it declares is trusted: every byte that comes out of a decompressor
is counted, and the first one too many ends the work. The standard library only, and of that only what starts fast.
"""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import BinaryIO

UNSAFE = "unsafe"
TOO_LARGE = "too-large"
BROKEN = "broken"

CHUNK = 64 * 1024
FLOOR = 8 * 1024 * 1024
"""Unpacked bytes below which the compression ratio is not looked at: small text files compress wonderfully."""

ZSTD_MIB = 64
"""Memory that zstd may take to look back: what all levels up to 21 want. The operator has little to spare."""

_GZIP_CHUNK = 16 * 1024
_MAX_SHOWN = 200
_MIB = 1024 * 1024


class Refused(Exception):
    """The archive is not unpacked. `message` is for a person: which entry, why, what to do.

    `kind`: "unsafe" (it reaches outside, or holds what no project needs), "too-large" or "broken".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class ArchiveLimits:
    """How much an archive may hold.

    bytes: of all files together, unpacked; entries: files, links and directories, those included that only names
    imply; ratio: unpacked to packed size, looked at from FLOOR bytes on; name: bytes of one entry's name or link.
    """

    __slots__ = ("bytes", "entries", "name", "ratio")

    def __init__(
        self,
        *,
        bytes: int = 2048 * _MIB,  # noqa: A002 - what it counts
        entries: int = 100_000,
        ratio: int = 200,
        name: int = 1024,
    ) -> None:
        self.bytes = bytes
        self.entries = entries
        self.ratio = ratio
        self.name = name


class ArchiveEntry:
    """One entry as the archive has it; nothing of it is checked.

    kind: "file", "dir", "symlink", "hardlink", or in words what else it is ("a device"). `target` is a link's;
    `mtime` in seconds, None if unknown; `data` the content, to be taken before the next entry is asked for.
    """

    __slots__ = ("data", "kind", "mode", "mtime", "name", "target")

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        mode: int,
        mtime: float | None = None,
        target: str = "",
        data: Iterable[bytes] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.mtime = mtime
        self.target = target
        self.data = data


def shown(name: str) -> str:
    """An entry's name for a message: quoted and escaped, so that no name can forge a line of a log."""
    text = ascii(name) if not name.isprintable() else repr(name)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def most_bytes(limits: ArchiveLimits, packed: int) -> int:
    """How much an archive of `packed` bytes may unpack to."""
    return min(limits.bytes, max(FLOOR, limits.ratio * packed))


def truncated() -> Refused:
    """What to raise where the archive ends before its end."""
    return Refused(
        BROKEN, "the archive ends in the middle: it was cut off. Pack and upload it again"
    )


class Stream:
    """The unpacked bytes of a compressed file, read forwards. `budget` is how many there may be."""

    def __init__(self, pieces: Iterator[bytes], *, budget: int, compressed: bool) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0
        self._left = budget
        self.compressed = compressed
        """Whether an end that comes too early is noticed by the decompressor."""

    @property
    def left(self) -> int:
        """How many bytes more there may be."""
        return self._left

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        parts = []
        while size:
            part = self._some(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def take(self, size: int) -> Iterator[bytes]:
        """`size` bytes in pieces. Refused where there are fewer."""
        while size:
            part = self._some(size)
            if not part:
                raise truncated()
            size -= len(part)
            yield part

    def drain(self) -> None:
        """Read on to the end, so that a checksum there is looked at."""
        while self._some(CHUNK):
            pass

    def _some(self, most: int) -> bytes:
        if self._at == len(self._held):
            self._held, self._at = next(self._pieces, b""), 0
            self._left -= len(self._held)
            if self._left < 0:
                raise Refused(
                    TOO_LARGE,
                    "the archive unpacks to more than it may, counting what lies between its entries. "
                    "Leave out what the build does not need",
                )
        part = self._held[self._at : self._at + most]
        self._at += len(part)
        return part


def plain(file: BinaryIO) -> Generator[bytes, None, None]:
    """The bytes of `file` in pieces."""
    while piece := file.read(CHUNK):
        yield piece


def gunzip(file: BinaryIO) -> Generator[bytes, None, None]:
    """What the gzip members of `file` hold, in pieces of at most CHUNK bytes. Refused where they are damaged."""
    inflate = zlib.decompressobj(31)
    data = file.read(_GZIP_CHUNK)
    while True:
        try:
            piece = inflate.decompress(data, CHUNK)
        except zlib.error as error:
            raise Refused(
                BROKEN,
                f"the archive's gzip data is damaged ({error}). Pack and upload it again",
            ) from None
        if piece:
            yield piece
        if inflate.eof:
            # Other members may follow, and zeros that pad the file.
            data = inflate.unused_data.lstrip(b"\0")
            while not data:
                more = file.read(_GZIP_CHUNK)
                if not more:
                    return
                data = more.lstrip(b"\0")
            inflate = zlib.decompressobj(31)
            continue
        data = inflate.unconsumed_tail or file.read(_GZIP_CHUNK)
        if not data and not piece:
            raise truncated()


def unzstd(file: BinaryIO) -> Generator[bytes, None, None]:
    """What `file` holds, unpacked by the `zstd` program. To be closed: then the program is ended.

    OSError where there is no such program: that is our image's fault and not the archive's.
    """
    # Its place, not that of our buffer.
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    process = subprocess.Popen(
        ["zstd", "--decompress", "--stdout", "--quiet", f"--memory={ZSTD_MIB}MB"],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    assert process.stdout is not None  # noqa: S101 - for mypy
    assert process.stderr is not None  # noqa: S101
    try:
        while piece := os.read(process.stdout.fileno(), CHUNK):
            yield piece
        said = process.stderr.read(500).decode("ascii", "replace")
        if process.wait() != 0:
            if "too much memory" in said:
                raise Refused(
                    TOO_LARGE,
                    f"the archive takes more than {ZSTD_MIB} MiB of memory to unpack: pack it without --ultra "
                    "and --long",
                )
            said = " ".join("".join(c if c.isprintable() else " " for c in said).split())
            raise Refused(
                BROKEN,
                f"the archive's zstd data is damaged or cut off (zstd says: {said[:200]}). "
                "Pack and upload it again",
            )
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
