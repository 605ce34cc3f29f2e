"""Two operators at once: with the Lease only one acts, and without it, on purpose, nothing is done twice either."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from tests.chaos.counting import ground_of, publish
from tests.chaos.findings import Findings
from tests.chaos.hostoperator import HostOperator, in_its_stead
from tests.lab.state import Lab

NAMES = ("lost", "doubled", "false_green", "hang", "wrong_end", "journal_mismatch")
AT_ONCE = 5


async def two_operators(*, lab: Lab, count: int, seed: int, log: Path) -> dict[str, Any]:
    """At least `count` builds driven by two operators that both believe to lead; one of them is killed now and then."""
    dice = random.Random(seed)
    findings = Findings.of(*NAMES)
    shapes = [
        publish(lab, dice, commit=True, output=2),
        publish(lab, dice, commit=True, failing=dice.randint(2, 19)),
        publish(lab, dice),
    ]
    async with ground_of(lab) as ground, in_its_stead(lab):
        off = {"SENTINEL_LEADER_ELECTION": "false", "SENTINEL_RESYNC_SECONDS": "5"}
        pair = [
            HostOperator(lab=lab, namespaces=[ground.namespace], log=log, name=name, more=off)
            for name in ("twin-a", "twin-b")
        ]
        try:
            for each in pair:
                await each.start()
            for each in pair:
                await each.lead()
            while len(ground.made) < count:
                while len(ground.active) < AT_ONCE and len(ground.made) < count:
                    await ground.build(dice.choice(shapes))
                    findings.faults["build with two leaders"] += 1
                await ground.until(lambda: len(ground.active) < AT_ONCE, seconds=30)
                if dice.random() < 0.3:
                    victim = dice.choice(pair)
                    await victim.kill()
                    await victim.start()
                    await victim.lead()
                    findings.faults["one of two killed"] += 1
            await ground.all_over(findings)
        finally:
            for each in pair:
                await each.stop()
        await ground.check(findings)
    return findings.report()


async def lease(*, lab: Lab, count: int, seed: int, log: Path) -> dict[str, Any]:
    """A leader and a standby: `count` times the leader is killed, the standby takes over, and its pod comes back.

    Then the leader alone is killed and started again under the same name: it must lead again at once, and not after
    the Lease's fifteen seconds.
    """
    dice = random.Random(seed)
    findings = Findings.of(*NAMES, "two_leaders", "slow_failover", "slow_return")
    shape = publish(lab, dice, steps=40)
    failovers: list[float] = []
    returns: list[float] = []
    async with ground_of(lab) as ground, in_its_stead(lab):
        leader, standby = (
            HostOperator(lab=lab, namespaces=[ground.namespace], log=log, name=name)
            for name in ("lease-a", "lease-b")
        )
        try:
            await leader.start()
            await leader.lead()
            for _ in range(count):
                await standby.start()
                await ground.build(shape)
                await asyncio.sleep(dice.uniform(3, 6))
                if await _leads(standby):
                    findings.bad["two_leaders"].append("the standby leads beside the leader")
                await leader.kill()
                killed = asyncio.get_running_loop().time()
                await standby.lead()
                failovers.append(asyncio.get_running_loop().time() - killed)
                findings.faults["leader killed, standby takes over"] += 1
                leader, standby = standby, leader
            for _ in range(count):
                await ground.build(shape)
                await leader.kill()
                await leader.start()
                returns.append(await leader.lead())
                findings.faults["leader killed, started again under its name"] += 1
            await ground.all_over(findings)
        finally:
            await leader.stop()
            await standby.stop()
        await ground.check(findings)
    findings.bad["slow_failover"] += [f"{s:.1f} s" for s in failovers if s > 20]
    findings.bad["slow_return"] += [f"{s:.1f} s" for s in returns if s > 8]
    findings.more["failover_seconds"] = round(max(failovers), 1)
    findings.more["return_seconds"] = round(max(returns), 1)
    return findings.report()


async def _leads(operator: HostOperator) -> bool:
    try:
        async with asyncio.timeout(1):
            await operator.lead()
        return True
    except TimeoutError:
        return False
