"""Ending a role that runs no kopf: SIGTERM and SIGINT as an event."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


async def until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Wait for `work`, or for SIGTERM or SIGINT: whether it was a signal. What `work` raises is raised."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopped.set)
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
