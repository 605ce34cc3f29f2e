"""Steps that the operator does itself: the box keeps their place in the queue and the journal, and waits."""

from __future__ import annotations

import pytest

from sentinel.session.client import RequestRefused
from sentinel.session.messages import StepSpec
from tests.boxkit.conftest import Box, script


def operator_step(ordinal: int, **more: object) -> StepSpec:
    return StepSpec(
        **{
            "ordinal": ordinal,
            "id": f"docker-push-{ordinal}",
            "name": "docker-push",
            "owner": "internal",
            "kind": "operator",
            **more,
        }
    )


async def test_the_queue_waits_for_the_verdict_and_sees_what_was_exported(box: Box) -> None:
    steps = [
        script(1, "export TAG=one"),
        operator_step(2),
        script(3, "export TAG=two; echo go on"),
        operator_step(4),
    ]
    async with box.session() as session:
        await session.open(box.open())
        await session.start(steps)
        for ordinal, tag in ((2, "one"), (4, "two")):
            await session.wait_for(lambda state, at=ordinal: state.steps[at].state == "running")
            assert dict(await session.environment())["TAG"] == tag
            await session.note(f"push-{ordinal}", f"pushing {tag}")
            await session.verdict(ordinal, exit_code=0, message=f"pushed {tag}")
            await session.verdict(ordinal, exit_code=1, message="twice")
            await session.wait_for(lambda state, at=ordinal: state.done([at]))
        state = await session.close()

    assert [(each.reason, each.exit) for each in state.steps.values()] == [("Passed", 0)] * 4
    assert state.steps[2].message == "pushed one"
    assert box.log(2) == b"pushing one\n"
    assert box.log(3) == b"go on\n"


async def test_a_verdict_that_is_a_failure_skips_what_follows(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start([operator_step(1), script(2, "echo no")])
        await session.wait_for(lambda state: state.steps[1].state == "running")
        await session.verdict(1, exit_code=1, message="denied")
        state = await session.wait_for(lambda state: state.done([1, 2]))

    assert (state.steps[1].reason, state.steps[1].message) == ("ExitCode", "denied")
    assert state.steps[2].reason == "Skipped"


async def test_a_verdict_comes_over_another_connection(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start([operator_step(1)])
        await session.wait_for(lambda state: state.steps[1].state == "running")
    async with box.session() as session:
        await session.wait_for(lambda state: 1 in state.steps and state.steps[1].state == "running")
        await session.verdict(1, exit_code=0)
        state = await session.close()

    assert state.steps[1].reason == "Passed"


async def test_a_verdict_too_early_or_of_another_step_is_refused(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start([script(1, "sleep 600"), operator_step(2)])
        await session.wait_for(lambda state: state.steps[1].state == "running")
        with pytest.raises(RequestRefused, match="has not started"):
            await session.verdict(2, exit_code=0)
        with pytest.raises(RequestRefused, match=r"not one of the operator's"):
            await session.verdict(1, exit_code=0)


@pytest.mark.parametrize("what", ["cancel", "timeout"])
async def test_waiting_ends_with_a_cancel_or_the_timeout(box: Box, what: str) -> None:
    async with box.session() as session:
        await session.open(box.open())
        limit = 0.2 if what == "timeout" else 600.0
        await session.start([operator_step(1, command_timeout=limit)])
        if what == "cancel":
            await session.wait_for(lambda state: state.steps[1].state == "running")
            await session.cancel("enough")
        state = await session.wait_for(lambda state: state.done([1]))

    assert state.steps[1].reason == ("Cancelled" if what == "cancel" else "CommandTimeout")
