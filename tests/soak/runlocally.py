"""`sentinel run` beside a cluster and beside `docker run`.

Every pipeline of the cluster tests must give what it gives on a cluster, and the first line of the first step must not
come much later than that of `docker run` of the same image, in turn with it.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.figures import at_least, at_most, quantile, say
from tests.bench.world import World
from tests.cluster.pipelines import PIPELINES
from tests.locally import Local, difference, project, until

GOALS = {
    **at_least({"run_locally.same": float(len(PIPELINES))}),
    **at_most({"run_locally.later_p50": 1.0}),
}
YML = "box: {box}\nbuild:\n  steps:\n    - script: {{name: one, code: echo first}}\n"


async def measure(here: World, *, count: int) -> dict[str, Any]:
    """`run_locally`: how many pipelines are the same, and seconds from the command to the first line, p50 of `count`
    pairs: of `sentinel run`, of `docker run`, and `later_p50` of their differences."""
    return await asyncio.to_thread(_measure, Local.of(here.lab, Path(tempfile.mkdtemp())), count)


def _measure(local: Local, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        same = 0
        for each in PIPELINES:
            found = difference(local, Path(scratch) / each.like, each)
            same += found is None
            say(f"pipeline {each.like}: {'same' if found is None else f'DIFFERENT: {found}'}")
        root = project(Path(scratch) / "first", local.text(YML), {})
        pairs = [(_ours(local, root), _floor(local)) for _ in range(count)]
    seconds = {
        "run_p50": round(quantile((ours for ours, _ in pairs), 0.5), 2),
        "docker_p50": round(quantile((floor for _, floor in pairs), 0.5), 2),
        "later_p50": round(quantile((ours - floor for ours, floor in pairs), 0.5), 2),
    }
    return {"run_locally": {"same": same, "of": len(PIPELINES), **seconds}}


def _ours(local: Local, root: Path) -> float:
    began = time.monotonic()
    with local.start(root) as process:
        until(process, "log")
        took = time.monotonic() - began
        process.communicate()
    return took


def _floor(local: Local) -> float:
    image = local.text("{box}")
    began = time.monotonic()
    with subprocess.Popen(
        ["docker", "run", "--rm", image, "echo", "first"],
        env=local.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = time.monotonic() - began
        process.communicate()
    return took
