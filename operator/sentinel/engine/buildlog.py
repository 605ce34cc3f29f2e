"""The output of an image build, line by line into the step's log, bounded.

A line's key is its number, so that output that is read again, after a cut or by another operator, is not noted twice.
The box masks it.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator

from sentinel.session.client import Session
from sentinel.text import count_of

LONGEST = 8 * 1024
"""Bytes of a line; the rest is left out."""

AT_ONCE = 64
"""Lines that are under way to the box."""

LAST = 40
"""Lines that are kept of what is over the limit: the error comes last."""

_ERROR = re.compile(r"(?:error|ERROR): (.+)")


class BuildLog:
    """`take` notes what is new in an output that is read from its beginning. `limit` is in bytes."""

    def __init__(self, session: Session, ordinal: int, *, limit: int) -> None:
        self.complete = False
        self.solving = False
        """Whether BuildKit has begun: its first step was in the output."""
        self._session, self._ordinal, self._limit = session, ordinal, limit
        self._noted = 0
        self._size = 0
        self._seen = 0
        self._last: deque[str] = deque(maxlen=LAST)

    async def take(self, chunks: AsyncIterator[bytes]) -> None:
        """Read an output to its end. What it raises, it raises after what came before was noted."""
        self._seen = 0
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:LONGEST]
            for at in range(0, len(lines), AT_ONCE):
                await self._note(lines[at : at + AT_ONCE])
        if rest:
            await self._note([rest])
        left = self._seen - self._noted
        if left > 0:
            dropped = count_of(max(left - len(self._last), 0), "line")
            text = f"… {dropped} left out: the output is too long"
            kept = "\n".join(self._last)
            await self._session.note(f"{self._ordinal}-log-rest", f"{text}\n{kept}"[: 15 * 1024])
        self.complete = True

    def error(self) -> str:
        """What buildctl says is wrong, "" where it does not."""
        for line in reversed(self._last):
            if match := _ERROR.match(line):
                return match[1][:1024]
        return ""

    async def _note(self, lines: list[bytes]) -> None:
        new: list[tuple[int, str]] = []
        for line in lines:
            self._seen += 1
            self.solving = self.solving or line.startswith(b"#1 ")
            if self._seen <= self._noted:
                continue
            text = line[:LONGEST].decode("utf-8", "replace")
            self._last.append(text[:1024])
            if self._size < self._limit:
                self._noted = self._seen
                self._size += len(line) + 1
                new.append((self._seen, text))
        await asyncio.gather(
            *(self._session.note(f"{self._ordinal}-log-{number}", text) for number, text in new)
        )
