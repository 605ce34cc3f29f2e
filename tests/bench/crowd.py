"""Many builds at once: how much longer than as many bare pods, and what they take of the operator.

`sixty_at_once`: 60 Builds created at once, until the last says Finished, to 60 floors created at once, until the last
has Succeeded. All pods ask for so little that the node takes them all; the processor is what they wait for.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import asdict
from typing import Any

from sentinel.kube.resources import PODS
from tests.bench import bareclient
from tests.bench.figures import at_most, say
from tests.bench.process import running
from tests.bench.world import World, bare

GOALS = at_most(
    {
        "sixty_at_once.ratio": 1.15,
        "operator_mb_per_running_build": 2.5,
        "operator_cpu_ratio": 3.0,
        "operator_rss_mib": 150.0,
        "status_bytes_100_steps": 65536.0,
    }
)
CROWD = 60
RUNNING = 20
FOR_CPU = 40
CPU_AT_ONCE = 4
TURNS = 2
LITTLE: dict[str, Any] = {"box": {"resources": {"requests": {"cpu": "1m", "memory": "8Mi"}}}}


async def sixty(here: World) -> dict[str, Any]:
    """`sixty_at_once`: seconds of both, and their ratio."""
    url = here.project(["true"])
    template = await here.template(url, pod=LITTLE)
    floors = await _floors(here, template)
    say(f"{CROWD} floors at once: {floors:.1f} s")
    began = time.monotonic()
    builds = await asyncio.gather(*(here.build(url, pod=LITTLE) for _ in range(CROWD)))
    ended = await asyncio.gather(*(made.finished() for made in builds))
    seconds = time.monotonic() - began
    wrong = [raw["status"]["phase"] for raw, _ in ended if raw["status"]["phase"] != "Succeeded"]
    if wrong:
        raise RuntimeError(f"of {CROWD} builds some did not succeed: {wrong}")
    say(f"{CROWD} builds at once: {seconds:.1f} s")
    return {
        "sixty_at_once": {
            "ratio": round(seconds / floors, 3),
            "floor_seconds": round(floors, 2),
            "build_seconds": round(seconds, 2),
            "count": CROWD,
        }
    }


async def _floors(here: World, template: dict[str, Any]) -> float:
    """Seconds until as many bare pods have Succeeded."""
    names = [f"floor-{uuid.uuid4().hex[:8]}" for _ in range(CROWD)]
    began = time.monotonic()

    async def one(name: str) -> None:
        pod = bare(template, fetch=True)
        pod["metadata"]["name"] = name
        await here.kube.create(PODS, pod, namespace=here.namespace)

    await asyncio.gather(*(one(name) for name in names))
    waiting = set(names)
    async with asyncio.timeout(300):
        while waiting:
            pods, _ = await here.kube.list(PODS, namespace=here.namespace)
            for raw in pods:
                if raw["status"].get("phase") == "Succeeded":
                    waiting.discard(raw["metadata"]["name"])
            await asyncio.sleep(0.1)
    seconds = time.monotonic() - began
    for name in names:
        await here.kube.delete(PODS, namespace=here.namespace, name=name, grace_seconds=0)
    return seconds


async def memory(here: World) -> dict[str, Any]:
    """`operator_rss_mib` before, and `operator_mb_per_running_build` (10^6 bytes) while builds run side by side."""
    # What was never done costs memory once: modules, caches, connections.
    await (await here.build(here.project(["true"]))).finished()
    before = running(here.lab).rss_mib()
    url = here.project(["sleep 1000"])
    builds = [await here.build(url, pod=LITTLE) for _ in range(RUNNING)]
    for made in builds:
        await made.running("s0")
    during = running(here.lab).rss_mib()
    for made in builds:
        await made.cancel()
    for made in builds:
        await made.finished()
    per_build = (during - before) * 1024 * 1024 / 1e6 / RUNNING
    say(f"operator: {before:.1f} MiB, {during:.1f} MiB with {RUNNING} builds")
    return {
        "operator_rss_mib": round(before, 1),
        "operator_mb_per_running_build": round(per_build, 2),
        "operator_running_builds": RUNNING,
    }


async def processor(here: World) -> dict[str, Any]:
    """`operator_cpu_ratio`: processor time of a build of one no-op step, to that of the bare client for its requests.

    The operator's is its container's cgroup, with all that it did meanwhile. Builds and the bare client take turns. A
    few builds run at a time, so that what the operator takes when idle (reported beside it) has little part in it.
    """
    url = here.project(["true"])
    reference = await bareclient.work(here, url, rounds=FOR_CPU // TURNS, pod=LITTLE)
    operator = running(here.lab)
    idle = await _idle(operator.cpu_ms)
    room = asyncio.Semaphore(CPU_AT_ONCE)

    async def one() -> None:
        async with room:
            await (await here.build(url, pod=LITTLE)).finished()

    took = seconds = bare_ms = 0.0
    for _ in range(TURNS):
        began, before = time.monotonic(), operator.cpu_ms()
        await asyncio.gather(*(one() for _ in range(FOR_CPU // TURNS)))
        took += operator.cpu_ms() - before
        seconds += time.monotonic() - began
        sent = await bareclient.send(reference)
        bare_ms += sent.ms / TURNS
    ms = took / FOR_CPU
    say(
        f"operator: {ms:.0f} ms a build, {idle:.1f} ms a second when idle; bare client: {bare_ms:.0f} ms"
    )
    return {
        "operator_cpu_ratio": round(ms / bare_ms, 2),
        "operator_cpu_detail": {
            "ms_per_build": round(ms, 1),
            "builds": FOR_CPU,
            "seconds": round(seconds, 1),
            "idle_ms_per_second": round(idle, 2),
            "bare_client": {**asdict(sent), "ms": round(bare_ms, 1)},
        },
    }


async def _idle(cpu_ms: Any, seconds: float = 10.0) -> float:
    before = cpu_ms()
    await asyncio.sleep(seconds)
    return float(cpu_ms() - before) / seconds


async def status_size(here: World) -> dict[str, Any]:
    """`status_bytes_100_steps`: the status of a build of 100 steps as JSON, the last of which fails with a message."""
    message = "x" * 1000
    fails = f'printf {message} > "$WERCKER_REPORT_MESSAGE_FILE"; exit 3'
    made = await here.build(here.project(["true"] * 99 + [fails]))
    raw, _ = await made.finished()
    if len(raw["status"]["steps"]) < 100:
        raise RuntimeError(f"only {len(raw['status']['steps'])} steps")
    return {"status_bytes_100_steps": len(json.dumps(raw["status"], separators=(",", ":")))}
