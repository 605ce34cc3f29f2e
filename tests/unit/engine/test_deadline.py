"""A box that lets its steps run on past their time is ended by the operator."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.engine.test_uploads import Box

from sentinel.api.reasons import Reason
from sentinel.engine import deadline
from sentinel.errors import CancelledByUser, UserError
from sentinel.plan.model import PlanStep
from sentinel.session import records as r
from sentinel.session.journal import SessionState


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLACK", "BETWEEN", "CANCELLED_WITHIN"):
        monkeypatch.setattr(deadline, name, 0.05)


def step(ordinal: int, *, command: float = 0.05, phase: str = "main") -> PlanStep:
    fields = {"ordinal": ordinal, "phase": phase, "display_name": "s", "command_timeout": command}
    return cast(Any, SimpleNamespace(**fields))


async def steps_done(box: Box, steps: list[PlanStep], *, build: float = 60.0) -> SessionState:
    return await deadline.steps_done(cast(Any, box), steps, build_timeout=build)


def begin(box: Box, ordinal: int) -> None:
    box.say(r.Queued, ordinal=ordinal, id="s", phase="main")
    box.say(r.Started, ordinal=ordinal)


async def test_steps_that_end_in_time_are_waited_for() -> None:
    box = Box()
    box.finish(1)
    box.say(r.Queued, ordinal=2, id="s", phase="main")
    box.say(r.Skipped, ordinal=2, reason="Skipped", message="")
    state = await steps_done(box, [step(1), step(2)])
    assert state.done([1, 2])


@pytest.mark.parametrize("phase", ["main", "after"])
async def test_a_step_past_its_command_timeout_ends_the_build(phase: str) -> None:
    box = Box()
    begin(box, 1)
    with pytest.raises(UserError, match=r"step 's' ran longer than its command-timeout") as caught:
        await steps_done(box, [step(1, phase=phase)])
    assert caught.value.reason is Reason.COMMAND_TIMEOUT


async def test_a_box_that_begins_no_step_ends_the_build() -> None:
    with pytest.raises(UserError, match="the box began no step for"):
        await steps_done(Box(), [step(1)])


async def test_main_steps_past_the_build_timeout_end_the_build() -> None:
    box = Box()
    begin(box, 1)
    with pytest.raises(UserError, match=r"did not end within 0 s.*timeouts\.build") as caught:
        await steps_done(box, [step(1, command=0)], build=0.01)
    assert caught.value.reason is Reason.BUILD_TIMEOUT


async def test_a_cancel_that_the_box_does_not_heed_ends_the_build() -> None:
    async def cancel(_: str, *, after: bool) -> None:
        pass

    with pytest.raises(CancelledByUser, match="the box did not stop its steps within"):
        await deadline.cancelled(cast(Any, SimpleNamespace(cancel=cancel)), "spec.cancel was set")


async def test_a_step_without_a_timeout_is_waited_for() -> None:
    box = Box()
    begin(box, 1)
    waiting = asyncio.create_task(steps_done(box, [step(1, command=0)], build=0))
    done, _ = await asyncio.wait([waiting], timeout=4 * deadline.SLACK)
    assert not done
    end: dict[str, Any] = {"exit": 0, "reason": "Passed", "message": "", "usage": r.Usage()}
    box.say(r.Finished, ordinal=1, log=r.LogFacts(), **end)
    assert (await waiting).done([1])
