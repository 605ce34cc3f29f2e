"""The logs of a running build out of its pod's own log, for callers who may read that and not exec into the box.

boxkit prints every byte of a step, masked, below a line that names the step (boxkit's README, Logs). It is not as exact
as the steps' own logs: a reader that was too slow misses bytes, and a line break may be added at a step's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sentinel.api.build import StepStatus

_BEGINNING = b"--- sentinel step="
_HEAD = re.compile(rb"--- sentinel step=([0-9]{1,9}) offset=0 id=(\S+) name=.*\n")
LONGEST = 4096
"""Bytes of a line that may still become a header."""


class PodLog:
    """`feed` gives what of a stream that comes in pieces belongs to which step: its number from 1, and bytes.

    A header counts if it has the number and id of a step after the present one: what a step prints that looks like one
    is its own output, unless it knows the id of a later step.
    """

    def __init__(self) -> None:
        self.step = 0
        self._pending = b""
        self._in_line = False

    def feed(self, data: bytes, steps: Sequence[StepStatus]) -> Iterator[tuple[int, bytes]]:
        """Bytes before the first header are dropped. A step's first piece may be empty."""
        data = self._pending + data
        self._pending = b""
        for line in _lines(data):
            whole = line.endswith(b"\n")
            if not self._in_line and not whole and self._may_be_head(line):
                self._pending = line
                return
            if not self._in_line and (ordinal := self._head(line, steps)):
                self.step = ordinal
                yield ordinal, b""
                continue
            self._in_line = not whole
            if self.step:
                yield self.step, line

    def _head(self, line: bytes, steps: Sequence[StepStatus]) -> int:
        """The number of the step that begins here, 0 for any other line."""
        match = _HEAD.fullmatch(line)
        if match is None:
            return 0
        ordinal = int(match[1])
        later = self.step < ordinal <= len(steps)
        return ordinal if later and steps[ordinal - 1].id.encode() == match[2] else 0

    @staticmethod
    def _may_be_head(line: bytes) -> bool:
        if len(line) > LONGEST:
            return False
        return line.startswith(_BEGINNING) or _BEGINNING.startswith(line)


def _lines(data: bytes) -> list[bytes]:
    r"""Lines that end with \n only."""
    *whole, rest = data.split(b"\n")
    return [*(line + b"\n" for line in whole), *([rest] if rest else [])]
