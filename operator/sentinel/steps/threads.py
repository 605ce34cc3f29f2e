"""Blocking work from a coroutine, in a thread that a cancel reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sentinel.source.failure import CalledOff, Deadline

T = TypeVar("T")

_STAY = 5.0
"""Seconds; only a name server's silence takes longer."""


async def in_thread(work: Callable[[], T], deadline: Deadline, *, pool: ThreadPoolExecutor) -> T:
    """The result of `work`. Where we are cancelled, so is `deadline`; we stay a while until the work is over."""
    future = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        deadline.cancel()
        await asyncio.wait([future], timeout=_STAY)
        if future.done() and not future.cancelled():
            future.exception()
        raise
    except CalledOff:
        raise asyncio.CancelledError from None
