"""`status.usage`: from the status' times and what boxkit read at the end of each step."""

from __future__ import annotations

from tests.unit.reports import stories

from sentinel.api.build import BuildStatus
from sentinel.api.usage import UsageStatus
from sentinel.engine.usage import used_by_steps, used_in_all
from sentinel.session.journal import SessionState, StepState
from sentinel.session.records import Usage


def ended(ordinal: int, *, cpu: float, memory: int) -> StepState:
    usage = Usage(seconds=1, cpu_seconds=cpu, peak_memory_bytes=memory)
    return StepState(
        ordinal=ordinal, id=f"s-{ordinal}", phase="main", state="finished", usage=usage
    )


def test_steps_add_their_processor_time_and_the_peak_is_the_highest() -> None:
    state = SessionState(
        steps={1: ended(1, cpu=1.25, memory=7 << 20), 2: ended(2, cpu=0.5004, memory=9 << 20)}
    )
    first = used_by_steps(None, SessionState(steps={1: state.steps[1]}))
    assert (first.cpu_seconds, first.peak_memory_bytes) == (1.25, 7 << 20)
    both = used_by_steps(first, state)
    assert (both.cpu_seconds, both.peak_memory_bytes) == (1.75, 9 << 20)
    assert used_by_steps(both, state) == both


def test_times_are_those_of_the_status() -> None:
    raw = stories.passed().raw
    raw["status"]["usage"] = {"cpuSeconds": 2.5, "peakMemoryBytes": 1}
    status = BuildStatus.model_validate(raw["status"])
    usage = used_in_all(status, created=raw["metadata"]["creationTimestamp"])
    assert usage == UsageStatus(
        queued_seconds=1, pending_seconds=1, run_seconds=8, cpu_seconds=2.5, peak_memory_bytes=1
    )


def test_a_build_without_a_pod_has_only_waited() -> None:
    raw = stories.refused().raw
    status = BuildStatus.model_validate(raw["status"])
    usage = used_in_all(status, created=raw["metadata"]["creationTimestamp"])
    assert usage == UsageStatus(queued_seconds=1)
