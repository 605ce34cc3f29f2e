"""A commit that stops while the box is frozen, for as long as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar, cast

from sentinel.agent.failures import RuntimeFailure
from sentinel.agent.runtimes.freezing import Freezer, State
from sentinel.agent.threads import Threads
from sentinel.clock import SystemClock

T = TypeVar("T")


class HaltingThreads(Threads):
    """Runs the first work, which measures the box's changes. The next, which copies them, does not end."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self._halted = asyncio.Event()
        self._calls = 0

    async def run(self, work: Callable[[], T], stop: Event) -> T:
        self._calls += 1
        if self._calls == 1:
            return await super().run(work, stop)
        self._halted.set()
        await asyncio.Event().wait()
        raise AssertionError("waiting ended without a cancellation")

    async def halted(self, commit: asyncio.Task[None]) -> None:
        """Wait until that commit's box is frozen. A commit that ends before is an AssertionError."""
        waiting = asyncio.create_task(self._halted.wait())
        await asyncio.wait({commit, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done(), "the commit ended before the box was frozen"


async def state_of(runtime: Any, container: str) -> State:
    """What a container does, asked until the runtime can say it."""
    while True:
        try:
            return await cast(Freezer, runtime).state(container)
        except RuntimeFailure:
            await asyncio.sleep(0.2)
