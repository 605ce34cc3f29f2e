"""gzip, at the speed of a copy where there is nothing to gain.

Much of what builds produce is packed already (archives, jars, images, caches), and zlib takes as long for that as for
text: 23 s for a GiB of random bytes, of which it saves none. So each part is sampled first, and stored as it is where
the sample does not shrink.

The result is one gzip member of deflate blocks (RFC 1951, RFC 1952), which everything unpacks. Parts do not refer to
each other, as those of pigz do not when it works in independent blocks.
"""

from __future__ import annotations

import struct
import zlib

_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"
"""No name, no time, packed fast, by no particular system: the same content gives the same bytes."""

_EMPTY_LAST_BLOCK = b"\x03\0"
_SAMPLES, _SAMPLE = 8, 4096
_WORTH = 0.95


class Gzip:
    """Packs a stream part by part. Parts of a MiB cost a percent of the ratio; much smaller ones cost more."""

    def __init__(self) -> None:
        self._begun = False
        self._crc = 0
        self._size = 0

    def pack(self, part: bytes) -> bytes:
        """The packed form of the next part, complete."""
        head = b"" if self._begun else _HEADER
        self._begun = True
        self._crc = zlib.crc32(part, self._crc)
        self._size += len(part)
        packer = zlib.compressobj(1 if _shrinks(part) else 0, zlib.DEFLATED, -zlib.MAX_WBITS)
        return head + packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """What ends the stream."""
        head = b"" if self._begun else _HEADER
        return head + _EMPTY_LAST_BLOCK + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


def _shrinks(part: bytes) -> bool:
    """Whether pieces from all over a part get smaller when they are packed."""
    if len(part) <= _SAMPLES * _SAMPLE:
        return True
    step = len(part) // _SAMPLES
    pieces = (part[at : at + _SAMPLE] for at in range(0, len(part), step))
    sample = b"".join(pieces)
    return len(zlib.compress(sample, 1)) < _WORTH * len(sample)
