"""A commit of 2 MB on a base image of 100,000 files, on each runtime; Docker Engine's own commit and push beside it.

Needs the lab, but not Sentinel in it: the agent's code runs in this process, as in `tests/cluster/test_runtimes.py`.
The reference is the engine's `commit` and `push` by the `docker` package, without a command line to start, of the same
container with the same changes, into the same registry; the two take turns in being first. Alone:
`python -m tests.bench commit`.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker

from tests.cluster.test_runtimes import NODES, Agent, Node, agent_of
from tests.kubectl import Kubectl
from tests.lab.state import Lab

FILES = 100_000
ROUNDS = 7
AT_MOST = {"commit_ratio": 0.5}

FILL = f"""
n=0; while [ $n -lt {FILES} ]; do
  d=/files/$((n / 500)); if [ $((n % 500)) = 0 ]; then mkdir -p $d; fi
  echo $n > $d/$n; n=$((n + 1))
done
"""


def measure() -> dict[str, Any]:
    """`commit_ms`: medians in ms, for each runtime of our commit (frozen, and all of it), and of the engine's own.
    `commit_ratio`: our total to the engine's, on the same container."""
    lab = Lab.load()
    kubectl, namespace = Kubectl(lab), f"bench-{uuid.uuid4().hex[:8]}"
    engine = docker.APIClient(base_url=lab.docker_host, version="auto", timeout=600)
    kubectl("create", "namespace", namespace)
    try:
        with _base(engine, lab) as image:
            figures = {
                name: asyncio.run(_on(name, lab, namespace, image, engine)) for name in NODES
            }
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
        engine.close()
    theirs = figures["docker"].pop("engine")
    ratio = figures["docker"]["total"] / theirs["total"]
    return {"commit_ms": {**figures, "engine": theirs}, "commit_ratio": round(ratio, 3)}


@contextmanager
def _base(engine: docker.APIClient, lab: Lab) -> Iterator[str]:
    """An image of many files in the lab's registry, below its name; the engine's copy goes with the block."""
    image = f"bench/files-{uuid.uuid4().hex[:8]}"
    limits = engine.create_host_config(mem_limit="256m", network_mode="none")
    made = engine.create_container(
        f"{lab.registry}/box/busybox:1", ["sh", "-ec", FILL], host_config=limits
    )
    try:
        engine.start(made)
        assert engine.wait(made)["StatusCode"] == 0
        # The config of the image it was made from: it is to idle like a box, not to fill itself again.
        engine.commit(made, f"{lab.registry}/{image}", "1", changes=['CMD ["sh"]'])
        _push(engine, f"{lab.registry}/{image}", "1")
        yield f"{image}:1"
    finally:
        engine.remove_container(made, force=True, v=True)
        engine.remove_image(f"{lab.registry}/{image}:1", force=True)


async def _on(
    name: str, lab: Lab, namespace: str, image: str, engine: docker.APIClient
) -> dict[str, Any]:
    with NODES[name](lab, namespace, image=image) as node, tempfile.TemporaryDirectory() as spool:
        async with agent_of(node, lab, Path(spool)) as agent:
            return await _rounds(node, agent, engine if name == "docker" else None)


async def _rounds(node: Node, agent: Agent, engine: docker.APIClient | None) -> dict[str, Any]:
    ours: dict[str, list[float]] = {"frozen": [], "total": []}
    theirs: dict[str, list[float]] = {"commit": [], "total": []}
    for at in range(ROUNDS + 1):
        node.box("mkdir -p /made && head -c 2000000 /dev/urandom > /made/file")
        first = await _ours(agent, f"r{at}") if at % 2 else None
        other = _theirs(engine, node, agent.repository, f"e{at}") if engine else None
        mine = first or await _ours(agent, f"r{at}")
        if not at:
            continue  # The layers of the base come into the repository.
        for figures, seconds in ((ours, mine), (theirs, other)):
            for key, value in (seconds or {}).items():
                figures[key].append(value * 1000)
    middle: dict[str, Any] = {
        key: round(statistics.median(values), 1) for key, values in ours.items()
    }
    if engine:
        middle |= {"engine": {k: round(statistics.median(v), 1) for k, v in theirs.items()}}
    return middle


async def _ours(agent: Agent, name: str) -> dict[str, float]:
    began = time.monotonic()
    status = await agent.commit(name, tags=[name])
    seconds = time.monotonic() - began
    assert status["phase"] == "Succeeded", status
    return {"frozen": status["frozenMilliseconds"] / 1000, "total": seconds}


def _theirs(engine: docker.APIClient, node: Node, repository: str, tag: str) -> dict[str, float]:
    container = node.identity.container_id.partition("//")[2]
    began = time.monotonic()
    engine.commit(container, repository, tag)
    committed = time.monotonic()
    _push(engine, repository, tag)
    seconds = time.monotonic() - began
    engine.remove_image(f"{repository}:{tag}", force=True)
    return {"commit": committed - began, "total": seconds}


def _push(engine: docker.APIClient, repository: str, tag: str) -> None:
    """Push, and raise what the engine puts into the stream of a 200."""
    for line in engine.push(repository, tag, stream=True, decode=True):
        assert "error" not in line, line["error"]
