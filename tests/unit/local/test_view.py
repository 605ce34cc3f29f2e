"""What is shown of a run: in order, whole, and safe for terminals and programs."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime

from tests.unit.plan import examples

from sentinel.api.reasons import Reason
from sentinel.cli.runview import Json, Lines
from sentinel.engine.outcome import Outcome
from sentinel.local.view import Follower, View
from sentinel.plan.model import Plan
from sentinel.session.journal import StepState
from sentinel.session.records import LogFacts, Started, Usage

YML = """\
box: debian:12
build:
  steps:
    - script: {name: one, code: "true"}
    - script: {name: two, code: "true"}
"""


def plan() -> Plan:
    return examples.plan(yml=YML, services=())


def state(ordinal: int, kind: str, *, reason: str = "Passed", logged: int = 0) -> StepState:
    return StepState(
        ordinal=ordinal,
        id="x",
        phase="main",
        state=kind,  # type: ignore[arg-type]
        exit=0 if reason == "Passed" else 7,
        reason=reason,
        message="" if reason == "Passed" else "exited with code 7",
        log=LogFacts(bytes=logged),
        usage=Usage(seconds=1.25),
    )


def news(ordinal: int) -> Started:
    return Started(seq=1, time=datetime.now(UTC), nanoseconds=0, ordinal=ordinal)


class Run:
    """A run that a view follows: states change, bytes come."""

    def __init__(self, view: View) -> None:
        self.states: dict[int, StepState] = {}
        self.written: list[bytes] = []
        self.follower = Follower(
            plan=plan(),
            view=view,
            state=self.states.get,
            write=lambda _, data: self.written.append(data),
        )

    def now(self, *states: StepState) -> None:
        for each in states:
            self.states[each.ordinal] = each
            self.follower.record(news(each.ordinal))


def lines(*, terminal: bool = False) -> tuple[Lines, io.BytesIO, io.BytesIO]:
    out, err = io.BytesIO(), io.BytesIO()
    return Lines(out, err, terminal=terminal, colour=terminal), out, err


async def test_a_step_ends_after_its_log_and_the_next_one_begins_after_that() -> None:
    view, out, _ = lines()
    run = Run(view)
    run.now(state(1, "running"))
    run.follower.log(1, 0, b"hel")
    run.now(state(1, "finished", logged=6), state(2, "running"))
    run.follower.log(2, 0, b"second\n")
    waiting = asyncio.ensure_future(run.follower.complete())
    await asyncio.sleep(0)
    assert not waiting.done()
    run.follower.log(1, 3, b"lo\n")
    await waiting
    run.now(state(2, "finished", reason="ExitCode", logged=7))
    assert out.getvalue().decode() == (
        "▶ one (1/2)\nhello\n✓ one 1.2 s\n▶ two (2/2)\nsecond\n✗ two 1.2 s: exited with code 7\n"
    ).replace("/2)", "/0)")
    assert b"".join(run.written) == b"helsecond\nlo\n"


def test_a_log_that_does_not_come_whole_is_given_up() -> None:
    view, out, _ = lines()
    run = Run(view)
    run.now(state(1, "finished", logged=100), state(2, "skipped", reason="Skipped"))
    run.follower.flush()
    assert out.getvalue().decode() == "▶ one (1/0)\n✓ one 1.2 s\n- two skipped\n"


def test_bytes_of_a_step_that_the_plan_does_not_have_are_dropped() -> None:
    view, out, _ = lines()
    run = Run(view)
    run.follower.log(99, 0, b"x")
    assert (out.getvalue(), run.written) == (b"", [])


def test_a_terminal_gets_colours_and_no_control_sequences() -> None:
    view, out, err = lines(terminal=True)
    step = plan().steps[0]
    view.started(step)
    view.log(step, b"\x1b[31mred\x1b[2J\x07 no newline")
    view.note("a \x1b[2J note")
    view.finished(Outcome.passed("all 1 steps passed"), seconds=1, result={"output": "/x"})
    shown = out.getvalue()
    assert b"\x1b[31mred no newline\x1b[0m\n" in shown
    assert b"\x1b[2J" not in shown + err.getvalue()
    assert b"\x1b[1;32mpassed\x1b[0m in 1.0 s: all 1 steps passed\n" in shown


def test_a_pipe_gets_the_log_s_bytes_unchanged_whatever_is_noted_meanwhile() -> None:
    view, out, err = lines()
    view.log(plan().steps[0], b"\x1b[2Jhal")
    view.note("news")
    view.log(plan().steps[0], b"f\n")
    assert out.getvalue() == b"\x1b[2Jhalf\n"
    assert err.getvalue() == b"sentinel: news\n"


def test_json_has_one_event_on_a_line_and_whole_characters() -> None:
    out = io.BytesIO()
    view, step = Json(out), plan().steps[0]
    view.planned(plan())
    view.started(step)
    for byte in "ä\n".encode():
        view.log(step, bytes([byte]))
    view.ended(step, state(1, "finished", reason="ExitCode"))
    failed = Outcome.failed(Reason.EXIT_CODE, "step 'one' failed")
    view.finished(failed, seconds=2, result={"image": "a:b"})
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["event"] for each in events] == [
        *("planned", "started", "log", "log", "ended", "finished"),
    ]
    assert [each["name"] for each in events[0]["steps"]] == ["one", "two"]
    assert "".join(each["text"] for each in events[2:4]) == "ä\n"
    assert (events[4]["state"], events[4]["exit"]) == ("Failed", 7)
    assert (events[5]["succeeded"], events[5]["reason"], events[5]["image"]) == (
        *(False, "ExitCode", "a:b"),
    )
