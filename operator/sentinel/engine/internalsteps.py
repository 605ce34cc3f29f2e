"""Steps that the operator does itself while the box waits: what builds, pushes and runs images.

The box keeps their place in its queue and journal, so that a restart of the operator finds one that runs, does it
again, and asks for the same objects: their names are functions of the attempt and the step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sentinel.engine.attempt import Attempt
from sentinel.engine.containers import kill_container, run_container
from sentinel.engine.guard import to_the_end
from sentinel.engine.imagebuild import build_image, forget_build
from sentinel.engine.imagepush import push_image, store_box
from sentinel.engine.ourstep import Verdict
from sentinel.plan.containers import DOCKER_RUN
from sentinel.plan.internal import (
    DOCKER_BUILD,
    DOCKER_KILL,
    DOCKER_PUSH,
    SCRATCH,
    STORE,
)
from sentinel.plan.model import PlanStep
from sentinel.session.journal import SessionState

_WORK: dict[str, Callable[[Attempt, PlanStep], Awaitable[Verdict]]] = {
    DOCKER_BUILD: build_image,
    DOCKER_PUSH: push_image,
    SCRATCH: push_image,
    STORE: store_box,
    DOCKER_RUN: run_container,
    DOCKER_KILL: kill_container,
}


async def do_ours(attempt: Attempt) -> None:
    """Do each of the operator's steps as the box comes to it, until cancelled."""
    ours = {step.ordinal: step for step in attempt.plan.steps if step.kind == "operator"}
    if not ours:
        return

    def due(state: SessionState) -> int | None:
        return next(
            (each for each in ours if each in state.steps and state.steps[each].state == "running"),
            None,
        )

    while ours:
        state = await attempt.session.wait_for(lambda state: due(state) is not None)
        ordinal = due(state)
        if ordinal is None:
            continue
        step = ours.pop(ordinal)
        verdict = await _WORK[step.name](attempt, step)
        known = False
        try:
            await attempt.session.verdict(
                ordinal, exit_code=verdict.exit_code, message=verdict.message
            )
            known = True
        finally:
            # After the last step the box is done, and this task is cancelled, as soon as the box has the verdict.
            now = attempt.session.state.steps.get(ordinal)
            known = known or (now is not None and now.done)
            if known and step.name == DOCKER_BUILD:
                await to_the_end(forget_build(attempt, step))
