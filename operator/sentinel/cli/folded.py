"""What `sentinel run` shows on a terminal: a line for each step that has ended, and the end of the running one's log.

Steps that have passed are folded to their line; of one that failed the end of its log stays. Not here: pipes and
programs (`runview.py`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from sentinel.cli.printer import TerminalFilter
from sentinel.engine.outcome import Outcome
from sentinel.plan.model import Plan, PlanStep
from sentinel.session.journal import StepState
from sentinel.text import printable

SHOWN = 10
"""Lines of the running step's log."""
KEPT = 40
"""Lines of the log of a step that has failed."""
LONGEST = 4096
"""Bytes of a line that are kept."""


class Folded:
    """For people at a terminal. `out` is the terminal."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False)
        self._live: Live | None = None
        self._step: PlanStep | None = None
        self._tail = _Tail()
        self._began = time.monotonic()
        self._spinner = Spinner("dots")
        self._total = 0
        self._idle = "preparing"

    def note(self, text: str) -> None:
        self._print(f"sentinel: {text}", "dim")

    def planned(self, plan: Plan) -> None:
        self._total = len(plan.steps)
        beside = "".join(f", {each.alias} ({each.image.name})" for each in plan.services)
        number = "1 step" if self._total == 1 else f"{self._total} steps"
        self._print(f"pipeline {plan.pipeline}: {number} in {plan.box.name}{beside}", "bold")
        self._began = time.monotonic()
        self._resume()

    def service(self, alias: str, *, ready: bool, seconds: float) -> None:
        if not ready:
            self.note(
                f"service {alias} accepts on none of its ports after {seconds:.0f} s; the steps begin all the same"
            )

    def started(self, step: PlanStep) -> None:
        self._step, self._tail, self._began = step, _Tail(), time.monotonic()

    def log(self, step: PlanStep, data: bytes) -> None:
        self._tail.feed(data)

    def ended(self, step: PlanStep, state: StepState) -> None:
        tail, self._tail, self._step = self._tail, _Tail(), None
        self._idle, self._began = "finishing", time.monotonic()
        took = f"{state.usage.seconds:.1f} s"
        if state.state == "skipped":
            self._print(f"- {step.display_name} {state.reason.lower()}", "dim")
        elif state.passed:
            self._print(f"✓ {step.display_name}", "green", took)
        else:
            if lines := tail.last(KEPT):
                self._show(Text("\n").join(lines))
            self._print(f"✗ {step.display_name}", "red", f"{took}: {state.message or state.reason}")

    def finished(self, outcome: Outcome, *, seconds: float, result: dict[str, str]) -> None:
        self._pause()
        for what, where in result.items():
            self._print(f"{what}: {where}", "dim")
        first, *more = outcome.message.split("\n")
        word, reason = outcome.head
        style = "bold green" if outcome.succeeded else "bold red"
        self._print(word, style, f"in {seconds:.1f} s{reason}: {first}")
        for line in more:
            self._print(line, "")

    @contextmanager
    def handed_over(self) -> Iterator[None]:
        """The terminal belongs to another program while the block runs."""
        self._pause()
        try:
            yield
        finally:
            self._resume()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._pause()

    def _resume(self) -> None:
        self._live = Live(
            console=self._console, get_renderable=self._now, transient=True, refresh_per_second=8
        )
        self._live.start()

    def _pause(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _now(self) -> Group:
        """What is below the steps that have ended."""
        step, seconds = self._step, time.monotonic() - self._began
        what = self._idle if step is None else f"{step.display_name} ({step.ordinal}/{self._total})"
        self._spinner.update(text=Text(f"{printable(what)} {seconds:.0f} s", "bold"))
        room = max(1, min(SHOWN, self._console.height - 3))
        lines = self._tail.last(room) if step is not None else []
        for line in lines:
            line.truncate(self._console.width, overflow="ellipsis")
        return Group(self._spinner, *lines)

    def _print(self, text: str, style: str, more: str = "") -> None:
        line = Text(printable(text), style)
        if more:
            line = Text.assemble(line, f" {printable(more)}")
        self._show(line)

    def _show(self, line: Text) -> None:
        if self._live is not None:
            # Else what was below it before comes back once more.
            self._live.refresh()
        self._console.print(line, soft_wrap=True)


class _Tail:
    """The end of a log, as lines for a terminal."""

    def __init__(self) -> None:
        self._filter = TerminalFilter()
        self._lines: deque[bytes] = deque(maxlen=KEPT)
        self._line = b""

    def feed(self, data: bytes) -> None:
        *whole, rest = (self._line + self._filter.feed(data)).split(b"\n")
        self._lines.extend(line[-LONGEST:] for line in whole)
        self._line = rest[-LONGEST:]

    def last(self, count: int) -> list[Text]:
        """The last `count` lines. Of one that was written over and over the last state is what counts."""
        lines = [*self._lines, self._line] if self._line else [*self._lines]
        return [
            Text.from_ansi(line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace"))
            for line in lines[-count:]
        ]
