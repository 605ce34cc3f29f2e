"""From `spec.cancel: true` to the step's process: it has TERM, it is gone if it obeys, it is gone if it does not.

The process writes itself when TERM reached it (bash's clock, without starting anything); that it is gone is the
kernel's word, by a pidfd on this machine. Time runs from just before the patch is sent.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from typing import Any

from tests.bench.figures import at_most, say, spread
from tests.bench.process import marked
from tests.bench.world import Made, World

GOALS = at_most(
    {
        "cancel_seconds.term_p99": 0.5,
        "cancel_seconds.gone_p99": 0.8,
        "cancel_seconds.ignored_p99": 11.0,
    }
)
OBEY, IGNORE = 20, 8
AT_ONCE = 4

OBEYS = "trap 'echo TERM $EPOCHREALTIME; exit 0' TERM"
IGNORES = "trap '' TERM"


async def measure(here: World) -> dict[str, Any]:
    """`cancel_seconds`: p50 and p99 of all three, and how often each was measured."""
    term, gone, ignored = [], [], []
    for number in range(0, OBEY, AT_ONCE):
        for each in await _cancelled(here, OBEYS, min(AT_ONCE, OBEY - number)):
            term.append(each["term"])
            gone.append(each["gone"])
        say(f"cancel {len(term)}: TERM after {term[-1]:.3f} s, gone after {gone[-1]:.3f} s")
    for number in range(0, IGNORE, AT_ONCE):
        for each in await _cancelled(here, IGNORES, min(AT_ONCE, IGNORE - number)):
            ignored.append(each["gone"])
        say(f"cancel {len(ignored)}: gone after {ignored[-1]:.3f} s though it ignores TERM")
    result: dict[str, float] = {}
    for name, values in {"term": term, "gone": gone, "ignored": ignored}.items():
        found = spread(values)
        result |= {f"{name}_p50": found["p50"], f"{name}_p99": found["p99"]}
        result[f"{name}_count"] = int(found["count"])
    return {"cancel_seconds": result}


async def _cancelled(here: World, trap: str, count: int) -> list[dict[str, float]]:
    """Several builds that run side by side, cancelled one after the other."""
    markers = [f"bench-{uuid.uuid4().hex}" for _ in range(count)]
    # A builtin waits: TERM interrupts it at once, as it would a process that does nothing else. The marker stands in
    # the command line, where we find the process by it.
    code = "bash -c '{trap}; echo begun; sleep 1000 & while :; do wait; done' {marker}"
    quoted = trap.replace("'", "'\\''")
    builds = [
        await here.build(here.project([code.format(trap=quoted, marker=marker)]))
        for marker in markers
    ]
    for made in builds:
        await made.running("s0")
    found = []
    for made, marker in zip(builds, markers, strict=True):
        found.append(asyncio.create_task(_cancel(made, await _pid(marker))))
        # Those that ignore TERM take ten seconds, and do so side by side.
        await asyncio.wait([found[-1]], timeout=0.5)
    return [await each for each in found]


async def _cancel(made: Made, pid: int) -> dict[str, float]:
    ended = asyncio.create_task(_end_of(pid))
    asked = await made.cancel()
    gone = await ended - asked / 1e9
    raw, _ = await made.finished()
    if raw["status"]["phase"] != "Cancelled":
        raise RuntimeError(f"{made.name} ended as {raw['status']['phase']}")
    words = made.log(raw).split()
    term = float(words[words.index("TERM") + 1]) - asked / 1e9 if "TERM" in words else float("nan")
    return {"term": term, "gone": gone}


async def _pid(marker: str) -> int:
    async with asyncio.timeout(10):
        while True:
            pid = await asyncio.to_thread(marked, marker)
            if pid is not None:
                return pid
            await asyncio.sleep(0.02)


async def _end_of(pid: int) -> float:
    """Unix time at which that process ended."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)
    ended: asyncio.Future[float] = loop.create_future()

    def note() -> None:
        if not ended.done():
            ended.set_result(time.time())

    loop.add_reader(descriptor, note)
    try:
        async with asyncio.timeout(60):
            return await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
