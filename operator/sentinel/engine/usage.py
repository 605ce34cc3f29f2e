"""What a build took of time, processor and memory: `status.usage`. Pure.

Times are differences of what stands in the status, in whole seconds. Processor time and memory are the box's cgroup's,
as boxkit read them at the end of each step; services and what runs between steps are not in the processor time.
"""

from __future__ import annotations

from datetime import datetime

from sentinel.api.build import BuildStatus
from sentinel.api.conditions import ConditionType, get_condition
from sentinel.api.usage import UsageStatus
from sentinel.session.journal import SessionState


def used_by_steps(usage: UsageStatus | None, state: SessionState) -> UsageStatus:
    """`usage` with what the steps took that have ended so far."""
    ended = [step.usage for step in state.steps.values()]
    return (usage or UsageStatus()).model_copy(
        update={
            "cpu_seconds": round(sum(each.cpu_seconds for each in ended), 3),
            "peak_memory_bytes": max((each.peak_memory_bytes for each in ended), default=0),
        }
    )


def used_in_all(status: BuildStatus, *, created: str) -> UsageStatus:
    """`status.usage` of a build whose `completion_time` is known, with its times. `created` is the Build's."""
    conditions = status.conditions
    accepted = get_condition(conditions, ConditionType.ACCEPTED)
    ready = get_condition(conditions, ConditionType.POD_READY)
    was_accepted = accepted is not None and accepted.status == "True"
    began = ready.last_transition_time if ready is not None and ready.status == "True" else ""
    return (status.usage or UsageStatus()).model_copy(
        update={
            "queued_seconds": _between(created, status.start_time),
            "pending_seconds": _between(accepted.last_transition_time, began)
            if was_accepted and accepted is not None
            else 0,
            "run_seconds": _between(began, status.completion_time),
        }
    )


def _between(begin: str, end: str) -> int:
    """Whole seconds, 0 where one of the times is missing."""
    if not begin or not end:
        return 0
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    return max(int(seconds), 0)
