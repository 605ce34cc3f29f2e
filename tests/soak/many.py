"""Many small builds, one after the other: what is left of them, and what they cost the operator's memory for good.

Five kinds take turns: a plain one, one with output, artifacts and a cache, one with a service and a Secret, one that
fails, and one that commits its box. The first of them are not counted: what was never done costs memory once, for
modules, caches and connections.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sentinel.kube.resources import SECRETS
from tests.bench.figures import at_most, say
from tests.bench.process import OperatorProcess, of_pod, parts
from tests.bench.world import World
from tests.install import NAMESPACE
from tests.kubectl import Kubectl
from tests.soak.ground import LITTLE, until

GOALS = at_most(
    {
        "builds.left": 0.0,
        "builds.unexpected": 0.0,
        "builds.rss_growth": 0.1,
        "builds.agent_rss_growth": 0.1,
    }
)
WARM, WARM_SHARE = 20, 5
"""Builds that are not counted: at least so many, and one for each `WARM_SHARE` that are. The operator grows over its
first 80 or so, and is flat from there on."""
AT_ONCE = 4
KINDS = "pods,secrets,configmaps,roles,rolebindings,serviceaccounts,persistentvolumeclaims,services,imagecommits"
QUIET = 120.0
"""Seconds for what goes after a build's end: pods that were deleted, connections that are closed when idle."""

AGENT = "app.kubernetes.io/component=agent"


async def measure(here: World, *, count: int) -> dict[str, Any]:
    """`builds`: `left` counts objects, files and sockets that were not there before; growth is relative.

    `unexpected` counts builds that ended otherwise than their kind.
    """
    kinds = _publish(here)
    await here.kube.create(
        SECRETS,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "secret", "namespace": here.namespace},
            "stringData": {"TOKEN": "s3cret"},
        },
        namespace=here.namespace,
    )
    first = {role: each.rss_mib() for role, each in _processes(here).items()}
    await _run(here, kinds, max(WARM, count // WARM_SHARE))
    await _quiet(here)
    before = await asyncio.to_thread(_state, here)
    began = time.monotonic()
    ends, unexpected = await _run(here, kinds, count)
    seconds = time.monotonic() - began
    await _quiet(here)
    after = await asyncio.to_thread(_state, here)
    # An ImageCommit is the record of what was pushed: it and its Role go with the Build.
    with_build = ("/imagecommit.", "/role.", "/rolebinding.")
    left = sorted(
        each
        for each in after["things"] - before["things"]
        if not any(kind in each for kind in with_build)
    )
    await asyncio.to_thread(_delete_builds, here)
    gone = await asyncio.to_thread(_state, here)
    left += sorted(each for each in gone["things"] - before["things"] if each not in left)
    sockets = {
        role: after["sockets"][role] - before["sockets"].get(role, 0) for role in after["sockets"]
    }
    # A connection to the API server more or less is a watch that was renewed at that moment.
    too_many = {role: n for role, n in sockets.items() if n > 2}
    say(
        f"{count} builds in {seconds:.0f} s: {dict(ends)}; left: {left or 'nothing'}; sockets {sockets}"
    )
    rss = {
        role: [round(before["rss"][role], 1), round(after["rss"][role], 1)]
        for role in before["rss"]
    }
    growth = {role: round(b / a - 1, 3) for role, (a, b) in rss.items()}
    return {
        "builds": {
            "count": count,
            "seconds": round(seconds, 1),
            "ends": dict(ends),
            "unexpected": len(unexpected),
            "unexpected_ends": unexpected[:20],
            "left": len(left) + len(too_many),
            "left_names": left[:50],
            "sockets": sockets,
            "rss_mib": rss,
            "rss_before_any_mib": {role: round(each, 1) for role, each in first.items()},
            "rss_growth": growth["operator"],
            "agent_rss_growth": growth["agent"],
            "resolver_rss_growth": growth.get("resolver"),
        }
    }


def _delete_builds(here: World) -> None:
    """Delete every Build of the namespace, and wait until what they own is gone."""
    kubectl = Kubectl(here.lab)
    kubectl("delete", "builds", "--all", "-n", here.namespace, "--wait=true", timeout=600)
    end = time.monotonic() + QUIET
    while kubectl("get", "imagecommits,roles", "-n", here.namespace, "-o", "name").strip():
        if time.monotonic() > end:
            return
        time.sleep(1)


def _publish(here: World) -> list[tuple[str, dict[str, Any]]]:
    """The kinds of builds: the project's URL and what its spec has beside it."""
    output = 'head -c 100000 /dev/urandom >"$WERCKER_OUTPUT_DIR/file"'
    artifact = 'echo report >"$WERCKER_REPORT_ARTIFACTS_DIR/report"'
    cache = 'date +%N >"$WERCKER_CACHE_DIR/stamp"'
    service = f"services:\n  - id: {here.lab.registry}/box/busybox:1\n    cmd: sleep 3600\n"
    token = '[ "$TOKEN" = s3cret ]'
    return [
        (here.project(["true", "echo two"]), {}),
        (here.project([output, artifact, cache]), {}),
        (here.project([token], more=service), {"envFrom": [{"secretRef": {"name": "secret"}}]}),
        (here.project(["exit 3"]), {}),
        (here.project(["echo three >/three"]), {"commit": "end"}),
    ]


async def _run(
    here: World, kinds: list[tuple[str, dict[str, Any]]], count: int
) -> tuple[Counter[str], list[str]]:
    """Run so many builds, a few at a time; how they ended, and those that ended otherwise than they should."""
    ends: Counter[str] = Counter()
    unexpected: list[str] = []
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        url, spec = kinds[number % len(kinds)]
        async with room:
            made = await here.build(url, pod=LITTLE, **spec)
            raw, _ = await made.finished()
        phase = str(raw["status"]["phase"])
        ends[phase] += 1
        if phase != ("Failed" if number % len(kinds) == 3 else "Succeeded"):
            conditions = raw["status"]["conditions"]
            unexpected.append(f"{made.name} ended as {phase}: {conditions}"[:1000])
            say(unexpected[-1])
        if sum(ends.values()) % 50 == 0:
            say(f"{sum(ends.values())} of {count}")

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))
    return ends, unexpected


