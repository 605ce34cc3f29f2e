"""Measure what architecture.md §6 promises, print a table, write build/bench.json.

`python -m tests.bench` measures all of it; `python -m tests.bench cancel recovery` only those parts, and the other
figures of build/bench.json stay as they were.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from tests.bench import (
    boxkit,
    cancelling,
    config,
    crowd,
    following,
    recovering,
    starting,
    writing,
)
from tests.bench.figures import at_least, at_most, say, show
from tests.bench.world import World, world
from tests.install import ROOT, build_image, install
from tests.lab.state import Lab

Part = Callable[[World], Awaitable[dict[str, Any]]]

ON_THE_LAB: dict[str, Part] = {
    "steps": starting.step_overhead,
    "ratios": starting.ratios,
    "work": starting.work,
    "cancel": cancelling.measure,
    "logs": following.measure,
    "writes": writing.measure,
    "memory": crowd.memory,
    "cpu": crowd.processor,
    "status": crowd.status_size,
    "sixty": crowd.sixty,
    # Last: it kills the operator, and what the others measure would be another process's.
    "recovery": recovering.measure,
}
WITHOUT: dict[str, Callable[[], dict[str, Any]]] = {
    "config": config.measure,
    "boxkit": boxkit.measure,
}
GOALS = {
    **starting.GOALS,
    **cancelling.GOALS,
    **recovering.GOALS,
    **following.GOALS,
    **crowd.GOALS,
    **writing.GOALS,
    **at_most(config.GOALS),
    **at_most(boxkit.AT_MOST),
    **at_least(boxkit.AT_LEAST),
}
OUT = ROOT / "build/bench.json"


async def on_the_lab(lab: Lab, parts: list[str]) -> dict[str, Any]:
    """The figures of some parts, each in a namespace of its own."""
    result: dict[str, Any] = {}
    for part in parts:
        say(f"== {part}")
        async with world(lab) as here:
            result |= await ON_THE_LAB[part](here)
    return result


def main(wanted: list[str]) -> None:
    known = [*ON_THE_LAB, *WITHOUT]
    if unknown := [each for each in wanted if each not in known]:
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
    parts = wanted or known
    result: dict[str, Any] = {}
    if wanted and OUT.exists():
        result = json.loads(OUT.read_text())
    measured: dict[str, Any] = {}
    if here := [each for each in ON_THE_LAB if each in parts]:
        lab = Lab.load()
        build_image(lab)
        install(lab, quiet=True)
        measured |= asyncio.run(on_the_lab(lab, here))
    for part, measure in WITHOUT.items():
        if part in parts:
            say(f"== {part}")
            measured |= measure()
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result | measured, indent=1) + "\n")
    show(measured, GOALS)
    say(f"written: {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
