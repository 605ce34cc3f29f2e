"""`kill -9` of the agent at random moments of commits, on each runtime: the next one thaws the box and can commit it.

The agent is a process of this machine, on the nodes of `tests/cluster/test_runtimes.py`. That process is
`python -m tests.chaos.agentkills`: it starts as the agent does, and makes one commit.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sentinel.agent.app import start
from sentinel.agent.runtimes.freezing import Freezer, State
from sentinel.settings import Settings
from tests.chaos.findings import Findings
from tests.cluster.test_runtimes import NODES, Node, agent_of, opened
from tests.install import ROOT
from tests.kubectl import Kubectl
from tests.lab.state import Lab
from tests.unit.agent.halting import state_of

WRITTEN = 30_000_000
"""Bytes that the box has changed: so many that copying and packing them are hit as well."""


async def agent_kills(*, lab: Lab, count: int, seed: int) -> dict[str, Any]:
    """`count` kills on each runtime. `paused_<runtime>` counts those that left the box paused, for the next to thaw."""
    dice = random.Random(seed)
    findings = Findings.of("left_paused", "left_notes", "left_files", "not_committed")
    kubectl, namespace = Kubectl(lab), f"chaos-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    try:
        for name, made in NODES.items():
            with made(lab, namespace) as node, tempfile.TemporaryDirectory() as spool:
                node.settings = node.settings.model_copy(update={"spool": spool})
                node.box(f"head -c {WRITTEN} /dev/urandom > /made")
                await _kills(name, node, lab, count, dice, findings)
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
    return findings.report()


async def _kills(
    name: str, node: Node, lab: Lab, count: int, dice: random.Random, findings: Findings
) -> None:
    container = node.identity.container_id.partition("//")[2]
    whole = await _victim(node, after=None)
    findings.more[f"paused_{name}"] = 0
    for at in range(count):
        moment = dice.uniform(0, whole)
        await _victim(node, after=moment)
        findings.faults[f"SIGKILL {name}"] += 1
        async with opened(node.settings) as runtime:
            freezer = cast(Freezer, runtime)
            if await state_of(runtime, container) is State.PAUSED:
                findings.more[f"paused_{name}"] += 1
            await start(runtime, node.settings)
            where = f"{name}, killed {moment:.3f} s after its start"
            if await state_of(runtime, container) is not State.RUNNING:
                findings.bad["left_paused"].append(where)
            # The node's own agent may have notes of its own.
            ours = node.settings.instance
            if any(note.instance == ours for note in await freezer.notes()):
                findings.bad["left_notes"].append(where)
            if left := _layers(Path(node.settings.spool)):
                findings.bad["left_files"].append(f"{where}: {left}")
        if at % 10 == 9:
            async with agent_of(node, lab, Path(node.settings.spool)) as agent:
                status = await agent.commit(f"after{at}")
            findings.builds += 1
            if status["phase"] != "Succeeded":
                findings.bad["not_committed"].append(f"{where}: {status}")


def _layers(spool: Path) -> list[str]:
    return [each.name for each in spool.glob("commit-*")]


async def _victim(node: Node, *, after: float | None) -> float:
    """An agent with one commit, killed `after` seconds; None: it ends by itself. Seconds that it worked."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.agentkills"),
        *(node.settings.model_dump_json(), json.dumps(node.pod)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/operator:{ROOT}"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    began = time.monotonic()
    if after is None:
        assert await process.stdout.readline() == b"Succeeded\n"
        seconds = time.monotonic() - began
    else:
        await asyncio.sleep(after)
        seconds = time.monotonic() - began
        if process.returncode is None:
            process.kill()
    await process.wait()
    return seconds


async def be_victim(settings: Settings, pod: dict[str, Any]) -> None:
    node = cast(Node, SimpleNamespace(settings=settings, pod=pod))
    async with agent_of(node, Lab.load(), Path(settings.spool)) as agent:
        await start(agent.tools.runtime, settings)
        print("started", flush=True)
        print((await agent.commit("victim"))["phase"], flush=True)


if __name__ == "__main__":
    asyncio.run(be_victim(Settings.model_validate_json(sys.argv[1]), json.loads(sys.argv[2])))
