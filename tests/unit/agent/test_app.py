"""The agent's queue, and what it wants of its surroundings before it begins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sentinel.agent.app import Queue, check_capabilities, check_settings, empty_spool, selector
from sentinel.errors import UserError
from sentinel.settings import Settings


def commit(name: str, phase: str | None = None) -> dict[str, Any]:
    status = {"status": {"phase": phase}} if phase else {}
    return {"metadata": {"namespace": "team", "name": name}, **status}


async def taken(queue: Queue) -> str:
    async with asyncio.timeout(1), queue.next() as (_, name):
        return name


async def test_commits_are_done_once_each_in_the_order_they_came() -> None:
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


async def test_what_comes_while_one_is_done_is_told_to_wait_and_our_own_writes_are_not_news() -> (
    None
):
    queue = Queue()
    queue.offer(commit("first"))
    async with queue.next():
        queue.offer(commit("first", "Claimed"))
        queue.offer(commit("second"))
        queue.offer(commit("third", "Pending"))
    assert queue.behind.get_nowait() == commit("second")
    assert queue.behind.empty()
    assert [await taken(queue), await taken(queue)] == ["second", "third"]


async def test_taking_waits_for_something_to_come() -> None:
    queue = Queue()
    waiting = asyncio.create_task(taken(queue))
    await asyncio.sleep(0)
    queue.offer(commit("late"))
    assert await waiting == "late"


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        ("000001ffffffffff", None),
        ("0000000000200004", None),
        ("0000000000200000", "CAP_DAC_READ_SEARCH"),
        ("0000000000000004", "CAP_SYS_ADMIN"),
        ("0000000000000000", "CAP_DAC_READ_SEARCH and CAP_SYS_ADMIN"),
    ],
)
def test_missing_capabilities_are_named(effective: str, missing: str | None) -> None:
    status = f"Name:\tpython\nCapPrm:\t0000000000000000\nCapEff:\t{effective}\n"
    if missing is None:
        check_capabilities(status)
    else:
        with pytest.raises(UserError, match=f"lacks {missing}: run it as uid 0"):
            check_capabilities(status)


def test_an_agent_must_know_its_node() -> None:
    with pytest.raises(UserError, match="SENTINEL_NODE_NAME is not set"):
        check_settings(Settings(node_name=""))


def test_only_the_nodes_own_open_commits_are_watched() -> None:
    assert selector("node-1") == (
        "sentinel.wercker.com/node=node-1,sentinel.wercker.com/active=true"
    )


def test_the_spool_is_emptied_of_our_own_leftovers_only(tmp_path: Path) -> None:
    (tmp_path / "spool/commit-old").mkdir(parents=True)
    (tmp_path / "spool/commit-old/layer.tar").touch()
    (tmp_path / "spool/other").touch()
    empty_spool(tmp_path / "spool")
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["other"]
