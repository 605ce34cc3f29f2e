"""Work that something else may stop: a pod that dies, a cancel, a deadline.

A guard is a coroutine that raises to stop the work it stands beside; returning means that it has nothing to say any
more. (asyncio.TaskGroup would wrap the one error we want to see into a group.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def guarded(work: Coroutine[Any, Any, T], *guards: Coroutine[Any, Any, None]) -> T:
    """The result of `work`; the first exception of a guard cancels the work and is raised instead.

    Whatever happens, no task is left behind.
    """
    main = asyncio.create_task(work)
    watch = {asyncio.create_task(guard) for guard in guards}
    try:
        while not main.done():
            done, _ = await asyncio.wait({main, *watch}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & watch:
                watch.discard(task)
                # Also awaited where the work was faster: asyncio logs an exception that is never retrieved.
                error = None if task.cancelled() else task.exception()
                if error is not None and not main.done():
                    raise error
        return main.result()
    finally:
        await _stop({main, *watch})


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which goes on where the caller is cancelled; the caller ends after it."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _stop(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
