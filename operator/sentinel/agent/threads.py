"""Work that blocks, in threads: reading a node's disk, compressing a layer. No thread can be killed from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

from sentinel.clock import Clock

T = TypeVar("T")

STUCK_SECONDS = 120.0
"""A thread looks at its `stop` after each piece of a file. One that goes on for so long waits for a disk."""


class Threads:
    """Runs blocking work and remembers the threads that do not end when their work is given up.

    There are a few threads only. Each that hangs on a disk is missing for the commits that come after it, so the
    agent fails its liveness probe.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._abandoned: dict[asyncio.Future[Any], float] = {}

    async def run(self, work: Callable[[], T], stop: Event) -> T:
        """The result of `work`. Cancelled, `stop` ends the thread's work, which is not waited for."""
        thread = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(thread)
        except BaseException:
            stop.set()
            if not thread.done():
                self._abandoned[thread] = self._clock.monotonic()
                thread.add_done_callback(self._ended)
            raise

    def problem(self) -> str:
        """How many threads are stuck; empty where none is."""
        now = self._clock.monotonic()
        stuck = [since for since in self._abandoned.values() if now - since > STUCK_SECONDS]
        if not stuck:
            return ""
        return f"{len(stuck)} did not end in {STUCK_SECONDS:.0f} s after their commit was given up"

    def _ended(self, thread: asyncio.Future[Any]) -> None:
        self._abandoned.pop(thread, None)
        if not thread.cancelled():
            thread.exception()  # Nobody waits for it; asyncio would log it.