async def _quiet(here: World) -> None:
    """Until no pod and no ImageCommit is left in the namespace, and the processes' sockets are few again."""
    kubectl = Kubectl(here.lab)
    try:
        await until(
            lambda: not kubectl.list("pods", namespace=here.namespace),
            seconds=QUIET,
            what="pods are left in the namespace",
        )
    except RuntimeError as e:
        say(str(e))  # they are counted
    known: dict[str, int] = {}
    for _ in range(12):
        await asyncio.sleep(5)
        now = {role: _sockets(each.pid) for role, each in _processes(here).items()}
        if now == known:
            return
        known = now


def _state(here: World) -> dict[str, Any]:
    """Objects and temporary files by name, sockets and memory (MiB) by role."""
    kubectl = Kubectl(here.lab)
    things = set()
    for namespace in (here.namespace, NAMESPACE):
        text = kubectl("get", KINDS, "-n", namespace, "-o", "name")
        things |= {f"{namespace}/{line}" for line in text.split()}
    processes = _processes(here)
    for role, each in processes.items():
        root = Path(f"/proc/{each.pid}/root")
        for place in ("tmp", "var/tmp", "run/sentinel"):
            things |= {f"{role}:{file}" for file in _files(root / place)}
    return {
        "things": things,
        "sockets": {role: _sockets(each.pid) for role, each in processes.items()},
        "rss": {role: each.rss_mib() for role, each in processes.items()},
    }


def _processes(here: World) -> dict[str, OperatorProcess]:
    """Operator, resolver and agent."""
    found = parts(here.lab)
    for pod in Kubectl(here.lab).list("pods", namespace=NAMESPACE, selector=AGENT):
        process = of_pod(pod["metadata"]["uid"], command=b"sentinel\0agent")
        if process is not None:
            found["agent"] = process
    return found


def _files(place: Path) -> list[str]:
    """Every file and directory below a place; none where there is no such place."""
    return [
        str(Path(folder, name))
        for folder, folders, names in os.walk(place)
        for name in (*folders, *names)
    ]


def _sockets(pid: int) -> int:
    """Open sockets of a process."""
    count = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += stat.S_ISSOCK(each.stat().st_mode)
        except OSError:
            continue
    return count
