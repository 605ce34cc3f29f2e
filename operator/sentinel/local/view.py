"""The moments of a run, in the order in which people expect it. Not here: how it looks (`cli/runview.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from sentinel.engine.outcome import Outcome
from sentinel.plan.model import Plan, PlanStep
from sentinel.session.journal import StepState
from sentinel.session.records import AnyRecord, Finished, ServiceSeen, Skipped, Started


class View(Protocol):
    """One method for each moment of a run. `seconds` is how long something took."""

    def note(self, text: str) -> None:
        """A sentence for people."""

    def planned(self, plan: Plan) -> None:
        """The Plan stands; nothing runs yet."""

    def service(self, alias: str, *, ready: bool, seconds: float) -> None:
        """A service was tried."""

    def started(self, step: PlanStep) -> None:
        """A step began."""

    def log(self, step: PlanStep, data: bytes) -> None:
        """What it printed, masked, in pieces."""

    def ended(self, step: PlanStep, state: StepState) -> None:
        """A step ended, after its last `log`, or was skipped."""

    def finished(self, outcome: Outcome, *, seconds: float, result: dict[str, str]) -> None:
        """The build ended. `result` names what it left: output, image, artifacts."""

    def handed_over(self) -> AbstractContextManager[None]:
        """Nothing is shown while the block runs: the terminal is the box's."""

    def close(self) -> None:
        """Nothing more is shown, however the run ended."""


@dataclass(kw_only=True)
class Follower:
    """From the session's records and log bytes to a View, one step after the other.

    A step has ended when all of its log was shown; what comes of the next one before that is kept until then. `write`
    gets every piece of a log at once.
    """

    plan: Plan
    view: View
    state: Callable[[int], StepState | None]
    write: Callable[[PlanStep, bytes], None] = lambda _, __: None
    _waiting: list[PlanStep] = field(init=False)
    _begun: bool = False
    _kept: dict[int, list[bytes]] = field(default_factory=dict)
    _have: dict[int, int] = field(default_factory=dict)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._waiting = list(self.plan.steps)

    def record(self, record: AnyRecord) -> None:
        """A new record, which the session's state has taken in."""
        if isinstance(record, ServiceSeen):
            self.view.service(record.alias, ready=record.ready, seconds=record.seconds)
        elif isinstance(record, Started | Finished | Skipped):
            self._show()

    def log(self, ordinal: int, offset: int, data: bytes) -> None:
        """More of a step's log. Bytes of a step that the Plan does not have are dropped."""
        step = next((each for each in self.plan.steps if each.ordinal == ordinal), None)
        if step is None:
            return
        self.write(step, data)
        self._have[ordinal] = offset + len(data)
        self._kept.setdefault(ordinal, []).append(data)
        self._show()

    async def complete(self) -> None:
        """Wait until everything that was printed by steps which have ended is shown."""
        while any((state := self.state(each.ordinal)) and state.done for each in self._waiting):
            self._more.clear()
            await self._more.wait()

    def flush(self) -> None:
        """Show steps as ended whose logs do not come any more."""
        self._show(whole=False)

    def _show(self, *, whole: bool = True) -> None:
        while self._waiting:
            step = self._waiting[0]
            state = self.state(step.ordinal)
            if state is None or state.state == "queued":
                return
            if state.state != "skipped":
                self._begin(step)
            if not state.done or (whole and self._have.get(step.ordinal, 0) < state.log.bytes):
                return
            self.view.ended(step, state)
            self._waiting.pop(0)
            self._begun = False
            self._more.set()

    def _begin(self, step: PlanStep) -> None:
        if not self._begun:
            self._begun = True
            self.view.started(step)
        for piece in self._kept.pop(step.ordinal, ()):
            self.view.log(step, piece)
