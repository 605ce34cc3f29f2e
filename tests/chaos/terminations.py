"""Boxes that are ended from outside, at random moments: each build must end with the true reason, soon, with its logs.

The operator is the installed one. What a box printed last is known to a tenth of a second: its step prints the time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.counting import Counted, Ground, Logs, Shape, ground_of
from tests.chaos.findings import Findings
from tests.chaos.restarts import LOST_WITHIN, in_node
from tests.kubectl import Kubectl, KubectlError, condition
from tests.lab import git
from tests.lab.state import Lab

AT_ONCE = 5
WITHIN = 30.0
"""Seconds from a box's end to its Build's, in a whole run: a short one is made beside other work."""
SHORT = 5.0
"""Seconds by which a partial log may end before its box did, in a whole run."""
STARTED_WITHIN = ENDED_WITHIN = 240.0
"""Seconds until a build must have started, and, once its box is ended, must have ended: else it hangs."""
WHOLE = 20
"""So many boxes make a whole run."""
SLACK = 1.0
"""Seconds that a kubelet's time of day lacks: it is written without fractions."""
LOOP = """\
for i in $(seq 900); do
  date +"at %s.%N"
  if [ -e /tmp/fill ]; then rm /tmp/fill; head -c 150000000 /dev/zero >/pipeline/big; fi
  if [ -e /tmp/grow ]; then exec tail /dev/zero; fi
  sleep 0.1
done
"""

WAYS: dict[str, tuple[str, str, str]] = {
    "evict": ("main", "Errored", "PodEvicted"),
    "term": ("main", "Errored", "BoxTerminated"),
    "limit": ("main", "Failed", "StorageLimitExceeded"),
    "limit deaf": ("deaf", "Failed", "StorageLimitExceeded"),
    "oom": ("main", "Failed", "OutOfMemory"),
    "evict starting": ("starting", "Succeeded", "Passed"),
    "term after": ("after", "Succeeded", "Passed"),
    "evict after": ("after", "Succeeded", "Passed"),
}
"""How a box is ended → in which phase of its build, and the phase and reason that the Build must end with.

"deaf" is a main step that ignores TERM."""
NODE = "node stopped"
NODES = 2
"""Builds on the node whose kubelet is stopped, in a whole run."""


@dataclass(kw_only=True)
class Ended:
    """One build and the end of its box. `at`: when somebody began to end it, in Unix seconds."""

    build: Counted
    way: str
    at: float = 0.0
    pod: dict[str, Any] = field(default_factory=dict)


