"""Hostile Builds of one namespace beside honest ones of another: the honest ones must not notice much.

The honest ones run alone first, then again beside the hostile ones, in the same run; what counts is the ratio of their
medians. The operator must not restart; restarts of the resolver are counted.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from sentinel.errors import SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.resources import (
    BUILDS,
    CONFIG_MAPS,
    IMAGE_COMMITS,
    PODS,
    SECRETS,
    Resource,
)
from tests.bench.crowd import LITTLE
from tests.bench.figures import quantile
from tests.bench.process import parts
from tests.bench.world import Made, World, world
from tests.chaos.findings import Findings
from tests.chaos.hostile import KINDS, Ground, ground_of, spec_of
from tests.chaos.hostoperator import SELECTOR
from tests.install import NAMESPACE, install
from tests.kubectl import Kubectl, condition
from tests.lab.state import Lab

HONEST, HOSTILE = 20, 30
AT_ONCE = 4
"""Honest Builds at a time: on two processors more would only wait for each other."""
RATIO = 1.5
ENDED_WITHIN = 240.0
"""Seconds after the last honest Build in which each hostile one must have ended."""
PREPARE_SECONDS = "60"


async def tenants(*, lab: Lab, seed: int, share: float = 1.0) -> dict[str, Any]:
    """The findings: `honest` that did not succeed, `slower` than allowed, `operator` restarts, `hang`, `left`."""
    findings = Findings.of("honest", "slower", "operator", "hang", "false_green", "left")
    more = {
        "operator.prepareSeconds": PREPARE_SECONDS,
        # The hostile registry: what is to be measured comes after TLS.
        "images.insecureRegistries[2]": lab.gateway,
    }
    await asyncio.to_thread(install, lab, quiet=True, more=more)
    try:
        async with world(lab) as honest, world(lab) as hostile:
            url = honest.project(["true"])
            await (await honest.build(url, pod=LITTLE)).finished()
            async with ground_of(lab, hostile.namespace, url) as ground:
                await _run(findings, honest, hostile, ground, url=url, seed=seed, share=share)
    finally:
        await asyncio.to_thread(install, lab, quiet=True)
    return findings.report()


async def _run(
    findings: Findings,
    honest: World,
    hostile: World,
    ground: Ground,
    *,
    url: str,
    seed: int,
    share: float,
) -> None:
    lab = honest.lab
    before = restarts(lab)
    count = max(4, round(HONEST * share))
    alone = await _honest(findings, honest, url, count)
    kinds = [KINDS[n % len(KINDS)] for n in range(max(len(KINDS), round(HOSTILE * share)))]
    random.Random(seed).shuffle(kinds)
    made: list[tuple[str, Made]] = []
    for kind in kinds:
        findings.faults[kind.__name__] += 1
        try:
            spec = spec_of(kind, ground)
            made.append((kind.__name__, await _create(hostile, spec)))
        except SentinelError as error:
            findings.more.setdefault("rejected", []).append(
                f"{kind.__name__}: {error.message[:200]}"
            )
    beside = await _honest(findings, honest, url, count)
    ratio = quantile(beside, 0.5) / quantile(alone, 0.5)
    findings.builds = len(made) + 2 * count
    findings.more |= {
        "seconds_alone_p50": round(quantile(alone, 0.5), 2),
        "seconds_beside_p50": round(quantile(beside, 0.5), 2),
        "ratio": round(ratio, 3),
    }
    if ratio > RATIO:
        findings.bad["slower"].append(f"{ratio:.2f} times, {RATIO} are allowed")
    await _all_ended(findings, made)
    after = restarts(lab)
    findings.more["resolver_restarts"] = after["resolver"] - before["resolver"]
    if after["operator"] != before["operator"]:
        findings.bad["operator"].append(f"{after['operator'] - before['operator']} restarts")
    await _nothing_left(findings, [honest, hostile])


def restarts(lab: Lab) -> Counter[str]:
    """Restarts by container of the operator's pod."""
    found: Counter[str] = Counter()
    for pod in Kubectl(lab).list("pods", namespace=NAMESPACE, selector=SELECTOR):
        for status in pod["status"].get("containerStatuses", []):
            found[status["name"]] += status["restartCount"]
    return found


async def _create(here: World, spec: dict[str, Any]) -> Made:
    body = {
        "apiVersion": BUILDS.api_version,
        "kind": "Build",
        "metadata": {"name": f"h-{uuid.uuid4().hex[:8]}", "namespace": here.namespace},
        "spec": spec,
    }
    created = time.time_ns()
    raw = await here.kube.create(BUILDS, body, namespace=here.namespace)
    return Made(world=here, raw=raw, created_ns=created)


async def _honest(findings: Findings, here: World, url: str, count: int) -> list[float]:
    """Seconds from created to Finished of so many honest Builds."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> float:
        async with room:
            try:
                raw, seconds = await (await here.build(url, pod=LITTLE)).finished()
            except TimeoutError as error:
                findings.bad["honest"].append(str(error)[:500])
                return 180.0
            if raw["status"]["phase"] != "Succeeded":
                reason = condition(raw, "Succeeded")
                findings.bad["honest"].append(f"{raw['status']['phase']}: {reason}"[:500])
            return seconds

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def _all_ended(findings: Findings, made: list[tuple[str, Made]]) -> None:
    """Each hostile Build ends; none of those that cannot be fine is green."""
    ends: Counter[str] = Counter()

    async def one(kind: str, build: Made) -> None:
        try:
            raw = await build.until(
                lambda raw: condition(raw, "Finished").get("status") == "True",
                seconds=ENDED_WITHIN,
            )
        except TimeoutError as error:
            findings.bad["hang"].append(f"{kind}: {error}"[:600])
            return
        reason = condition(raw, "Succeeded").get("reason", "")
        ends[f"{kind}: {reason}"] += 1
        if raw["status"]["phase"] == "Succeeded":
            findings.bad["false_green"].append(kind)

    await asyncio.gather(*(one(kind, build) for kind, build in made))
    findings.more["ends"] = dict(sorted(ends.items()))


async def _nothing_left(findings: Findings, worlds: list[World]) -> None:
    """When the Builds are deleted, all that was made for them goes; the resolver has no scratch and no child."""
    for here in worlds:
        for raw in (await here.kube.list(BUILDS, namespace=here.namespace))[0]:
            name = raw["metadata"]["name"]
            await here.kube.delete(BUILDS, namespace=here.namespace, name=name)
    left: list[str] = []
    for _ in range(120):
        left = [text for here in worlds for text in await _objects(here.kube, here.namespace)]
        left += await asyncio.to_thread(_scratch, worlds[0].lab)
        if not left:
            return
        await asyncio.sleep(0.5)
    findings.bad["left"] += left[:20]


async def _objects(kube: Kube, namespace: str) -> list[str]:
    found: list[str] = []
    kinds: tuple[Resource, ...] = (PODS, IMAGE_COMMITS, CONFIG_MAPS, SECRETS)
    for resource in kinds:
        for raw in (await kube.list(resource, namespace=namespace))[0]:
            name = raw["metadata"]["name"]
            if name != "kube-root-ca.crt":
                found.append(f"{resource.plural}/{name}")
    return found


def _scratch(lab: Lab) -> list[str]:
    """What lies in the resolver's scratch directory."""
    resolver = parts(lab).get("resolver")
    if resolver is None:
        return ["no resolver"]
    scratch = Path(f"/proc/{resolver.pid}/root/scratch")
    return [f"scratch/{each.name}" for each in scratch.iterdir()]
