"""The library from a coroutine, for as long as its callers are coroutines: blocking work in threads of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sentinel.source.failure import CalledOff, Deadline

T = TypeVar("T")

# A process with a memory limit counts a thread's whole stack.
threading.stack_size(1024 * 1024)

_POOL = ThreadPoolExecutor(max_workers=32, thread_name_prefix="source")
"""So many at a time; each ends by its own deadline."""
_STAY = 5.0
"""Seconds; only a name server's silence takes longer."""


async def in_thread(
    work: Callable[[], T], deadline: Deadline, *, pool: ThreadPoolExecutor = _POOL
) -> T:
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
