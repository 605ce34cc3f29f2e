"""Work that may kill the operator is counted in the Build's status before it begins, so that a restart remembers it.

That costs a write of the status, so it is waited for only where the operator before this one was killed, or the Build
was counted before; else it goes out with the next write, within 0.3 s. A Build that kills faster than that is counted
from the second time on.

The count goes back when the work is over, however it ended. What stays is what never ended: a process that was killed,
for its memory most likely. Which one it was cannot be known while many builds are prepared at once, so those that
were counted before are prepared one at a time: of them the next crash counts one more for the guilty one only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sentinel.engine.run import Run
from sentinel.engine.status import StatusWriter
from sentinel.errors import SentinelError

ALONE_SECONDS = 20.0
"""How long a build that was counted before is prepared alone: what kills the operator does so soon, and one that only
takes long must not hold up the others."""


@asynccontextmanager
async def counted(run: Run) -> AsyncIterator[None]:
    """Count the block as one crash while it lasts."""
    before = run.writer.status.crashes
    if before is None:
        async with _written(run.writer, before, flush=before is not None or run.tools.wary):
            yield
        return
    async with (
        _alone(run.tools.suspects),
        _written(run.writer, before, flush=before is not None or run.tools.wary),
    ):
        yield


@asynccontextmanager
async def _written(writer: StatusWriter, before: int | None, *, flush: bool) -> AsyncIterator[None]:
    writer.change(crashes=(before or 0) + 1)
    try:
        if flush:
            await writer.flush()
        yield
    except asyncio.CancelledError:
        # The operator stops, or the build is cancelled: this is no crash.
        writer.change(crashes=before)
        with suppress(SentinelError):
            await writer.flush()
        raise
    finally:
        writer.change(crashes=before)


@asynccontextmanager
async def _alone(lock: asyncio.Lock) -> AsyncIterator[None]:
    await lock.acquire()
    released = False

    def release() -> None:
        nonlocal released
        if not released:
            released = True
            lock.release()

    timer = asyncio.get_running_loop().call_later(ALONE_SECONDS, release)
    try:
        yield
    finally:
        timer.cancel()
        release()
