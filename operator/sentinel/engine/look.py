"""Waiting for an object with a look at the object itself now and then.

A watch that breaks (the API server restarts, its history is too short) begins again with a list, and what was deleted
or left the selection in between is in no list and in no event. So an object that is waited for is also read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sentinel.engine.board import Board, Key, Seen
from sentinel.errors import TransientError
from sentinel.kube.client import Kube
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import Resource

T = TypeVar("T")

LOOK_AGAIN = 10.0
"""Seconds without news after which an object is read."""


async def look_again(kube: Kube, resource: Resource, board: Board, key: Key) -> None:
    """Read an object and put what the server says on the board. An API server that is away changes nothing."""
    namespace, name = key
    try:
        board.offer(await kube.get(resource, namespace=namespace, name=name))
    except NotFound:
        seen = board.get(key)
        if seen is not None and not seen.deleted:
            board.offer(seen.raw, deleted=True)
    except TransientError:
        return


async def until(
    kube: Kube,
    resource: Resource,
    board: Board,
    key: Key,
    look: Callable[[Seen | None], T | None],
    *,
    every: float = LOOK_AGAIN,
) -> T:
    """As `Board.until`, for as long as the caller's own timeout lets it, watch or no watch."""
    while True:
        try:
            async with asyncio.timeout(every):
                return await board.until(key, look)
        except TimeoutError:
            await look_again(kube, resource, board, key)
