"""Measure what architecture.md §6 promises, print a table, write build/bench.json."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from sentinel.session.records import AnyRecord, Finished, Started
from tests.bench import boxkit, config
from tests.bench.world import World, world
from tests.install import NAMESPACE, ROOT, build_image, install
from tests.kubectl import Kubectl
from tests.lab.state import Lab

PAIRS = 10
STEPS = 200
GOALS = {
    "step_overhead_ms.p50": 2.0,
    "step_overhead_ms.p99": 10.0,
    "first_step_ratio": 1.3,
    "first_step_ratio_true": 1.8,
    "build_ratio.never": 1.6,
    "build_ratio.end": 2.6,
    "operator_rss_mib": 150.0,
    **config.GOALS,
    **boxkit.AT_MOST,
}


async def measure(lab: Lab) -> dict[str, Any]:
    """All figures, as bench.json has them."""
    async with world(lab) as here:
        result: dict[str, Any] = {"step_overhead_ms": await step_overhead(here)}
        result |= await ratios(here)
        result["operator_rss_mib"] = operator_rss(lab)
        result |= await asyncio.to_thread(config.measure)
        result |= await asyncio.to_thread(boxkit.measure)
        return result


async def step_overhead(here: World) -> dict[str, float]:
    """End of one step → start of the next, by the journal's times; half no-ops, half lasting 50 to 300 ms."""
    draw = random.Random(7)
    codes = ["true" if n % 2 else f"sleep {draw.uniform(0.05, 0.3):.3f}" for n in range(STEPS)]
    made = await here.build(here.project(codes))
    records, _ = await asyncio.gather(made.records(), made.finished())
    gaps = sorted(step_gaps(records))
    say(f"step overhead: {len(gaps)} gaps")
    return {"p50": round(quantile(gaps, 0.5), 3), "p99": round(quantile(gaps, 0.99), 3)}


def step_gaps(records: list[AnyRecord]) -> list[float]:
    """Milliseconds between each step's end and the next one's start."""
    started = {r.ordinal: r.nanoseconds for r in records if isinstance(r, Started)}
    ended = {r.ordinal: r.nanoseconds for r in records if isinstance(r, Finished)}
    return [(started[n + 1] - ended[n]) / 1e6 for n in sorted(ended) if n + 1 in started]


async def ratios(here: World) -> dict[str, Any]:
    """First step and whole build against the floor, p50 of pairs taken in turn."""
    # The step says itself when it began: its journal goes with the pod.
    url = here.project(["date +%s%N"])
    warm = await here.build(url)
    template = await here.until_pod(warm.pod, lambda raw: bool(raw["spec"].get("nodeName")))
    await warm.finished()
    seen: dict[str, list[float]] = {}
    draw = random.Random(11)

    async def at_any_moment() -> None:
        # The kubelet looks at its containers once a second, and a pod made right after another one's end would
        # always meet the same moment of that second.
        await asyncio.sleep(draw.random())

    for number in range(PAIRS):
        await at_any_moment()
        floor = await here.floor(template, fetch=True)
        await at_any_moment()
        floor_true = await here.floor(template, fetch=False)
        await at_any_moment()
        made = await here.build(url)
        raw, never = await made.finished()
        first = int(made.first_line(raw))
        await at_any_moment()
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
    p50 = {key: quantile(sorted(values), 0.5) for key, values in seen.items()}
    return {
        "first_step_ratio": round(p50["first"] / p50["floor"], 3),
        "first_step_ratio_true": round(p50["first"] / p50["floor_true"], 3),
        "build_ratio": {
            "never": round(p50["never"] / p50["floor"], 3),
            "end": round(p50["end"] / p50["floor"], 3),
        },
        "seconds_p50": {key: round(value, 3) for key, value in p50.items()},
    }


def operator_rss(lab: Lab) -> float:
    """Resident memory of the operator's process in MiB, from its own /proc."""
    status = Kubectl(lab)(
        "exec", "-n", NAMESPACE, "deploy/sentinel-operator", "--", "cat", "/proc/1/status"
    )
    line = next(each for each in status.splitlines() if each.startswith("VmRSS:"))
    return round(int(line.split()[1]) / 1024, 1)


def quantile(ordered: list[float], q: float) -> float:
    """The value below which a share `q` of `ordered` lies (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(result: dict[str, Any]) -> None:
    """The table."""
    table = Table("figure", "measured", "goal", "")
    for key, goal in [*GOALS.items(), *boxkit.AT_LEAST.items()]:
        value: Any = result
        for part in key.split("."):
            value = value[part]
        met = value >= goal if key in boxkit.AT_LEAST else value <= goal
        sign = "≥" if key in boxkit.AT_LEAST else "≤"
        table.add_row(key, str(value), f"{sign} {goal:g}", "met" if met else "missed")
    Console().print(table)


def main() -> None:
    lab = Lab.load()
    build_image(lab)
    install(lab, quiet=True)
    result = asyncio.run(measure(lab))
    out = ROOT / "build/bench.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    show(result)
    say(f"written: {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
