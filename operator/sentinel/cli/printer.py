"""Writes the logs of a build's steps to a file or a terminal: each byte once, under a headline for each step.

Projects decide what their steps print. On a terminal only text and colours get through; in a file or
a pipe the bytes are as they are. Names of steps are made printable everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from datetime import datetime
from typing import BinaryIO

from sentinel.api.build import StepStatus
from sentinel.cli.table import moment
from sentinel.text import printable

_BOLD, _PLAIN = b"\033[1m", b"\033[0m"


class Printer:
    """Prints log bytes as they come. With `only`, the bytes of the step with that name or id and nothing else.

    With `since`, the steps that ended later, or run.
    """

    def __init__(
        self, out: BinaryIO, *, only: str = "", since: datetime | None = None, terminal: bool
    ) -> None:
        self.bytes = 0
        self._out = out
        self._only = only
        self._since = since
        self._terminal = TerminalFilter() if terminal else None
        self._have: dict[int, int] = {}
        self._titled = 0
        self._complete: set[int] = set()
        self._in_line = False

    def have(self, ordinal: int) -> int:
        """How many bytes of a step's log were printed."""
        return self._have.get(ordinal, 0)

    def complete(self, ordinal: int) -> None:
        """Note that a step's log is printed from a source whose offsets are not those of the log."""
        self._complete.add(ordinal)

    def is_complete(self, ordinal: int) -> bool:
        """Whether `complete` was called."""
        return ordinal in self._complete

    def names(self, step: StepStatus) -> bool:
        """Whether the step is one of those that `only` names."""
        return not self._only or self._only in (step.display_name, step.name, step.id)

    def wants(self, step: StepStatus) -> bool:
        """Whether this step is printed at all."""
        ended = moment(step.completion_time)
        over = self._since is not None and ended is not None and ended < self._since
        return self.names(step) and not over

    def take(
        self,
        steps: Sequence[StepStatus],
        ordinal: int,
        offset: int,
        data: bytes,
        *,
        ran: Set[int],
    ) -> None:
        """Print bytes of a step's log at `offset`. Steps of `ran` before it that printed nothing get their headline.

        Bytes of a step that the Build does not have are dropped: the box may send any number.
        """
        if not 0 < ordinal <= len(steps) or not self.wants(steps[ordinal - 1]):
            return
        for each in range(self._titled + 1, ordinal + 1):
            if not self._only and (
                each == ordinal or (each in ran and self.wants(steps[each - 1]))
            ):
                self._title(steps[each - 1])
        self._titled = max(self._titled, ordinal)
        self._have[ordinal] = offset + len(data)
        self.bytes += len(data)
        self._write(data if self._terminal is None else self._terminal.feed(data))
        self._out.flush()

    def _title(self, step: StepStatus) -> None:
        bold, plain = (_BOLD, _PLAIN) if self._terminal is not None else (b"", b"")
        if self._terminal is not None:
            self._terminal = TerminalFilter()
            self._write(_PLAIN)
        if self._in_line:
            self._write(b"\n")
        name = printable(step.display_name or step.name, instead="\ufffd")
        self._write(bold + f"▶ {name}".encode() + plain + b"\n")

    def _write(self, data: bytes) -> None:
        if data:
            self._out.write(data)
            if data != _PLAIN:
                self._in_line = not data.endswith(b"\n")


class TerminalFilter:
    """Text and colours out of a stream of bytes that comes in pieces; other control sequences are removed."""

    LONGEST = 4096
    """Bytes of a sequence that has not ended; it is dropped as far as it got."""

    # SGR alone (ECMA-48 8.3.117) is kept. OSC, DCS, SOS, PM and APC end with BEL or ST.
    _SEQUENCE = re.compile(
        rb"(?P<colour>\x1b\[[0-9;:]*m)"
        rb"|\x1b\[[0-?]*[ -/]*[@-~]"
        rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"
        rb"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
        rb"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
        rb"|\xc2[\x80-\x9f]"
    )
    _UNFINISHED = re.compile(
        rb"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?|\xc2)\Z"
    )

    _LONE = re.compile(rb"\x1b(?!\[[0-9;:]*m)")

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> bytes:
        """What of the stream so far can be written now. The beginning of a sequence is held back until it ends."""
        data = self._pending + data
        self._pending = b""
        if (tail := self._UNFINISHED.search(data, max(0, len(data) - self.LONGEST))) is not None:
            data, self._pending = data[: tail.start()], tail[0]
        shown = self._SEQUENCE.sub(lambda found: found["colour"] or b"", data)
        return self._LONE.sub(b"", shown)
