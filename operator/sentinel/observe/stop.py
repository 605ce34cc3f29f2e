"""Ending a role by SIGTERM or SIGINT, from its first moment on.

The kernel ignores a signal to PID 1 of a container that has no handler for it. A pod that is deleted meanwhile is there
for its whole grace period, and works on with settings that have been replaced.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, NoReturn


def exit_on_sigterm() -> None:
    """Exit on SIGTERM until the role handles signals itself: imports alone take seconds on a busy node."""
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def stop_event() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, as long as nothing else handles them."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopped.set)
    return stopped


async def until_stopped(
    work: Coroutine[Any, Any, None], *, stopped: asyncio.Event | None = None
) -> bool:
    """Wait for `work`, or for SIGTERM or SIGINT: whether it was a signal. What `work` raises is raised.

    `stopped` is a `stop_event` that there is already.
    """
    if stopped is None:
        stopped = stop_event()
    waiting = asyncio.create_task(stopped.wait(), name="stop")
    working = asyncio.create_task(work, name="work")
    try:
        done, _ = await asyncio.wait((waiting, working), return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            working.result()
        return stopped.is_set()
    finally:
        for task in (waiting, working):
            task.cancel()
        await asyncio.gather(waiting, working, return_exceptions=True)
