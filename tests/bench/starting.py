"""How much longer than its floor a build takes: to its first step, between steps, with work, and as a whole.

The floor of the time between two steps is measured by steps of the same build (`tests.bench.shelling`).
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from sentinel.session.records import AnyRecord, Finished, Started
from tests.bench import shelling
from tests.bench.figures import at_most, quantile, say, spread
from tests.bench.world import World

GOALS = at_most(
    {
        "step_overhead_ratio.p50": 10.0,
        "step_overhead_ratio.p99": 50.0,
        "first_step_ratio": 1.3,
        "first_step_ratio_true": 1.8,
        "build_ratio.never": 1.6,
        "build_ratio.end": 2.6,
        "work_ratio": 1.15,
        "standard_steps_ratio": 1.05,
    }
)
PAIRS = 10
STEPS = 200
EVERY = 20
WORK_PAIRS = 5
STANDARD_PAIRS = 20
WORK_STEPS = 20
WORK_SECONDS = 11.0


async def step_overhead(here: World) -> dict[str, Any]:
    """End of one step → start of the next, by the journal's times, to what the shell alone takes for a step.

    Half of the steps are no-ops, half last 50 to 300 ms, and one in `EVERY` measures the shell. The ratios are those of
    the quantiles of the gaps to the median of the shell.
    """
    draw = random.Random(7)
    codes = ["true" if n % 2 else f"sleep {draw.uniform(0.05, 0.3):.3f}" for n in range(STEPS)]
    alone = range(EVERY - 1, STEPS, EVERY)
    for n in alone:
        codes[n] = shelling.code()
    made = await here.build(here.project(codes))
    records, (raw, _) = await asyncio.gather(made.records(), made.finished())
    shell = [ms for n in alone for ms in shelling.milliseconds(made.log(raw, n))]
    gap, floor = spread(step_gaps(records)), spread(shell)
    say(f"step overhead: {gap['count']} gaps of {gap['p50']} ms, the shell alone {floor['p50']} ms")
    return {
        "step_overhead_ratio": {q: round(gap[q] / floor["p50"], 2) for q in ("p50", "p99")},
        "step_overhead_ms": {**gap, "shell": floor},
    }


def step_gaps(records: list[AnyRecord]) -> list[float]:
    """Milliseconds between each step's end and the next one's start."""
    started = {r.ordinal: r.nanoseconds for r in records if isinstance(r, Started)}
    ended = {r.ordinal: r.nanoseconds for r in records if isinstance(r, Finished)}
    return [(started[n + 1] - ended[n]) / 1e6 for n in sorted(ended) if n + 1 in started]


async def ratios(here: World) -> dict[str, Any]:
    """First step and whole build against the floor, p50 of pairs taken in turn."""
    # The step says itself when it began: its journal goes with the pod.
    url = here.project(["date +%s%N"])
    template = await here.template(url)
    seen: dict[str, list[float]] = {}
    draw = random.Random(11)
    for number in range(PAIRS):
        await _at_any_moment(draw)
        floor = await here.floor(template, fetch=True)
        await _at_any_moment(draw)
        floor_true = await here.floor(template, fetch=False)
        await _at_any_moment(draw)
        made = await here.build(url)
        raw, never = await made.finished()
        first = int(made.log(raw).split()[0])
        await _at_any_moment(draw)
        _, end = await (await here.build(url, commit="end")).finished()
        row = {
            "floor": floor,
            "floor_true": floor_true,
            "first": (first - made.created_ns) / 1e9,
            "never": never,
            "end": end,
        }
        say(f"pair {number + 1}: " + " ".join(f"{k}={v:.2f}" for k, v in row.items()))
        for key, value in row.items():
            seen.setdefault(key, []).append(value)
    p50 = {key: quantile(values, 0.5) for key, values in seen.items()}
    return {
        "first_step_ratio": round(p50["first"] / p50["floor"], 3),
        "first_step_ratio_true": round(p50["first"] / p50["floor_true"], 3),
        "build_ratio": {
            "never": round(p50["never"] / p50["floor"], 3),
            "end": round(p50["end"] / p50["floor"], 3),
        },
        "seconds_p50": {key: round(value, 3) for key, value in p50.items()},
    }


async def work(here: World) -> dict[str, Any]:
    """20 steps of 0.2 to 0.9 s, 11 s in all: created → Finished, to the floor's start and the work."""
    draw = random.Random(13)
    drawn = [draw.uniform(0.2, 0.9) for _ in range(WORK_STEPS)]
    naps = [nap * WORK_SECONDS / sum(drawn) for nap in drawn]
    url = here.project([f"sleep {nap:.3f}" for nap in naps])
    template = await here.template(here.project(["true"]))
    floors, builds = [], []
    for number in range(WORK_PAIRS):
        await _at_any_moment(draw)
        floors.append(await here.floor(template, fetch=True))
        await _at_any_moment(draw)
        _, seconds = await (await here.build(url)).finished()
        builds.append(seconds)
        say(f"work {number + 1}: floor={floors[-1]:.2f} build={seconds:.2f} of {WORK_SECONDS}")
    floor, build = quantile(floors, 0.5), quantile(builds, 0.5)
    return {
        "work_ratio": round(build / (floor + WORK_SECONDS), 3),
        "work_seconds_p50": {"floor": round(floor, 2), "build": round(build, 2)},
    }


async def standard(here: World) -> dict[str, Any]:
    """Created → first step of a build that has five standard steps behind it, to one with five scripts."""
    url = {
        "scripts": here.project(["date +%s%N", *(["true"] * 5)]),
        "standard": here.project(["date +%s%N"], more="    - mktemp: {envvar: MADE}\n" * 5),
    }
    seen: dict[str, list[float]] = {kind: [] for kind in url}
    draw = random.Random(17)
    for number in range(STANDARD_PAIRS):
        for kind, each in url.items():
            await _at_any_moment(draw)
            made = await here.build(each)
            raw, _ = await made.finished()
            seen[kind].append((int(made.log(raw).split()[0]) - made.created_ns) / 1e9)
        say(f"standard {number + 1}: " + " ".join(f"{k}={v[-1]:.2f}" for k, v in seen.items()))
    p50 = {kind: quantile(values, 0.5) for kind, values in seen.items()}
    return {
        "standard_steps_ratio": round(p50["standard"] / p50["scripts"], 3),
        "standard_seconds_p50": {kind: round(value, 3) for kind, value in p50.items()},
    }


async def _at_any_moment(draw: random.Random) -> None:
    """The kubelet looks at its containers once a second, and a pod made right after another one's end would always
    meet the same moment of that second."""
    await asyncio.sleep(draw.random())
