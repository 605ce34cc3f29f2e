"""How long after its start a new operator process follows every active build again.

The operator's process gets SIGKILL from this machine, as the out-of-memory killer would do it; the kubelet starts the
container again in the same pod. Time runs from the moment at which the new process is executed. A build is followed
again when the API server has a status of it that the new process wrote, and that happens only after it has read the
Build, its pod and plan, and the journal in its box: the builds' steps end every half second, so that there always is
something to write. How long the kubelet waits before it starts the container is not part of it, and is reported beside
it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.bench.figures import at_most, say, spread
from tests.bench.process import OperatorProcess, of_pod, running
from tests.bench.world import Made, World

GOALS = at_most({"recovery_seconds.p99": 8.0})
KILLS = 3
"""The kubelet doubles its pause from the second on: 10 s, 20 s, …"""
BUILDS = 6
STEPS = 300


async def measure(here: World) -> dict[str, Any]:
    """`recovery_seconds`: p50 and p99 over builds and kills, and the kubelet's own pauses."""
    url = here.project(["sleep 0.5"] * STEPS)
    builds = [await here.build(url) for _ in range(BUILDS)]
    for made in builds:
        await made.until(lambda raw: bool(raw.get("status", {}).get("currentStep")))
    seconds: list[float] = []
    pauses: list[float] = []
    for number in range(KILLS):
        old = await asyncio.to_thread(running, here.lab)
        old.kill()
        killed = time.time()
        successor = asyncio.create_task(_successor(old))
        # Nobody writes between the two processes, so whatever comes after these is the new one's.
        versions = [await made.version() for made in builds]
        started = await successor
        pauses.append(started - killed)
        again = await asyncio.gather(
            *(_written(made, version) for made, version in zip(builds, versions, strict=True))
        )
        seconds += [moment - started for moment in again]
        say(
            f"recovery {number + 1}: the container ran after {pauses[-1]:.1f} s, all builds were "
            f"followed {max(again) - started:.2f} s later"
        )
    for made in builds:
        await made.cancel()
    for made in builds:
        raw, _ = await made.finished()
        _check(raw)
    return {
        "recovery_seconds": {
            **spread(seconds),
            "builds": BUILDS,
            "kills": KILLS,
            "restart_pauses": [round(each, 2) for each in pauses],
        }
    }


async def _written(made: Made, version: str) -> float:
    """Unix time at which the watch had the first change after `version`."""
    await made.until(lambda raw: True, after=version)
    return time.time()


async def _successor(old: OperatorProcess) -> float:
    """Unix time of our last look at which the new process had not been executed yet."""
    async with asyncio.timeout(180):
        before = time.time()
        while True:
            looked = time.time()
            new = await asyncio.to_thread(of_pod, old.pod)
            if new is not None and new.pid != old.pid:
                return before
            before = looked
            await asyncio.sleep(0.02)


def _check(raw: dict[str, Any]) -> None:
    """A build that was followed wrongly would make its time worthless."""
    status = raw["status"]
    passed = sum(step["state"] == "Passed" for step in status["steps"])
    if status["phase"] != "Cancelled" or status["pod"]["attempt"] != 1 or not passed:
        raise RuntimeError(f"{raw['metadata']['name']} ended wrongly: {status}")
