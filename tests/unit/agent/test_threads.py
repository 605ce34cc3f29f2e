"""Threads that do not end when their work is given up are seen by the liveness probe."""

from __future__ import annotations

import asyncio
import contextlib
from threading import Event

from tests.unit.clocks import Hasty

from sentinel.agent.queue import STUCK_SECONDS as COMMIT_STUCK
from sentinel.agent.queue import Queue
from sentinel.agent.threads import STUCK_SECONDS, Threads


async def test_a_thread_that_ignores_its_stop_is_reported_until_it_ends() -> None:
    clock = Hasty()
    threads, disk, stop = Threads(clock), Event(), Event()
    work = asyncio.create_task(threads.run(disk.wait, stop))
    await asyncio.sleep(0)
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    assert stop.is_set()
    assert threads.problem() == ""
    clock.elapsed += STUCK_SECONDS + 1
    assert threads.problem() == "1 did not end in 120 s after their commit was given up"
    disk.set()
    async with asyncio.timeout(150):
        while threads.problem():
            await asyncio.sleep(0.01)


async def test_the_result_and_the_error_of_the_work_come_back() -> None:
    threads = Threads(Hasty())
    assert await threads.run(lambda: 7, Event()) == 7

    def fails() -> None:
        raise OSError("disk")

    with contextlib.suppress(OSError):
        await threads.run(fails, Event())
        raise AssertionError
    assert threads.problem() == ""


async def test_a_commit_that_takes_forever_is_reported() -> None:
    clock = Hasty()
    queue = Queue(clock=clock)
    queue.offer({"metadata": {"namespace": "team", "name": "b-1"}})
    async with queue.next():
        assert queue.problem() == ""
        clock.elapsed += COMMIT_STUCK + 1
        assert queue.problem() == "team/b-1 did not end in 3600 s"
    assert queue.problem() == ""
