"""What `sentinel run` prints: lines with colours on a terminal, without in a pipe, or JSON."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO

from sentinel.cli.printer import TerminalFilter
from sentinel.engine.outcome import Outcome
from sentinel.plan.model import Plan, PlanStep
from sentinel.session.journal import StepState
from sentinel.text import printable


class Lines:
    """For people. `out` gets logs and headlines, `err` notes; `terminal` adds colours and filters control sequences."""

    def __init__(self, out: BinaryIO, err: BinaryIO, *, terminal: bool, colour: bool) -> None:
        self._out, self._err = out, err
        self._terminal, self._colour = terminal, colour
        self._filter = TerminalFilter()
        self._in_line = False
        self._total = 0

    def note(self, text: str) -> None:
        if self._terminal:
            self._end_line()
        self._err.write(f"sentinel: {printable(text)}\n".encode())
        self._err.flush()

    def planned(self, plan: Plan) -> None:
        self._total = len(plan.steps)
        beside = "".join(f", {each.alias} ({each.image.name})" for each in plan.services)
        number = "1 step" if self._total == 1 else f"{self._total} steps"
        self._say("1", f"pipeline {plan.pipeline}: {number} in {plan.box.name}{beside}")

    def service(self, alias: str, *, ready: bool, seconds: float) -> None:
        if not ready:
            self.note(
                f"service {alias} accepts on none of its ports after {seconds:.0f} s; the steps begin all the same"
            )

    def started(self, step: PlanStep) -> None:
        self._filter = TerminalFilter()
        self._say("1", f"▶ {step.display_name}", f" ({step.ordinal}/{self._total})")

    def log(self, step: PlanStep, data: bytes) -> None:
        shown = self._filter.feed(data) if self._terminal else data
        if shown:
            self._out.write(shown)
            self._in_line = not shown.endswith(b"\n")
            self._out.flush()

    def ended(self, step: PlanStep, state: StepState) -> None:
        if state.state == "skipped":
            self._say("2", f"- {step.display_name}", f" {state.reason.lower()}")
        elif state.passed:
            self._say("32", f"✓ {step.display_name}", f" {state.usage.seconds:.1f} s")
        else:
            why = state.message or state.reason
            self._say("31", f"✗ {step.display_name}", f" {state.usage.seconds:.1f} s: {why}")

    def finished(self, outcome: Outcome, *, seconds: float, result: dict[str, str]) -> None:
        for what, where in result.items():
            self._say("2", f"{what}: {where}")
        word, reason = outcome.head
        first, *more = outcome.message.split("\n")
        style = "1;32" if outcome.succeeded else "1;31"
        self._say(style, word, f" in {seconds:.1f} s{reason}: {first}")
        for line in more:
            self._say("", "", line)

    def handed_over(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        pass

    def _say(self, style: str, text: str, more: str = "") -> None:
        self._end_line()
        text, more = printable(text), printable(more)
        head = f"\033[{style}m{text}\033[0m" if self._colour and text else text
        self._out.write(f"{head}{more}\n".encode())
        self._out.flush()

    def _end_line(self) -> None:
        if self._in_line:
            self._out.write(b"\033[0m\n" if self._terminal else b"\n")
            self._out.flush()
        self._in_line = False


class Json:
    """For programs: one object on a line, with `event` and the fields of docs/howto/run-locally.md."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._decoders: dict[int, Any] = {}

    def note(self, text: str) -> None:
        self._write("note", text=text)

    def planned(self, plan: Plan) -> None:
        self._write(
            "planned",
            run=plan.uid,
            pipeline=plan.pipeline,
            box=plan.box.name,
            services=[each.alias for each in plan.services],
            steps=[
                {
                    "ordinal": each.ordinal,
                    "id": each.id,
                    "name": each.display_name,
                    "phase": each.phase,
                }
                for each in plan.steps
            ],
        )

    def service(self, alias: str, *, ready: bool, seconds: float) -> None:
        self._write("service", alias=alias, ready=ready, seconds=round(seconds, 3))

    def started(self, step: PlanStep) -> None:
        self._write("started", step=step.ordinal, name=step.display_name)

    def log(self, step: PlanStep, data: bytes) -> None:
        decoder = self._decoders.setdefault(
            step.ordinal, getincrementaldecoder("utf-8")(errors="replace")
        )
        if text := decoder.decode(data):
            self._write("log", step=step.ordinal, text=text)

    def ended(self, step: PlanStep, state: StepState) -> None:
        self._write(
            "ended",
            step=step.ordinal,
            name=step.display_name,
            state="Skipped" if state.state == "skipped" else "Passed" if state.passed else "Failed",
            exit=state.exit,
            reason=state.reason,
            message=state.message,
            seconds=round(state.usage.seconds, 3),
        )

    def finished(self, outcome: Outcome, *, seconds: float, result: dict[str, str]) -> None:
        self._write(
            "finished",
            succeeded=outcome.succeeded,
            reason=str(outcome.reason),
            message=outcome.message,
            seconds=round(seconds, 3),
            **result,
        )

    def handed_over(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        pass

    def _write(self, event: str, **fields: Any) -> None:
        self._out.write(json.dumps({"event": event, **fields}, ensure_ascii=False).encode() + b"\n")
        self._out.flush()
