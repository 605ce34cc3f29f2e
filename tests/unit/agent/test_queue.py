"""The queue: each commit once, several at once, fair between namespaces."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from sentinel.agent.queue import Queue


def commit(name: str, phase: str | None = None, *, namespace: str = "team") -> dict[str, Any]:
    status = {"status": {"phase": phase}} if phase else {}
    return {"metadata": {"namespace": namespace, "name": name}, **status}


async def taken(queue: Queue) -> str:
    async with asyncio.timeout(150), queue.next() as (_, name):
        return name


async def test_commits_of_a_namespace_are_done_once_each_in_the_order_they_came() -> None:
    queue = Queue()
    for name in ("a", "b", "a", "c"):
        queue.offer(commit(name))
    assert [await taken(queue) for _ in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Refused"])
async def test_ended_commits_are_not_taken_in(phase: str) -> None:
    queue = Queue()
    queue.offer(commit("ended", phase))
    queue.offer(commit("open", "Claimed"))
    assert await taken(queue) == "open"


async def test_a_namespace_does_not_hold_others_up() -> None:
    """Two of a namespace's commits push to a registry that trickles; its others wait, another's do not."""
    queue = Queue(together=3, share=2)
    for name in ("a1", "a2", "a3"):
        queue.offer(commit(name, namespace="a"))
    async with AsyncExitStack() as stack:
        begun = [(await stack.enter_async_context(queue.next()))[1] for _ in range(2)]
        third = asyncio.create_task(taken(queue))
        await asyncio.sleep(0)
        assert not third.done()
        queue.offer(commit("b1", namespace="b"))
        assert await third == "b1"
        assert begun == ["a1", "a2"]
    assert await taken(queue) == "a3"


async def test_the_namespace_with_the_fewest_under_way_is_next() -> None:
    queue = Queue()
    for namespace, name in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        queue.offer(commit(name, namespace=namespace))
    async with queue.next() as first, queue.next() as second, queue.next() as third:
        assert [first[1], second[1], third[1]] == ["a1", "b1", "a2"]


async def test_no_more_than_so_many_are_under_way() -> None:
    queue = Queue(together=2, share=2)
    for namespace in ("a", "b", "c"):
        queue.offer(commit(namespace, namespace=namespace))
    async with queue.next(), queue.next():
        third = asyncio.create_task(taken(queue))
        await asyncio.sleep(0)
        assert not third.done()
    assert await third == "c"


async def test_commits_that_have_to_wait_are_reported_and_our_own_writes_are_not_news() -> None:
    queue = Queue(together=2, share=1)
    queue.offer(commit("first"))
    async with queue.next():
        queue.offer(commit("first", "Claimed"))
        queue.offer(commit("second"))
        queue.offer(commit("third", "Pending"))
        queue.offer(commit("other", namespace="other"))
        queue.offer(commit("late", namespace="late"))
    assert [queue.behind.get_nowait()["metadata"]["name"] for _ in range(2)] == ["second", "late"]
    assert queue.behind.empty()


async def test_taking_waits_for_something_to_come() -> None:
    queue = Queue()
    waiting = asyncio.create_task(taken(queue))
    await asyncio.sleep(0)
    queue.offer(commit("late"))
    assert await waiting == "late"
