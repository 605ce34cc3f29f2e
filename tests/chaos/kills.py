"""`kill -9` of the operator, by the hundred, at random moments of builds that count."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

from sentinel.engine.supervisor import MOST_CRASHES
from tests.chaos.counting import Ground, Shape, ground_of, publish
from tests.chaos.findings import Findings
from tests.chaos.hostoperator import HostOperator, in_its_stead
from tests.lab.state import Lab

STAGES = ("preparing", "pod starting", "steps", "committing", "storing", "after-steps", "closing")
"""Those of engine/build.py that can be distinguished from outside."""
EACH = 5
"""Kills that every stage must have seen."""
AT_ONCE = 5
"""Builds; three in a short run, whose last builds would take longer than its kills."""
AIMED = 4.0
"""Seconds for which a kill waits for a build to be in the stage that it is aimed at."""
STILL_MISSING = 60.0
"""The same after the kills that were asked for, where a stage has not had its share: a busy machine takes its time."""


async def operator_kills(*, lab: Lab, count: int, seed: int, log: Path) -> dict[str, Any]:
    """At least `count` kills; a kill counts for each stage in which a build was at that moment, once."""
    dice = random.Random(seed)
    findings = Findings.of(
        "lost", "doubled", "false_green", "wrong_end", "hang", "journal_mismatch"
    )
    shapes = [
        publish(lab, dice, commit=True, output=24),
        publish(lab, dice, commit=True, failing=dice.randint(2, 19)),
        publish(lab, dice, output=8),
        publish(lab, dice, commit=True, output=24),
        publish(lab, dice, failing=dice.randint(2, 19)),
    ]
    stages: Counter[str] = Counter()
    early = 0
    async with ground_of(lab) as ground, in_its_stead(lab):
        operator = HostOperator(lab=lab, namespaces=[ground.namespace], log=log)
        try:
            while findings.faults.total() < count or stages[_rarest(stages)] < _each(count):
                missing = findings.faults.total() >= count
                fitting = [each for each in shapes if not missing or _passes(each, _rarest(stages))]
                at_once = (AT_ONCE if count >= 100 else 3) + missing
                await _feed(ground, fitting, dice, at_once=at_once)
                await operator.start()
                if not missing and dice.random() < 0.08:
                    early += 1
                    await asyncio.sleep(dice.uniform(0, 2))
                else:
                    await operator.lead()
                    await _moment(ground, stages, dice, missing=missing)
                await _spared(ground)
                here = {each.stage() for each in ground.active}
                await operator.kill()
                findings.faults["SIGKILL"] += 1
                stages.update(here)
                if findings.faults.total() >= 2 * count:
                    break
            await operator.start()
            await ground.all_over(findings)
        finally:
            await operator.stop()
        await ground.check(findings)
    for stage in STAGES:
        if stages[stage] < _each(count):
            findings.bad["hang"].append(f"only {stages[stage]} kills in stage {stage}")
    findings.more["kills_by_stage"] = {stage: stages[stage] for stage in STAGES}
    findings.more["kills_before_it_led"] = early
    return findings.report()


async def _spared(ground: Ground) -> None:
    """Wait while a Build has been killed in preparing so often that the next time would end it, as it is meant to."""

    def spared() -> bool:
        return not any(
            each.stage() == "preparing" and each.status.get("crashes", 0) >= MOST_CRASHES - 1
            for each in ground.active
        )

    await ground.until(spared, seconds=60)


def _each(count: int) -> int:
    """How many kills each stage needs: a tenth of the run needs one."""
    return EACH if count >= 100 else 1


def _passes(shape: Shape, stage: str) -> bool:
    """Whether a build of that shape comes through that stage."""
    return {"committing": shape.commit, "storing": not shape.failing}.get(stage, True)


def _rarest(stages: Counter[str]) -> str:
    return min(STAGES, key=lambda each: stages[each])


async def _feed(ground: Ground, shapes: list[Shape], dice: random.Random, *, at_once: int) -> None:
    while len(ground.active) < at_once:
        await ground.build(dice.choice(shapes))


async def _moment(
    ground: Ground, stages: Counter[str], dice: random.Random, *, missing: bool
) -> None:
    """Wait for the moment of the kill: half of them come when they like, half in the stage that had the fewest.

    `missing`: only that stage is still of interest.
    """
    if not missing and dice.random() < 0.5:
        await asyncio.sleep(dice.uniform(0, 3))
        return
    stage = _rarest(stages)

    def there() -> bool:
        return any(each.stage() == stage for each in ground.active)

    if missing:
        await ground.until(there, seconds=STILL_MISSING)
    elif await ground.until(there, seconds=AIMED):
        await asyncio.sleep(dice.uniform(0, 0.1))
