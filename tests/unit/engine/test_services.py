"""Services that die while the build runs: what is reported, and that it is reported once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from tests.unit.engine.world import Heard, Server, attempt_of, plan, run_of

from sentinel.api.reasons import Reason
from sentinel.engine import services
from sentinel.engine.boxsteps import result_of
from sentinel.engine.run import Outcome
from sentinel.engine.services import blame_services, report_dead_services
from sentinel.errors import BoxEnded, SentinelError
from sentinel.plan.model import ImageFacts, PlanService
from sentinel.plan.observe import Ended, PodView
from sentinel.session.journal import SessionState, StepState
from sentinel.session.messages import Result
from sentinel.session.stream import RequestRefused

IMAGE = ImageFacts(name="x", reference="x")
PLAN = replace(
    plan("one"),
    services=(
        PlanService(alias="db", container="service-1-db", image=IMAGE),
        PlanService(alias="web", container="service-2-web", image=IMAGE),
        PlanService(alias="once", container="service-3-once", image=IMAGE),
    ),
)
VIEW = PodView(
    services_ended=(
        ("service-1-db", Ended(exit_code=3, reason="Error", message="starting\nbad option")),
        ("service-2-web", Ended(exit_code=137, reason="OOMKilled")),
        ("service-3-once", Ended(exit_code=0, reason="Completed")),
    )
)
DB = "service db ended with exit code 3"
WEB = "service web ran out of memory and was killed: raise spec.pod.services.web.resources.limits.memory"


@dataclass
class Notices(Heard):
    """Notices besides the build's end."""

    notices: list[str] = field(default_factory=list)

    def noticed(self, *, message: str) -> None:
        self.notices.append(message)


@dataclass
class Notes:
    """A session that takes notes, or fails with `error`."""

    error: SentinelError | None = None
    taken: dict[str, str] = field(default_factory=dict)

    async def note(self, key: str, text: str) -> None:
        if self.error is not None:
            raise self.error
        self.taken[key] = text


async def test_each_dead_service_is_reported_once_with_its_last_words_in_the_log() -> None:
    run, notes = run_of(Server()), Notes()
    run.report = reporter = Notices()

    seen: set[str] = set()
    attempt = attempt_of(run, PLAN, session=notes)
    for _ in range(2):
        await report_dead_services(attempt, VIEW, seen)

    assert notes.taken == {
        "service/db": f"--- sentinel: {DB}; its last words:\nstarting\nbad option\n"
        "--- sentinel: end of service db",
        "service/web": f"--- sentinel: {WEB}",
    }
    assert reporter.notices == [
        f"{DB}; its last words are in the build's log",
        f"{WEB}; its last words are in the build's log",
    ]
    assert attempt.dead_services == {"db": DB, "web": WEB}
    assert attempt.next().dead_services == {}


@pytest.mark.parametrize(
    "error", [RequestRefused("InvalidRequest", "unknown type"), BoxEnded("the box ended")]
)
async def test_a_box_that_takes_no_notes_fails_nothing(error: SentinelError) -> None:
    run = run_of(Server())
    run.report = reporter = Notices()

    await report_dead_services(attempt_of(run, PLAN, session=Notes(error)), VIEW, set())

    assert len(reporter.notices) == 2


async def test_a_box_that_does_not_answer_delays_nothing_and_is_reported_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(Notes):
        async def note(self, key: str, text: str) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(services, "NOTE_WITHIN", 0.01)
    run, notes, seen = run_of(Server()), Notes(), set[str]()
    run.report = reporter = Notices()

    silent = attempt_of(run, PLAN, session=Silent())
    await report_dead_services(silent, VIEW, seen)
    assert (seen, reporter.notices) == (set(), [])
    assert silent.dead_services == {"db": DB, "web": WEB}
    await report_dead_services(attempt_of(run, PLAN, session=notes), VIEW, seen)

    assert notes.taken.keys() == {"service/db", "service/web"}
    assert len(reporter.notices) == 2


def test_a_failed_builds_message_names_them_and_a_green_ones_does_not() -> None:
    dead = {"db": DB, "web": WEB}
    failed = Outcome.failed(Reason.EXIT_CODE, "step 'one' failed: exited with code 1")

    assert blame_services(failed, dead) == replace(failed, message=f"{failed.message}; {DB}; {WEB}")
    assert blame_services(Outcome.passed("fine"), dead) == Outcome.passed("fine")
    assert blame_services(failed, {}) == failed


def ended(reason: str, message: str) -> SessionState:
    step = StepState(
        ordinal=1, id="one-1", phase="main", state="finished", reason=reason, message=message
    )
    return SessionState(steps={1: step})


@pytest.mark.parametrize(
    ("state", "outcome", "result"),
    [
        (ended("Passed", ""), Outcome.passed("fine"), Result(result="passed")),
        (
            ended("ExitCode", "it broke"),
            Outcome.failed(Reason.EXIT_CODE, "step 'one' failed: exited with code 1: it broke"),
            Result(result="failed", failed_step_display_name="one", failed_step_message="it broke"),
        ),
        (
            ended("Passed", ""),
            Outcome.failed(Reason.STORE_FAILED, "the output was not stored"),
            Result(
                result="failed",
                failed_step_display_name="store",
                failed_step_message="the output was not stored",
            ),
        ),
        (
            SessionState(),
            Outcome.failed(Reason.CANCELLED, "spec.cancel was set"),
            Result(result="failed", failed_step_message="spec.cancel was set"),
        ),
    ],
)
def test_what_after_steps_get(state: SessionState, outcome: Outcome, result: Result) -> None:
    assert result_of(PLAN.steps, state, outcome) == result
