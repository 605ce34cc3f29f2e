"""What the resolver costs: Build created → pod created, CPU a build of operator and resolver, their memory at rest.

`BASE` names another checkout of the project: its image and chart are installed and measured first, in the same run, and
the figures are ratios to it. Without `BASE` there are only the figures of this one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sentinel.kube.resources import PODS
from tests.bench.crowd import LITTLE
from tests.bench.figures import at_most, quantile, say
from tests.bench.process import parts
from tests.bench.world import Made, World, world
from tests.install import ROOT, build_image, environ, install
from tests.lab.state import Lab

GOALS = at_most(
    {
        "resolver.created_to_pod_added_ms": 30.0,
        "resolver.cpu_ratio": 1.1,
        "resolver.rss_mib_at_rest": 200.0,
    }
)
BUILDS = 24
AT_ONCE = 3
INSTALL = """
from tests.install import build_image, install
from tests.lab.state import Lab
lab = Lab.load()
build_image(lab)
install(lab, quiet=True)
"""


async def measure(here: World) -> dict[str, Any]:
    """The figures of what is installed now, and of `BASE` before it."""
    base = os.environ.get("BASE")
    if not base:
        return {"resolver": await _figures(here)}
    try:
        await asyncio.to_thread(_install_other, here.lab, Path(base))
        async with world(here.lab) as other:
            before = await _figures(other)
    finally:
        await asyncio.to_thread(build_image, here.lab)
        await asyncio.to_thread(install, here.lab, quiet=True)
    after = await _figures(here)
    added = after["created_to_pod_ms_p50"] - before["created_to_pod_ms_p50"]
    return {
        "resolver": {
            **after,
            "created_to_pod_added_ms": round(added, 1),
            "cpu_ratio": round(after["cpu_ms_per_build"] / before["cpu_ms_per_build"], 3),
            "base": before,
        }
    }


def _install_other(lab: Lab, root: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", INSTALL],
        check=True,
        cwd=root,
        env={**environ(lab), "PYTHONPATH": f"{root}/operator:{root}"},
    )


async def _figures(here: World) -> dict[str, Any]:
    url = here.project(["true"])
    # What was never done costs once: modules, caches, connections, layers.
    await (await here.build(url)).finished()
    seen: dict[str, int] = {}
    watching = asyncio.create_task(_watch_pods(here, seen))
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> Made:
        async with room:
            made = await here.build(url, pod=LITTLE)
            await made.finished()
            return made

    containers = parts(here.lab)
    before = {name: each.cpu_ms() for name, each in containers.items()}
    try:
        builds = await asyncio.gather(*(one() for _ in range(BUILDS)))
    finally:
        watching.cancel()
    cpu = {name: (each.cpu_ms() - before[name]) / BUILDS for name, each in containers.items()}
    waits = [(seen[made.pod] - made.created_ns) / 1e6 for made in builds if made.pod in seen]
    if len(waits) < BUILDS // 2:
        raise RuntimeError(f"only {len(waits)} of {BUILDS} pods were seen")
    memory = {name: each.rss_mib() for name, each in containers.items()}
    p50 = quantile(waits, 0.5)
    say(f"{ROOT.name}: created → pod {p50:.0f} ms, CPU a build {cpu}, RSS {memory}")
    return {
        "created_to_pod_ms_p50": round(p50, 1),
        "cpu_ms_per_build": round(sum(cpu.values()), 1),
        "cpu_ms_by_container": {name: round(each, 1) for name, each in cpu.items()},
        "rss_mib_at_rest": round(sum(memory.values()), 1),
        "rss_mib_by_container": {name: round(each, 1) for name, each in memory.items()},
    }


async def _watch_pods(here: World, seen: dict[str, int]) -> None:
    """Note when each pod is first seen (Unix time in nanoseconds)."""
    _, version = await here.kube.list(PODS, namespace=here.namespace)
    async for kind, raw in here.kube.watch(
        PODS, namespace=here.namespace, resource_version=version
    ):
        if kind == "ADDED":
            seen.setdefault(raw["metadata"]["name"], time.time_ns())