async def terminated(*, lab: Lab, count: int, seed: int) -> dict[str, Any]:
    """`count` boxes are ended by the eviction API, a limit of their own, TERM, OOM and, in a whole run, a lost node."""
    dice = random.Random(seed)
    findings = Findings.of("wrong_end", "hang", "late", "skipped", "short", "unmarked", "pod_left")
    shapes = {phase: _publish(lab, dice, phase) for phase in ("main", "deaf", "after", "starting")}
    whole = count >= WHOLE
    nodes = NODES if whole else 0
    ways = [list(WAYS)[n % len(WAYS)] for n in range(count - nodes)]
    dice.shuffle(ways)
    done: list[Ended] = []
    async with ground_of(lab) as ground:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(way: str, delay: float) -> None:
            async with slots:
                done.append(await _end_one(ground, shapes[WAYS[way][0]], way, delay, findings))

        async with asyncio.TaskGroup() as group:
            for way in ways:
                group.create_task(one(way, dice.uniform(0, 4)))
        logs = Logs(lab)
        for each in done:
            await asyncio.to_thread(_check, each, logs, findings, timed=whole)
        await _all_gone(ground, [each for each in done if each.build.finished], findings)
        if nodes:
            await _lose_node(lab, ground, shapes["main"], nodes, findings)
        findings.builds = len(ground.made)
    latest = sorted(findings.more.pop("_seconds", []))
    if latest:
        findings.more["seconds_to_the_end"] = {
            "p50": round(latest[len(latest) // 2], 1),
            "most": round(latest[-1], 1),
        }
    return findings.report()


def _publish(lab: Lab, dice: random.Random, phase: str) -> Shape:
    """A project whose main steps, or whose after-steps, go on until their box is ended."""
    code = {"starting": "true", "deaf": f"trap '' TERM\n{LOOP}"}.get(phase, LOOP)
    loop = json.dumps(code)
    quick = json.dumps("true")
    text = (
        f"box: {lab.registry}/box/debian:12\nno-response-timeout: 5\nbuild:\n  steps:\n"
        f"    - script: {{name: main, code: {quick if phase == 'after' else loop}}}\n"
        f"    - script: {{name: next, code: {quick}}}\n"
        f"  after-steps:\n    - script: {{name: tell, code: {loop if phase == 'after' else quick}}}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "wercker.yml").write_text(text)
        url = git.publish(lab, Path(folder), f"chaos-{uuid.UUID(int=dice.getrandbits(128)).hex}")
    return Shape(url=url, steps=1)


def _step_of(way: str) -> str:
    """The step that runs when the box is ended."""
    return "tell" if WAYS[way][0] == "after" else "main"


async def _end_one(
    ground: Ground, shape: Shape, way: str, delay: float, findings: Findings
) -> Ended:
    """Create a Build, end its box in the phase of `way` after `delay` seconds, and wait for the Build's end."""
    how = way.partition(" ")[0]
    limits = {"limit": {"ephemeral-storage": "64Mi"}, "oom": {"memory": "96Mi"}}.get(how)
    box = {"box": {"resources": {"limits": limits}}} if limits else {}
    build = await ground.build(shape, pod=box)
    ended = Ended(build=build, way=way)
    starting = WAYS[way][0] == "starting"
    ordinal = 3 if WAYS[way][0] == "after" else 1

    def there() -> bool:
        if starting:
            return bool((build.status.get("pod") or {}).get("uid"))
        step = build.state.steps.get(ordinal)
        return step is not None and step.started is not None

    if not await ground.until(there, seconds=STARTED_WITHIN):
        findings.bad["hang"].append(f"{way}: {build.name} did not start: {build.status}")
        return ended
    await asyncio.sleep(delay / 8 if starting else delay)
    name = build.status["pod"]["name"]
    ground.spawn(_remember(ground, ended, name))
    ended.at = datetime.now(UTC).timestamp()
    try:
        await asyncio.to_thread(_strike, ground, name, how)
    except KubectlError as error:
        # An exec ends with its box.
        findings.more.setdefault("strikes", []).append(f"{way}: {error}"[:200])
    findings.faults[way] += 1
    if not await ground.until(lambda: build.finished, seconds=ENDED_WITHIN):
        findings.bad["hang"].append(f"{way}: {build.name}: {build.status}")
    return ended


async def _remember(ground: Ground, ended: Ended, name: str) -> None:
    """Keep the pod's last state: it goes with its Build's end."""
    while True:
        ended.pod = ground.pods.latest.get(name, ended.pod)
        await ground.pods.changed.wait()


def _strike(ground: Ground, pod: str, how: str) -> None:
    kubectl, here = Kubectl(ground.lab), ("-n", ground.namespace)
    if how == "evict":
        path = f"/api/v1/namespaces/{ground.namespace}/pods/{pod}/eviction"
        metadata = {"name": pod, "namespace": ground.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
        return
    script = {"term": "kill -TERM 1", "limit": "touch /tmp/fill", "oom": "touch /tmp/grow"}[how]
    kubectl("exec", pod, *here, "-c", "box", "--", "sh", "-c", script)


def _check(ended: Ended, logs: Logs, findings: Findings, *, timed: bool) -> None:
    """One build that ended. `timed`: how long things took counts too."""
    build, way, bad = ended.build, ended.way, findings.bad
    if not build.finished:
        return
    phase, status, end = WAYS[way][0], build.status, condition(build.latest, "Succeeded")
    what = f"{way}: {build.name}"
    got = (status["phase"], end["reason"])
    begun = (status.get("pod") or {}).get("attempt") == 1
    due = {WAYS[way][1:]}
    if phase == "starting" and begun:
        # It was faster than the eviction, or its steps may have begun.
        due.add(("Errored", "PodEvicted"))
    message = end.get("message", "")
    if got not in due or "--- sentinel" in message or "boxkit refused" in message:
        bad["wrong_end"].append(f"{what} is {got}: {message}")
        return
    if phase == "starting":
        return
    states = {step["displayName"]: step for step in status["steps"]}
    ran = states[_step_of(way)]
    if ran["state"] != "Failed":
        bad["skipped"].append(f"{what}: step {ran}")
    over = _box_ended(ended)
    finished = datetime.fromisoformat(status["completionTime"]).timestamp()
    findings.more.setdefault("_seconds", []).append(max(0.0, finished - over))
    if timed and finished - over > WITHIN + SLACK:
        bad["late"].append(f"{what} ended {finished - over:.1f} s after its box")
    _check_log(ended, logs.text(status, _step_of(way)), over, findings, timed=timed)


def _box_ended(ended: Ended) -> float:
    """When the box ended, in Unix seconds: as its journal or the kubelet has it, else when the end began."""
    state = ended.build.state
    if state.closed is not None:
        return state.closed.time.timestamp()
    for each in ended.pod.get("status", {}).get("containerStatuses", []):
        if each["name"] == "box" and (over := each.get("state", {}).get("terminated")):
            return datetime.fromisoformat(over["finishedAt"]).timestamp() + SLACK
    return ended.at


def _check_log(ended: Ended, text: str, over: float, findings: Findings, *, timed: bool) -> None:
    """The stored log is the whole one, or says that it is not and ends at most SHORT seconds before the box."""
    what = f"{ended.way}: {ended.build.name}"
    step = ended.build.state.steps.get(3 if WAYS[ended.way][0] == "after" else 1)
    whole = hashlib.sha256(text.encode()).hexdigest()
    if step is not None and step.state == "finished" and step.log.sha256 == whole:
        findings.more["logs_complete"] = findings.more.get("logs_complete", 0) + 1
        return
    if "--- sentinel: " not in text:
        findings.bad["unmarked"].append(f"{what}: {text[-300:]!r}")
        return
    findings.more["logs_partial"] = findings.more.get("logs_partial", 0) + 1
    stamps = re.findall(r"^at (\d+\.\d+)$", text, re.MULTILINE)
    last = float(stamps[-1]) if stamps else 0.0
    # A step whose memory grows prints nothing meanwhile.
    due = ended.at if ended.way == "oom" else over
    if timed and due - last > SHORT:
        findings.bad["short"].append(f"{what}: the log ends {due - last:.1f} s before its box")


async def _all_gone(ground: Ground, done: list[Ended], findings: Findings) -> None:
    """Logs that are in the store keep no pod."""

    async def left() -> list[str]:
        pods = await asyncio.to_thread(Kubectl(ground.lab).list, "pods", namespace=ground.namespace)
        return [pod["metadata"]["name"] for pod in pods]

    for _ in range(120):
        names = await left()
        if not names:
            return
        await asyncio.sleep(1)
    findings.bad["pod_left"] += names


async def _lose_node(
    lab: Lab, ground: Ground, shape: Shape, count: int, findings: Findings
) -> None:
    """Builds on a node whose kubelet is stopped. Their pods stay: nobody knows whether their steps run on."""
    builds = [await ground.build(shape) for _ in range(count)]

    def running() -> bool:
        return all(build.status.get("currentStep") == "main" for build in builds)

    if not await ground.until(running, seconds=STARTED_WITHIN):
        findings.bad["hang"].append("the builds for a lost node did not start")
        return
    stop: Callable[[str], Awaitable[str]] = lambda verb: asyncio.to_thread(  # noqa: E731
        in_node, lab, f"systemctl {verb} kubelet"
    )
    try:
        await stop("stop")
        findings.faults[NODE] += count
        await ground.until(lambda: all(b.finished for b in builds), seconds=LOST_WITHIN)
        for build in builds:
            got = (build.status.get("phase"), condition(build.latest, "Succeeded").get("reason"))
            if got != ("Errored", "NodeLost"):
                findings.bad["wrong_end"].append(f"{NODE}: {build.name} is {got}: {build.status}")
            if (build.status.get("pod") or {}).get("name") not in ground.pods.latest:
                findings.bad["pod_left"].append(f"{NODE}: the pod of {build.name} is gone")
    finally:
        await stop("start")
