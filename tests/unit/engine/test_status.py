"""Status: derived from plan and journal, coalesced, and never written for an attempt that is not ours."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast, get_type_hints

import pytest
from tests.unit.clocks import START, Hasty
from tests.unit.fakeapi import FakeApi

from sentinel.api.build import BuildStatus, PodStatus, StepStatus
from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.engine.board import Board
from sentinel.engine.boxsteps import judge
from sentinel.engine.status import Fields, StatusWriter, progress, step_statuses
from sentinel.errors import GoneError, TransientError
from sentinel.plan.model import ImageFacts, Plan, PlanSource, PlanStep
from sentinel.session.journal import SessionState, StepState


def step(ordinal: int, name: str, *, phase: Any = "main") -> PlanStep:
    return PlanStep(
        ordinal=ordinal,
        id=f"{name}-{ordinal}",
        owner="wercker",
        name="script",
        display_name=name,
        phase=phase,
        kind="script",
        command_timeout=60,
        no_response_timeout=60,
    )


PLAN = Plan(
    build="b",
    namespace="ns",
    uid="u",
    attempt=1,
    pipeline="build",
    source=PlanSource(url="https://example.com/o/r.git", commit="c" * 40),
    box=ImageFacts(name="box", reference="box@sha256:0"),
    steps=(step(1, "compile"), step(2, "test"), step(3, "tell", phase="after")),
)


def ended(ordinal: int, reason: str, *, exit_code: int = 0, message: str = "") -> StepState:
    return StepState(
        ordinal=ordinal,
        id=f"s-{ordinal}",
        phase="main",
        state="finished",
        started=START,
        finished=START,
        exit=exit_code,
        reason=reason,
        message=message,
    )


def test_steps_are_shown_as_the_journal_tells_them() -> None:
    state = SessionState(
        steps={
            1: ended(1, "Passed"),
            2: StepState(ordinal=2, id="s-2", phase="main", state="running", started=START),
        }
    )
    steps = step_statuses(PLAN.steps, state)
    stamp = "2026-11-23T09:00:00Z"
    assert steps == [
        StepStatus(
            id="compile-1",
            name="script",
            display_name="compile",
            state="Passed",
            exit_code=0,
            reason="Passed",
            start_time=stamp,
            completion_time=stamp,
        ),
        StepStatus(
            id="test-2",
            name="script",
            display_name="test",
            state="Running",
            reason="Running",
            start_time=stamp,
        ),
        StepStatus(id="tell-3", name="script", display_name="tell", phase="after"),
    ]
    assert progress(steps) == "1/3"


@pytest.mark.parametrize(
    ("second", "reason", "message"),
    [
        (ended(2, "Passed"), Reason.PASSED, "all 2 steps passed"),
        (
            ended(2, "ExitCode", exit_code=3),
            Reason.EXIT_CODE,
            "step 'test' failed: exited with code 3",
        ),
        (
            ended(2, "ExitCode", exit_code=3, message="no redis"),
            Reason.EXIT_CODE,
            "step 'test' failed: exited with code 3: no redis",
        ),
        (
            ended(2, "CommandTimeout", exit_code=-1, message="it ran for 60 s"),
            Reason.COMMAND_TIMEOUT,
            "step 'test' failed: it ran for 60 s",
        ),
    ],
)
def test_the_first_step_that_did_not_pass_decides(
    second: StepState, reason: Reason, message: str
) -> None:
    outcome = judge(PLAN.steps, SessionState(steps={1: ended(1, "Passed"), 2: second}))
    assert (outcome.reason, outcome.message) == (reason, message)
    assert outcome.succeeded is (reason is Reason.PASSED)


def test_a_build_of_one_step_is_counted_in_the_singular() -> None:
    outcome = judge(PLAN.steps[:1], SessionState(steps={1: ended(1, "Passed")}))
    assert (outcome.reason, outcome.message) == (Reason.PASSED, "the step passed")


class Server(FakeApi):
    """The API server with one Build."""

    def __init__(self) -> None:
        metadata = {"namespace": "ns", "name": "b", "uid": "u", "generation": 2}
        super().__init__(
            builds=[
                {
                    "apiVersion": "sentinel.wercker.com/v1alpha1",
                    "kind": "Build",
                    "metadata": {**metadata, "resourceVersion": "10"},
                    "spec": {},
                }
            ]
        )

    @property
    def raw(self) -> dict[str, Any]:
        return self.find("builds", "b")

    @property
    def writes(self) -> list[dict[str, Any]]:
        return [body["status"] for body in self.replaced]

    def touch(self, **fields: Any) -> None:
        self.change("builds", "b", **fields)


def writer_of(server: Server) -> StatusWriter:
    raw = copy.deepcopy(server.raw)
    return StatusWriter(kube=cast(Any, server), builds=Board(), clock=Hasty(), raw=raw)


async def test_changes_go_out_in_one_write_without_empty_fields() -> None:
    server = Server()
    writer = writer_of(server)
    writer.change(current_step="0/3", pod=PodStatus(attempt=1))
    writer.condition(ConditionType.ACCEPTED, "True", Reason.VALID, "fine")
    await writer.flush()
    await writer.flush()
    assert server.writes == [
        {
            "observedGeneration": 2,
            "phase": "Starting",
            "currentStep": "0/3",
            "pod": {"attempt": 1},
            "conditions": [
                {
                    "type": "Accepted",
                    "status": "True",
                    "reason": "Valid",
                    "message": "fine",
                    "lastTransitionTime": "2026-11-23T09:00:00Z",
                    "observedGeneration": 2,
                }
            ],
        }
    ]


async def test_a_write_that_met_a_newer_object_is_repeated_on_top_of_it() -> None:
    server = Server()
    writer = writer_of(server)
    server.touch(spec={"cancel": True})
    writer.change(current_step="1/3")
    await writer.flush()
    assert server.raw["status"]["currentStep"] == "1/3"
    assert server.raw["spec"] == {"cancel": True}


async def test_who_finds_a_later_attempt_in_the_status_stops() -> None:
    server = Server()
    writer = writer_of(server)
    writer.change(pod=PodStatus(attempt=1))
    await writer.flush()
    server.touch(status={"pod": {"attempt": 2}})
    writer.change(current_step="1/3")
    with pytest.raises(GoneError, match="attempt 2"):
        await writer.flush()
    assert "currentStep" not in server.raw["status"]


async def test_the_background_task_writes_what_changed() -> None:
    server = Server()
    writer = writer_of(server)
    task = asyncio.create_task(writer.run())
    for count in range(3):
        writer.change(current_step=f"{count}/3")
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [each["currentStep"] for each in server.writes] == ["2/3"]


async def test_an_api_server_that_is_away_for_a_moment_loses_nothing() -> None:
    server = Server()
    writer = writer_of(server)
    server.fail("replace", "b", TransientError("the API server is away"), times=2)
    task = asyncio.create_task(writer.run())
    writer.change(current_step="1/3")
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [each["currentStep"] for each in server.writes] == ["1/3"]


@pytest.mark.parametrize(("finished", "error"), [("True", GoneError), ("Unknown", TransientError)])
async def test_an_end_that_another_operator_wrote_is_not_written_over(
    finished: str, error: type[Exception]
) -> None:
    server = Server()
    writer = writer_of(server)
    decided = [
        {"type": "Succeeded", "status": "True", "reason": "Passed"},
        {"type": "Finished", "status": finished, "reason": "Completed"},
    ]
    server.touch(status={"conditions": decided})
    writer.condition(ConditionType.SUCCEEDED, "False", Reason.POD_DELETED, "the pod is gone")
    task = asyncio.create_task(writer.run())
    with pytest.raises(error):
        await task
    assert server.raw["status"]["conditions"] == decided


async def test_its_own_end_is_not_taken_for_anothers() -> None:
    server = Server()
    writer = writer_of(server)
    writer.condition(ConditionType.SUCCEEDED, "True", Reason.PASSED, "fine")
    await writer.flush()
    server.touch(spec={"cancel": True})
    writer.condition(ConditionType.FINISHED, "True", Reason.COMPLETED)
    await writer.flush()
    server.touch(spec={})
    writer.change(current_step="3/3")
    await writer.flush()
    assert server.raw["status"]["currentStep"] == "3/3"


async def test_who_goes_on_shows_no_earlier_phase() -> None:
    server = Server()
    server.raw["status"] = {"phase": "Finishing"}
    writer = writer_of(server)
    writer.change(current_step="3/3")
    assert writer.status.phase == "Finishing"


async def test_that_steps_may_have_begun_is_not_written_over_either() -> None:
    server = Server()
    writer = writer_of(server)
    writer.begin_attempt(PLAN)
    await writer.flush()
    running = [{"type": "Succeeded", "status": "Unknown", "reason": "Running"}]
    server.touch(status={"pod": {"attempt": 1}, "conditions": running})
    writer.change(current_step="compile")
    with pytest.raises(TransientError, match="begun by another operator"):
        await writer.flush()
    assert server.raw["status"]["conditions"] == running


def test_every_field_of_the_status_can_be_set_by_its_name_and_no_other() -> None:
    """mypy reports a misspelled field; the API server would drop it silently."""
    derived = {"observed_generation", "phase", "progress"}
    assert get_type_hints(Fields).keys() == BuildStatus.model_fields.keys() - derived | {
        "running",
        "finishing",
    }
