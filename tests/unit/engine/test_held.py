"""Builds that wait for another one hold no slot, and are driven again when there is news of it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.engine.test_supervisor import build, world

from sentinel.errors import ParentPending
from sentinel.plan.names import FINISHED_LABEL

__all__ = ["world"]


def pending(within: float = 3600) -> ParentPending:
    return ParentPending("waiting for Build p", parent=("ns", "p"), within=within)


def finished(name: str) -> dict[str, Any]:
    raw = build(name, version=9)
    raw["metadata"]["labels"] = {FINISHED_LABEL: "true"}
    return raw


async def test_one_that_waits_leaves_its_slot_to_the_one_that_it_waits_for(world: Any) -> None:
    w = world(limit=1)
    w.errors["a"] = [pending()]
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a"]
    w.supervisor.offer(build("p"))
    assert await w.settle() == ["a", "p"]
    assert len(w.supervisor._active) == 1
    w.started[-1].may_end.set()
    assert await w.settle() == ["a", "p", "a"]


async def test_the_parent_s_end_drives_all_that_wait_for_it(world: Any) -> None:
    w = world()
    for name in ("a", "b", "c"):
        w.errors[name] = [pending()]
        w.supervisor.offer(build(name))
    assert await w.settle() == ["a", "b", "c"]
    w.supervisor.gone(finished("other"))
    assert len(await w.settle()) == 3
    w.supervisor.gone(finished("p"))
    assert (await w.settle())[3:] == ["a", "b", "c"]


async def test_events_of_its_own_do_not_drive_it_again(world: Any) -> None:
    w = world()
    w.errors["a"] = [pending()]
    w.supervisor.offer(build("a"))
    await w.settle()
    for version in range(2, 6):
        w.supervisor.offer(build("a", version=version))
    assert await w.settle() == ["a"]


async def test_a_cancel_and_a_delete_reach_one_that_waits(world: Any) -> None:
    w = world()
    w.errors |= {"a": [pending()], "b": [pending()]}
    w.supervisor.offer(build("a"))
    w.supervisor.offer(build("b"))
    await w.settle()
    w.supervisor.offer(build("a", version=2, cancel=True))
    w.supervisor.gone(build("b", version=2))
    await w.settle()
    assert [(run.name, run.cancelled.is_set()) for run in w.started[2:]] == [("a", True)]
    w.supervisor.gone(finished("p"))
    assert len(await w.settle()) == 3


async def test_a_cancel_in_the_moment_of_its_setting_aside_is_not_lost(world: Any) -> None:
    w = world()
    calls = 0

    async def drive(run: Any) -> None:
        nonlocal calls
        calls += 1
        w.started.append(run)
        if calls == 1:
            w.supervisor.offer(build("a", version=2, cancel=True))
            raise pending()
        await run.may_end.wait()

    w.supervisor._drive = drive
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a", "a"]
    assert w.started[1].cancelled.is_set()


async def test_news_that_came_while_it_looked_is_not_missed(world: Any) -> None:
    w = world()

    async def drive(run: Any) -> None:
        w.started.append(run)
        if len(w.started) == 1:
            # The parent ends between our look at it and the wait.
            w.supervisor.gone(finished("p"))
            raise pending()
        await run.may_end.wait()

    w.supervisor._drive = drive
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a", "a"]


async def test_news_that_came_while_several_looked_is_missed_by_none(world: Any) -> None:
    w = world()
    both = asyncio.Event()

    async def drive(run: Any) -> None:
        w.started.append(run)
        if len(w.started) <= 2:
            if len(w.started) == 2:
                w.supervisor.gone(finished("p"))
                both.set()
            await both.wait()
            raise pending()
        await run.may_end.wait()

    w.supervisor._drive = drive
    w.supervisor.offer(build("a"))
    w.supervisor.offer(build("b"))
    assert sorted(await w.settle()) == ["a", "a", "b", "b"]


async def test_news_reaches_one_that_looks_and_one_that_waits(world: Any) -> None:
    w = world()

    async def drive(run: Any) -> None:
        w.started.append(run)
        if run.name == "b" and len(w.started) == 2:
            w.supervisor.gone(finished("p"))
        if len(w.started) <= 2:
            raise pending()
        await run.may_end.wait()

    w.supervisor._drive = drive
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a"]
    w.supervisor.offer(build("b"))
    assert sorted(await w.settle()) == ["a", "a", "b", "b"]


async def test_old_news_drives_it_once(world: Any) -> None:
    w = world()
    w.supervisor.gone(finished("p"))
    w.errors["a"] = [pending(), pending(), pending()]
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a", "a"]


async def test_it_is_looked_at_again_when_its_time_is_over(world: Any) -> None:
    w = world()
    w.errors["a"] = [pending(within=0.01)]
    w.supervisor.offer(build("a"))
    async with asyncio.timeout(150):
        while len(w.started) < 2:
            await asyncio.sleep(0.01)
