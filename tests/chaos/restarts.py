"""Kubelet and API server, restarted under running builds. The operator is the installed one, a pod."""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.chaos.counting import Counted, Ground, ground_of, publish
from tests.chaos.findings import Findings
from tests.chaos.hostoperator import SELECTOR
from tests.install import NAMESPACE, environ
from tests.kubectl import Kubectl, KubectlError, condition
from tests.lab.state import Lab

AT_ONCE = 4
"""Builds; two where there is one restart only."""
BACK_WITHIN = 180.0
"""Seconds until the API server must answer again."""
LOST_WITHIN = 300.0
"""Seconds until a lost node must have ended its build: 50 until the cluster says so, and our grace of 60."""
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
KILL = f"""
pid=$(pgrep -o -f '^(/[^ ]*/)?kube-apiserver ') || exit 3
sed -i '/chaos\\/restart/d' {MANIFEST}
kill -KILL "$pid"
sed -i 's|^  annotations:|  annotations:\\n    chaos/restart: "NUMBER"|' {MANIFEST}
"""
"""A container that dies again and again is restarted later each time; a changed manifest is a new pod, at once."""


async def kubelet_restarts(*, lab: Lab, count: int, seed: int) -> dict[str, Any]:
    """`systemctl restart kubelet` in the node, while builds start, run, commit and end."""

    async def restart(number: int) -> None:
        await asyncio.to_thread(in_node, lab, "systemctl restart kubelet")
        await asyncio.to_thread(ready, lab)

    return await _restarts(lab, count, seed, restart, "systemctl restart kubelet")


async def apiserver_restarts(*, lab: Lab, count: int, seed: int) -> dict[str, Any]:
    """SIGKILL of the kube-apiserver's process; the kubelet restarts it."""

    async def restart(number: int) -> None:
        await asyncio.to_thread(in_node, lab, KILL.replace("NUMBER", str(time.time_ns())))
        await asyncio.to_thread(ready, lab)
        if number % 3 == 0:
            # Controllers that lost their Leases meanwhile are restarted later each time: a new kubelet forgets that.
            await asyncio.to_thread(in_node, lab, "systemctl restart kubelet")

    return await _restarts(lab, count, seed, restart, "SIGKILL of kube-apiserver")


async def node_lost(*, lab: Lab, seed: int) -> dict[str, Any]:
    """The kubelet is stopped until the node is not ready: once under a running step, once before a pod's first step.

    The first build must end as NodeLost, since its step may still run. The second one's pod must be replaced, and not
    before it is gone: that is when the kubelet is back.
    """
    dice = random.Random(seed)
    findings = Findings.of(
        "lost", "doubled", "false_green", "hang", "wrong_end", "journal_mismatch"
    )
    deploy = publish(lab, dice, steps=1, shortest=900, longest=900)
    shape = publish(lab, dice, steps=5)
    async with ground_of(lab) as ground:
        running = await ground.build(deploy)
        await ground.until(lambda: running.status.get("currentStep") == "c1", seconds=60)
        try:
            await asyncio.to_thread(in_node, lab, "systemctl stop kubelet")
            findings.faults["kubelet stopped"] += 1
            waiting = await ground.build(shape)
            if not await ground.until(lambda: running.finished, seconds=LOST_WITHIN):
                findings.bad["hang"].append(f"no end on a lost node: {running.status}")
            ended = condition(running.latest, "Succeeded")
            if (running.status.get("phase"), ended.get("reason")) != ("Errored", "NodeLost"):
                findings.bad["wrong_end"].append(f"{running.status}")
            # It was made later than the other, and its grace ends later.
            if not await ground.until(lambda: _deleting(waiting), seconds=LOST_WITHIN):
                findings.bad["hang"].append(f"no pod given up on a lost node: {waiting.status}")
            if (waiting.status.get("pod") or {}).get("attempt", 1) != 1:
                findings.bad["doubled"].append("another pod was made while the first was not gone")
        finally:
            await asyncio.to_thread(in_node, lab, "systemctl start kubelet")
        await ground.until(lambda: waiting.finished, seconds=300)
        attempt = (waiting.status.get("pod") or {}).get("attempt")
        if (waiting.status.get("phase"), attempt) != ("Succeeded", 2):
            findings.bad["wrong_end"].append(f"attempt {attempt}: {waiting.status}")
        findings.builds = 2
    return findings.report()


def _deleting(build: Counted) -> bool:
    """Whether the pod of the build's present attempt is to go."""
    pod = build.ground.pods.latest.get((build.status.get("pod") or {}).get("name", ""), {})
    return bool(pod.get("metadata", {}).get("deletionTimestamp"))


async def _restarts(
    lab: Lab, count: int, seed: int, restart: Callable[[int], Awaitable[None]], kind: str
) -> dict[str, Any]:
    dice = random.Random(seed)
    findings = Findings.of(
        "lost", "doubled", "false_green", "hang", "wrong_end", "journal_mismatch"
    )
    shapes = [
        publish(lab, dice, commit=True, output=1),
        publish(lab, dice),
        publish(lab, dice, failing=dice.randint(2, 19)),
    ]
    away: list[float] = []
    before = await asyncio.to_thread(_restarted, lab)
    async with ground_of(lab) as ground:
        for number in range(1, count + 1):
            while len(ground.active) < (AT_ONCE if count > 1 else 2):
                await ground.build(dice.choice(shapes))
            await _something_runs(ground)
            await asyncio.sleep(dice.uniform(0, 3))
            began = time.monotonic()
            await restart(number)
            away.append(time.monotonic() - began)
            findings.faults[kind] += 1
        await ground.all_over(findings, seconds=400)
        await ground.check(findings)
    findings.more["operator_container_restarts"] = await asyncio.to_thread(_restarted, lab) - before
    findings.more["away_seconds"] = {"most": round(max(away), 1), "least": round(min(away), 1)}
    return findings.report()


def _restarted(lab: Lab) -> int:
    """How often the operator's container was restarted."""
    pods = Kubectl(lab).list("pods", namespace=NAMESPACE, selector=SELECTOR)
    statuses = (each for pod in pods for each in pod["status"].get("containerStatuses", []))
    return sum(int(each["restartCount"]) for each in statuses)


async def _something_runs(ground: Ground) -> None:
    """Not every restart may fall into the start of pods: wait for a build in its steps, but not for ever."""
    await ground.until(lambda: any(b.stage() == "steps" for b in ground.active), seconds=30)


def in_node(lab: Lab, script: str) -> str:
    """Run shell commands in the node's container."""
    node = f"{lab.cluster}-control-plane"
    done = subprocess.run(
        ["docker", "exec", node, "sh", "-c", script],
        env=environ(lab),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"{script!r} in {node} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def ready(lab: Lab) -> None:
    """Wait until the API server says that it is ready, three times in a row."""
    kubectl = Kubectl(lab)
    deadline = time.monotonic() + BACK_WITHIN
    row = 0
    while row < 3:
        try:
            kubectl("get", "--raw", "/readyz", "--request-timeout=5s")
            row += 1
        except KubectlError as error:
            row = 0
            if time.monotonic() > deadline:
                raise RuntimeError(f"no API server after {BACK_WITHIN:.0f} s: {error}") from error
        time.sleep(0.3)
