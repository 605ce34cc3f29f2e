"""How often a build writes to the API server: the operator, and all clients in the cluster. From its audit log.

Builds run alone, one after the other, in a namespace that holds nothing else. Counted are all requests that would
change something (create, update, patch, delete), refused ones too:

* `api_writes_per_build`: those of the operator's service account in that namespace. Its Lease lies elsewhere, and is
  written by the second, not by the build.
* `cluster_writes_per_build`: those of all users in that namespace: the user who made the Build, operator, scheduler,
  kubelet, garbage collector, events included. Not what a new namespace gets by itself (its service account and root
  certificate), and no Leases.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sentinel.kube.errors import NotFound
from sentinel.kube.resources import PODS
from tests.bench.figures import at_most, say
from tests.bench.world import Made, World
from tests.install import NAMESPACE
from tests.lab import audit

GOALS = at_most(
    {
        "api_writes_per_build.1": 12.0,
        "api_writes_per_build.20": 13.0,
        "cluster_writes_per_build.1": 26.0,
        "cluster_writes_per_build.20": 28.0,
    }
)
BUILDS = 5
QUIET = 3.0
"""Seconds without a write in the namespace after which the last of them is in: kubelets send their events late."""

OPERATOR = f"system:serviceaccount:{NAMESPACE}:sentinel-operator"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
NAMESPACES_OWN = frozenset({"serviceaccounts", "configmaps", "namespaces", "leases"})


async def measure(here: World) -> dict[str, Any]:
    """Both, per number of steps, and who wrote what, to see what costs it."""
    result: dict[str, Any] = {
        "api_writes_per_build": {},
        "cluster_writes_per_build": {},
        "writes_detail": {},
    }
    for steps in (1, 20):
        url = here.project(["true"] * steps)
        # The first finds the kubelet without the image's layers in its cache, and perhaps pulls.
        await settle(here, await here.build(url))
        begin = audit.end(here.lab.audit_log)
        for _ in range(BUILDS):
            await settle(here, await here.build(url))
        writes = _writes(here, begin)
        ours = {what: n for (who, what), n in writes.items() if who == OPERATOR}
        result["api_writes_per_build"][str(steps)] = sum(ours.values()) / BUILDS
        result["cluster_writes_per_build"][str(steps)] = writes.total() / BUILDS
        result["writes_detail"][str(steps)] = {
            f"{who}: {what}": n / BUILDS for (who, what), n in sorted(writes.items())
        }
        say(
            f"writes, {steps} steps: {sum(ours.values()) / BUILDS} by the operator, {writes.total() / BUILDS} in all"
        )
    return result


def writes_of(events: Iterable[dict[str, Any]], *, namespace: str) -> Counter[tuple[str, str]]:
    """How often who (user) did what (`patch builds/status 200`) in a namespace."""
    found: Counter[tuple[str, str]] = Counter()
    for event in events:
        target = event.get("objectRef") or {}
        if (
            event["stage"] != "ResponseComplete"
            or event["verb"] not in WRITES
            or target.get("namespace") != namespace
            or target.get("resource") in NAMESPACES_OWN
            # An exec is a connection, though a server may call it a create.
            or target.get("subresource") == "exec"
        ):
            continue
        resource = "/".join(
            part for part in (target.get("resource"), target.get("subresource")) if part
        )
        code = event.get("responseStatus", {}).get("code", 0)
        found[event["user"]["username"], f"{event['verb']} {resource} {code}"] += 1
    return found


def _writes(here: World, begin: int) -> Counter[tuple[str, str]]:
    events = audit.events(here.lab.audit_log, begin=begin, holding=here.namespace)
    return writes_of(events, namespace=here.namespace)


async def settle(here: World, made: Made) -> None:
    """Wait until the build has ended, its pod is gone, and there was no write in the namespace for a while."""
    await made.finished()
    async with asyncio.timeout(120):
        while True:
            try:
                await here.kube.get(PODS, namespace=here.namespace, name=made.pod)
            except NotFound:
                break
            await asyncio.sleep(0.2)
        begin, before = audit.end(here.lab.audit_log), -1
        while True:
            now = _writes(here, begin).total()
            if now == before:
                return
            before = now
            await asyncio.sleep(QUIET)
