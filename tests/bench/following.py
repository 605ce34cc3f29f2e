"""How long a line takes from the box to a follower: `sentinel logs -f`, a process of its own.

The way is the user's: box → boxkit → kubelet → API server → the command. Both ends are on this machine and read one
clock: the line holds the time at which it was printed, and we note when it came out of the command.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from tests.bench.figures import at_most, say, spread
from tests.bench.world import Made, World

GOALS = at_most({"log_latency_ms.p99": 100.0})
LINES = 600
PAUSE = 0.03
FOLLOWERS = 1


async def measure(here: World) -> dict[str, Any]:
    """`log_latency_ms`: p50 and p99 over lines that were printed while somebody followed."""
    # read -t waits without starting a process; on a FIFO that nobody writes to.
    code = (
        "mkfifo /tmp/never; exec 9<>/tmp/never; "
        f"for n in $(seq {LINES}); do echo line $EPOCHREALTIME; read -t {PAUSE} -u 9 || true; done"
    )
    made = await here.build(here.project([code]))
    await made.running("s0")
    latencies, late = await _follow(made)
    await made.finished()
    say(f"log latency: {len(latencies)} lines live, {late} printed before the follower came")
    return {"log_latency_ms": spread(latencies, digits=1)}


async def _follow(made: Made) -> tuple[list[float], int]:
    """Milliseconds of every line that was printed after the first one was heard; how many came before."""
    lab = made.world.lab
    store = {
        "SENTINEL_STORE__BUCKET": lab.s3_bucket,
        "SENTINEL_STORE__ENDPOINT": lab.s3_endpoint,
        "SENTINEL_STORE__ACCESS_KEY_ID": lab.s3_access_key,
        "SENTINEL_STORE__SECRET_ACCESS_KEY": lab.s3_secret_key,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sentinel", "logs", made.name, "-n", made.world.namespace, "-f"),
        env={**os.environ, **lab.environ(), **store},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    latencies: list[float] = []
    began, late = 0.0, 0
    async with asyncio.timeout(120):
        while line := await process.stdout.readline():
            now = time.time()
            words = line.split()
            if len(words) != 2 or words[0] != b"line":
                continue
            began = began or now
            if float(words[1]) > began:
                latencies.append((now - float(words[1])) * 1000)
            else:
                late += 1
        code = await process.wait()
    if code or len(latencies) < LINES / 3:
        raise RuntimeError(
            f"sentinel logs ended with {code} after {late} late and {len(latencies)} live lines"
        )
    return latencies, late
