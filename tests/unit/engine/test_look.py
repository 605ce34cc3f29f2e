"""Objects that disappear during a broken watch are in no event: they are read now and then."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from sentinel.engine.board import Board, Seen
from sentinel.engine.look import until
from sentinel.errors import TransientError
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import IMAGE_COMMITS

KEY = ("ns", "c")


def commit(version: int, phase: str) -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": "c", "uid": "u", "resourceVersion": str(version)}
    return {"metadata": metadata, "status": {"phase": phase}}


class Kube:
    """Answers one after the other, the last one for ever."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def get(self, resource: object, *, namespace: str, name: str) -> dict[str, Any]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ended(seen: Seen | None) -> str | None:
    if seen is not None and seen.deleted:
        return "deleted"
    return None if seen is None or seen.raw["status"]["phase"] == "Pending" else "ended"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([commit(2, "Succeeded")], "ended"),
        (
            [TransientError("the API server is away"), commit(1, "Pending"), commit(2, "Failed")],
            "ended",
        ),
        ([NotFound("no such commit")], "deleted"),
    ],
)
async def test_what_no_event_tells_is_found_by_looking(answers: list[Any], expected: str) -> None:
    board = Board()
    board.offer(commit(1, "Pending"))
    kube = Kube(*answers)
    async with asyncio.timeout(150):
        found = await until(cast(Any, kube), IMAGE_COMMITS, board, KEY, ended, every=0.01)
    assert found == expected
    assert kube.asked >= len(answers)


async def test_no_request_is_sent_while_events_come() -> None:
    board, kube = Board(), Kube(commit(1, "Pending"))
    waiting = asyncio.create_task(
        until(cast(Any, kube), IMAGE_COMMITS, board, KEY, ended, every=60)
    )
    await asyncio.sleep(0)
    board.offer(commit(2, "Succeeded"))
    async with asyncio.timeout(150):
        assert await waiting == "ended"
    assert kube.asked == 0
