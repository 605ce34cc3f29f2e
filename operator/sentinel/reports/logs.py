"""A step's log in chunks: which bytes of the stored object are sent as which chunk. Pure.

Cut by size alone, so that every process that sends the same log sends the same chunks. Of a log that is larger than the
limit its beginning and its end are sent, with a line between them that says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CHUNK = 10_240
"""Bytes; wercker flushed its buffer at this size (wercker.md "Reports")."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One chunk: `length` bytes from `start`, or, with `text`, that text instead."""

    number: int
    start: int = 0
    length: int = 0
    text: str = ""


def pieces(size: int, *, most: int) -> Iterator[Piece]:
    """The chunks of a log of `size` bytes, of which at most `most` are sent, and not fewer than two."""
    most = max(most, 2)
    if size <= most:
        yield from _cut(0, size, 1)
        return
    half = most // 2
    number = 1
    for piece in _cut(0, half, number):
        yield piece
        number = piece.number + 1
    left_out = size - 2 * half
    yield Piece(number=number, text=f"\n[{left_out} bytes are not reported]\n")
    yield from _cut(size - half, size, number + 1)


def _cut(start: int, end: int, number: int) -> Iterator[Piece]:
    for offset in range(start, end, CHUNK):
        yield Piece(number=number, start=offset, length=min(CHUNK, end - offset))
        number += 1
