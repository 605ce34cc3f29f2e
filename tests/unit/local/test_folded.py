"""What `sentinel run` leaves on a terminal: folded steps, and the end of the log of one that has failed."""

from __future__ import annotations

import io

from tests.unit.local.test_view import plan, state

from sentinel.api.reasons import Reason
from sentinel.cli.folded import KEPT, Folded, _Tail
from sentinel.engine.outcome import Outcome


def test_a_passed_step_is_a_line_and_a_failed_one_has_the_end_of_its_log() -> None:
    out = io.StringIO()
    view, (one, two) = Folded(out), plan().steps
    view.planned(plan())
    view.started(one)
    view.log(one, b"not seen\n")
    view.ended(one, state(1, "finished"))
    view.started(two)
    for n in range(100):
        view.log(two, f"line {n}\n".encode())
    view.log(two, b"[bold]\x1b[2Jnot markup")
    view.ended(two, state(2, "finished", reason="ExitCode"))
    with view.handed_over():
        view.note("a note\x1b[2J")
    view.close()
    failed = Outcome.failed(Reason.EXIT_CODE, "step 'two' failed\nbadly")
    view.finished(failed, seconds=3, result={"image": "a:b"})
    shown = [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]
    assert shown == [
        "pipeline build: 2 steps in debian:12",
        "✓ one 1.2 s",
        *(f"line {n}" for n in range(100 - KEPT + 1, 100)),
        "[bold]not markup",
        "✗ two 1.2 s: exited with code 7",
        "sentinel: a note [2J",
        "image: a:b",
        "failed in 3.0 s (ExitCode): step 'two' failed",
        "badly",
    ]


def test_of_a_line_that_is_written_over_the_last_state_is_shown() -> None:
    tail = _Tail()
    for piece in (
        b"first\r\nload",
        b"ing 1%\rloading 99%\r",
        b"done \x1b[32mok\x1b[0m",
        b"\nx" * 3,
    ):
        tail.feed(piece)
    assert [line.plain for line in tail.last(10)] == ["first", "done ok", "x", "x", "x"]
    assert [line.plain for line in tail.last(1)] == ["x"]
