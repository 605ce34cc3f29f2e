"""What every soak uses: small Builds in a row, in a namespace of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.bench.world import Made, World

LITTLE: dict[str, Any] = {"box": {"resources": {"requests": {"cpu": "1m", "memory": "8Mi"}}}}


async def until(
    holds: Callable[[], bool], *, seconds: float, what: str, every: float = 1.0
) -> None:
    """Wait in a thread's time until `holds`. Raises RuntimeError with `what` after `seconds`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not await asyncio.to_thread(holds):
        if loop.time() > end:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(every)


async def seconds_of(here: World, url: str, **spec: Any) -> float:
    """Create a Build, wait for its end, which must be green, and say how long it took."""
    made: Made = await here.build(url, pod=LITTLE, **spec)
    raw, seconds = await made.finished()
    if raw["status"]["phase"] != "Succeeded":
        raise RuntimeError(f"{made.name} ended as {raw['status']}")
    return seconds
