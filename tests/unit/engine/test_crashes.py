"""A build that kills the operator is known by its status, and preparing one has an end."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from tests.unit.engine.world import Server, run_of

from sentinel.api.reasons import Reason
from sentinel.engine import prepare as stage
from sentinel.engine.crashes import counted
from sentinel.engine.run import Run
from sentinel.errors import CancelledByUser, InfrastructureError, UserError
from sentinel.settings import Settings


def with_settings(run: Run, **settings: Any) -> Run:
    object.__setattr__(run.tools, "settings", Settings(**settings))
    return run


async def hangs(*_: object, **__: object) -> Any:
    """A server that trickles for ever."""
    await asyncio.Event().wait()


async def test_a_process_that_is_killed_while_it_prepares_leaves_a_count() -> None:
    server = Server()
    run = run_of(server)
    begun = asyncio.Event()

    async def work() -> None:
        async with counted(run):
            begun.set()
            await hangs()

    task = asyncio.create_task(work())
    await begun.wait()
    left = copy.deepcopy(server.build)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    # What stands in the API server while it works is what a killed process leaves.
    assert left["status"]["crashes"] == 1
    # A process that ends in order takes it back.
    assert "crashes" not in server.build["status"]


async def test_where_no_operator_was_killed_the_count_goes_out_with_the_next_write() -> None:
    server = Server()
    run = run_of(server)
    object.__setattr__(run.tools, "wary", False)
    async with counted(run):
        assert server.writes == []
        await run.writer.flush()
        assert server.build["status"]["crashes"] == 1


async def test_work_that_ends_is_not_a_crash() -> None:
    run = run_of(Server())
    with pytest.raises(UserError):
        async with counted(run):
            raise UserError("no such file", reason=Reason.CONFIG_MISSING)
    assert run.writer.status.crashes is None


async def test_builds_that_were_counted_before_are_prepared_one_at_a_time() -> None:
    first, second, third = (run_of(Server({"crashes": n})) for n in (2, 1, 0))
    third.writer.change(crashes=None)
    for run in (second, third):
        object.__setattr__(run.tools, "suspects", first.tools.suspects)
    inside: list[str] = []
    go_on = asyncio.Event()

    async def work(name: str, run: Run) -> None:
        async with counted(run):
            inside.append(name)
            await go_on.wait()

    tasks = [
        asyncio.create_task(work(name, run))
        for name, run in (("first", first), ("second", second), ("third", third))
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    assert inside == ["first", "third"]
    # Who waits for its turn is not counted: a crash now is not its.
    assert second.writer.status.crashes == 1
    go_on.set()
    await asyncio.gather(*tasks)
    assert inside == ["first", "third", "second"]


@pytest.mark.parametrize(
    ("known", "reason"),
    [({}, Reason.SOURCE_UNAVAILABLE), ({"source": {}}, Reason.REGISTRY_UNAVAILABLE)],
)
async def test_one_deadline_ends_all_that_comes_before_the_pod(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, Any], reason: Reason
) -> None:
    monkeypatch.setattr(stage, "_prepare", hangs)
    server = Server({"startTime": "2026-11-23T09:00:00Z", **known})
    run = with_settings(run_of(server), prepare_seconds=0.01)

    with pytest.raises(InfrastructureError) as caught:
        await stage.prepare(run, 1)

    assert caught.value.reason is reason
    assert "setting prepare_seconds" in caught.value.message
    assert run.writer.status.crashes is None


async def test_a_cancel_ends_a_build_that_is_being_prepared_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "_prepare", hangs)
    server = Server()
    run = run_of(server)
    task = asyncio.create_task(run.unless_cancelled(stage.prepare(run, 1)))
    while "crashes" not in server.build["status"]:
        await asyncio.sleep(0)

    run.cancelled.set()

    with pytest.raises(CancelledByUser):
        await asyncio.wait_for(task, 150)
    assert "crashes" not in server.build["status"]
