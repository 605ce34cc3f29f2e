"""Guarded work: its result, a guard's error instead of it, and never a task left behind."""

from __future__ import annotations

import asyncio

import pytest

from sentinel.engine.guard import guarded, to_the_end


class Dead(Exception):
    pass


async def forever() -> None:
    await asyncio.Event().wait()


async def result() -> int:
    await asyncio.sleep(0)
    return 3


async def die() -> None:
    await asyncio.sleep(0)
    raise Dead


async def quiet() -> None:
    return None


async def test_the_work_s_result_is_returned_and_its_guards_are_ended() -> None:
    assert await guarded(result(), forever(), quiet()) == 3
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_guard_s_error_ends_the_work_and_is_raised_as_it_is() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            cancelled.set()

    with pytest.raises(Dead):
        await guarded(work(), die(), forever())
    assert cancelled.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_guard_that_returns_lets_the_work_go_on() -> None:
    assert await guarded(result(), quiet()) == 3


async def test_an_error_of_the_work_is_raised() -> None:
    with pytest.raises(Dead):
        await guarded(die(), forever())


async def test_cancelling_the_whole_ends_work_and_guards() -> None:
    task = asyncio.create_task(guarded(forever(), forever()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_work_that_must_end_outlives_the_cancel_of_its_caller() -> None:
    begun, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go.wait()
        ended.set()

    caller = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    caller.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
    assert await to_the_end(result()) == 3
