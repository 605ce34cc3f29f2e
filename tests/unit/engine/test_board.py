"""The board: newest state wins, deletions are final, waiters see every change that matters."""

from __future__ import annotations

import asyncio
from typing import Any

from sentinel.engine.board import MOST_DELETED, Board, Seen

KEY = ("ns", "pod")


def pod(version: int, *, uid: str = "u1", **status: Any) -> dict[str, Any]:
    meta = {"namespace": "ns", "name": "pod", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": meta, "status": status}


def test_an_older_state_of_the_same_object_is_ignored() -> None:
    board = Board()
    board.offer(pod(7, phase="Running"))
    board.offer(pod(5, phase="Pending"))
    assert board.get(KEY) == Seen(pod(7, phase="Running"))


def test_an_object_of_the_same_name_with_another_uid_replaces_the_old_one() -> None:
    board = Board()
    board.offer(pod(7, uid="u1"), deleted=True)
    board.offer(pod(3, uid="u2"))
    assert board.get(KEY) == Seen(pod(3, uid="u2"))


def test_a_deleted_object_does_not_come_back_by_a_late_event() -> None:
    board = Board()
    board.offer(pod(7), deleted=True)
    board.offer(pod(8))
    assert board.get(KEY) == Seen(pod(7), deleted=True)


async def test_of_a_forgotten_object_only_what_is_waited_for_is_heard() -> None:
    """500 builds in a row must not leave the last states of 256 pods in memory."""
    board = Board()
    board.hear(pod(7))
    board.forget(KEY)
    board.hear(pod(8, phase="Succeeded"))
    board.hear(pod(9), deleted=True)
    assert board.get(KEY) is None
    waiting = asyncio.create_task(board.until(KEY, lambda seen: seen))
    await asyncio.sleep(0)
    board.hear(pod(9), deleted=True)
    assert await waiting == Seen(pod(9), deleted=True)


def test_an_object_that_is_read_again_is_not_forgotten_any_more() -> None:
    board = Board()
    board.offer(pod(7))
    board.forget(KEY)
    board.offer(pod(8))
    board.hear(pod(9))
    assert board.get(KEY) == Seen(pod(9))


def test_another_object_of_a_forgotten_name_is_heard() -> None:
    board = Board()
    board.offer(pod(7, uid="u1"))
    board.forget(KEY)
    board.hear(pod(8, uid="u2"))
    assert board.get(KEY) == Seen(pod(8, uid="u2"))


async def test_until_returns_what_is_there_already() -> None:
    board = Board()
    board.offer(pod(1, phase="Running"))
    assert await board.until(KEY, lambda seen: seen and seen.raw["status"]["phase"]) == "Running"


async def test_until_waits_for_the_change_it_wants_and_forgets_its_waiter() -> None:
    board = Board()

    def running(seen: Seen | None) -> bool | None:
        return True if seen is not None and seen.raw["status"]["phase"] == "Running" else None

    waiting = asyncio.create_task(board.until(KEY, running))
    await asyncio.sleep(0)
    board.offer(pod(1, phase="Pending"))
    await asyncio.sleep(0)
    assert not waiting.done()
    board.offer(pod(2, phase="Running"))
    assert await waiting is True
    assert not board._waiting


def test_deleted_objects_are_not_remembered_forever() -> None:
    board = Board()
    for number in range(MOST_DELETED + 10):
        raw = pod(1, uid=f"u{number}")
        raw["metadata"]["name"] = f"p{number}"
        board.offer(raw, deleted=True)
    assert board.get(("ns", "p0")) is None
    assert board.get(("ns", f"p{MOST_DELETED + 9}")) is not None
