"""Exec streams on the lab, cut between a host-process operator and the API server; and execs that are refused."""

from __future__ import annotations

import asyncio
import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.apirelay import ApiRelay
from tests.chaos.counting import HANG, ground_of, publish
from tests.chaos.findings import Findings
from tests.chaos.hostoperator import HostOperator, in_its_stead
from tests.lab.state import Lab

LONGEST = 12_000
"""Bytes after which an exec stream breaks at the latest: that is about all that a build's stream carries."""
AT_ONCE = 5
"""Builds; one for each ten cuts in a short run: each of them has some twenty."""


async def stream_cuts_cluster(*, lab: Lab, count: int, seed: int, log: Path) -> dict[str, Any]:
    """At least `count` cut exec streams; beside them other connections of the operator's break too."""
    dice = random.Random(seed)
    findings = Findings.of(
        "false_green", "hang", "journal_mismatch", "log_mismatch", "lost", "doubled", "wrong_end"
    )
    at_once = max(1, min(AT_ONCE, count // 10))
    shapes = [
        publish(lab, dice, output=1),
        publish(lab, dice, commit=True),
        publish(lab, dice, failing=dice.randint(2, 19)),
    ]
    with tempfile.TemporaryDirectory(prefix="chaos") as scratch:
        relay = ApiRelay(
            kubeconfig=lab.kubeconfig,
            directory=Path(scratch),
            dice=dice,
            longest=LONGEST,
            other_share=0.3,
        )
        async with ground_of(lab) as ground, in_its_stead(lab), relay:
            operator = HostOperator(
                lab=lab, namespaces=[ground.namespace], log=log, kubeconfig=relay.own_kubeconfig
            )
            try:
                await operator.start()
                await operator.lead()
                # A build has some thirty cuts: so many builds that each shape and stage meets them.
                while operator.running and (
                    relay.cuts.total() < count or len(ground.made) < count // 8
                ):
                    while len(ground.active) < at_once:
                        await ground.build(dice.choice(shapes))
                    await ground.until(lambda: len(ground.active) < at_once, seconds=5)
                    _stop_at_hang(ground.active, findings)
                    if findings.bad["hang"]:
                        break
                await ground.all_over(findings)
                if not operator.running:
                    findings.bad["hang"].append("the operator ended by itself")
            finally:
                await operator.stop()
            await ground.check(findings)
    findings.faults += relay.cuts
    findings.more["other_connections_cut"] = relay.others
    # What the check calls lost or doubled is read from the logs.
    findings.bad["log_mismatch"] += findings.bad["lost"] + findings.bad["doubled"]
    return findings.report()


def _stop_at_hang(active: list[Any], findings: Findings) -> None:
    """A run in which nothing ends would go on for ever: the cuts come from the builds that go on."""
    for each in active:
        made = datetime.fromisoformat(each.raw["metadata"]["creationTimestamp"])
        if (datetime.now(UTC) - made).total_seconds() > HANG:
            findings.bad["hang"].append(f"{each.name} in {each.stage()}: {each.status}")


async def exec_refused(*, lab: Lab, seconds: float, seed: int, log: Path) -> dict[str, Any]:
    """Every exec is answered with 503 for a while, in the middle of builds and before the first word of others."""
    dice = random.Random(seed)
    findings = Findings.of(
        "false_green", "hang", "journal_mismatch", "lost", "doubled", "wrong_end"
    )
    shape = publish(lab, dice)
    with tempfile.TemporaryDirectory(prefix="chaos") as scratch:
        relay = ApiRelay(kubeconfig=lab.kubeconfig, directory=Path(scratch), dice=dice)
        async with ground_of(lab) as ground, in_its_stead(lab), relay:
            operator = HostOperator(
                lab=lab, namespaces=[ground.namespace], log=log, kubeconfig=relay.own_kubeconfig
            )
            try:
                await operator.start()
                await operator.lead()
                first = [await ground.build(shape) for _ in range(2)]
                await ground.until(lambda: all(b.stage() == "steps" for b in first), seconds=60)
                relay.refuse = True
                # Streams that are open stay open: these are cut as well.
                await relay.cut_execs()
                for _ in range(2):
                    await ground.build(shape)
                await asyncio.sleep(seconds)
                if any(each.finished for each in ground.made):
                    findings.bad["false_green"].append("a build ended while no exec was possible")
                relay.refuse = False
                await ground.all_over(findings)
            finally:
                await operator.stop()
            await ground.check(findings)
    findings.faults["refused"] = relay.refused
    findings.more["seconds_refused"] = seconds
    return findings.report()
