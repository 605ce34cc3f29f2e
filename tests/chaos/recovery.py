"""A new operator process follows every build again, from the stored plan, the pod and the journal alone."""

from __future__ import annotations

import asyncio
import base64
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from sentinel.kube.resources import SECRETS
from tests.chaos.counting import Counted, Ground, Shape, ground_of, publish
from tests.chaos.findings import Findings
from tests.chaos.hostoperator import HostOperator, in_its_stead
from tests.lab.state import Lab

WITHIN = 8.0
"""Seconds from the start of the process."""
NAMES = ("lost", "doubled", "false_green", "hang", "wrong_end", "journal_mismatch", "slow")
VARIABLE = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}}]


async def recovery(*, lab: Lab, count: int, at_once: int, seed: int, log: Path) -> dict[str, Any]:
    """`count` restarts under `at_once` running builds; git, registry and the builds' Secrets are not to be had."""
    dice = random.Random(seed)
    findings = Findings.of(*NAMES)
    shape = publish(lab, dice, steps=count * 30, shortest=0.4, longest=0.6)
    seconds: list[float] = []
    async with ground_of(lab) as ground, in_its_stead(lab):
        with tempfile.TemporaryDirectory(prefix="chaos") as scratch:
            whole = HostOperator(lab=lab, namespaces=[ground.namespace], log=log)
            blind = HostOperator(
                lab=lab,
                namespaces=[ground.namespace],
                log=log,
                prefix=without(Path(scratch), lab.registry, lab.git_url),
            )
            try:
                await whole.start()
                await whole.lead()
                await _run(ground, shape, at_once, findings)
                await _rotate(ground)
                await whole.kill()
                for _ in range(count):
                    await asyncio.sleep(dice.uniform(0, 2))
                    await blind.start()
                    seconds += await _followed(ground, blind, findings)
                    await blind.kill()
                    findings.faults["restart"] += 1
                await blind.start()
                await ground.all_over(findings)
            finally:
                await whole.stop()
                await blind.stop()
            await ground.check(findings)
    seconds.sort()
    findings.more["recovery_seconds"] = {
        "p50": round(seconds[len(seconds) // 2], 2),
        "p99": round(seconds[int(len(seconds) * 0.99)], 2),
        "most": round(seconds[-1], 2),
    }
    return findings.report()


async def operator_gone(*, lab: Lab, seconds: float, seed: int, log: Path) -> dict[str, Any]:
    """Nobody is there for a while (a minute stands for an hour: nothing in the box knows the difference).

    Queued steps must run on to their ends meanwhile, and the operator that comes back only has to hear of it.
    """
    dice = random.Random(seed)
    findings = Findings.of(*NAMES)
    shape = publish(lab, dice, steps=20, commit=True)
    longer = publish(lab, dice, steps=60, shortest=seconds / 50, longest=seconds / 40)
    async with ground_of(lab) as ground, in_its_stead(lab):
        operator = HostOperator(lab=lab, namespaces=[ground.namespace], log=log)
        try:
            await operator.start()
            await operator.lead()
            builds = [await ground.build(each) for each in (shape, shape, longer)]
            await ground.until(lambda: all(b.stage() == "steps" for b in builds), seconds=90)
            await operator.kill()
            findings.faults["operator gone"] += 1
            await asyncio.sleep(seconds)
            for each in builds[:2]:
                if not each.state.done(range(1, shape.main + 1)):
                    findings.bad["lost"].append(f"{each.name} did not run on: {each.state.steps}")
            await operator.start()
            await ground.all_over(findings)
        finally:
            await operator.stop()
        await ground.check(findings)
    findings.more["seconds_gone"] = seconds
    return findings.report()


def without(scratch: Path, *addresses: str) -> list[str]:
    """A command's beginning that runs it where the hosts of these addresses are a port that nobody listens on."""
    names = [address.rpartition("//")[2].partition(":")[0] for address in addresses]
    hosts = [
        line
        for line in Path("/etc/hosts").read_text().splitlines()
        if not any(name in line.split() for name in names)
    ]
    # The line of the lab may name several: those that stay keep their address.
    for line in Path("/etc/hosts").read_text().splitlines():
        words = line.partition("#")[0].split()
        kept = [word for word in words[1:] if word not in names]
        if words and len(kept) < len(words) - 1 and kept:
            hosts.append(f"{words[0]} {' '.join(kept)}")
    hosts += [f"127.0.0.1 {name}" for name in names]
    (scratch / "hosts").write_text("\n".join(hosts) + "\n")
    mount = f'mount --bind "{scratch}/hosts" /etc/hosts && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"]


async def _run(ground: Ground, shape: Shape, at_once: int, findings: Findings) -> None:
    await ground.kube.create(SECRETS, _secret(ground, "first"), namespace=ground.namespace)
    for _ in range(at_once):
        await ground.build(shape, env=VARIABLE)
    running = await ground.until(
        lambda: all(each.stage() == "steps" for each in ground.made), seconds=120
    )
    if not running:
        findings.bad["hang"].append("not every build came to its steps")


async def _rotate(ground: Ground) -> None:
    """The Secret is another's by now: nobody may need the first one again."""
    await ground.kube.delete(SECRETS, name="token", namespace=ground.namespace)


def _secret(ground: Ground, value: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "token", "namespace": ground.namespace},
        "data": {"value": base64.b64encode(value.encode()).decode()},
    }


async def _followed(ground: Ground, operator: HostOperator, findings: Findings) -> list[float]:
    """For each build the seconds from the process's start until its status moved on: only a session can do that."""
    before = {each.name: _progress(each) for each in ground.active}
    seen: dict[str, float] = {}

    def all_moved() -> bool:
        for each in ground.made:
            if (
                each.name in before
                and each.name not in seen
                and _progress(each) != before[each.name]
            ):
                seen[each.name] = time.monotonic() - operator.began
        return len(seen) == len(before)

    if not await ground.until(all_moved, seconds=60):
        findings.bad["hang"].append(f"followed {sorted(seen)} of {sorted(before)}")
    findings.bad["slow"] += [f"{name} after {s:.1f} s" for name, s in seen.items() if s > WITHIN]
    return list(seen.values())


def _progress(each: Counted) -> str:
    return f"{each.status.get('progress')} {each.status.get('currentStep')}"
