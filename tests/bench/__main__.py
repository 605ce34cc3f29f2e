"""Measure what is promised, print a table, write build/bench.json.

`python -m tests.bench` measures all of it; `python -m tests.bench cancel recovery` only those parts, and the other
figures of build/bench.json stay as they were.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from tests.bench import (
    boxkit,
    caching,
    cancelling,
    committing,
    config,
    crowd,
    following,
    recovering,
    resolving,
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
    "standard": starting.standard,
    "cancel": cancelling.measure,
    "logs": following.measure,
    "writes": writing.measure,
    "memory": crowd.memory,
    "cpu": crowd.processor,
    "status": crowd.status_size,
    "resolver": resolving.measure,
    "sixty": crowd.sixty,
    # Last: it kills the operator, and what the others measure would be another process's.
    "recovery": recovering.measure,
}
WITHOUT: dict[str, Callable[[], dict[str, Any]]] = {
    "config": config.measure,
    "boxkit": boxkit.measure,
    "cache": caching.measure,
    "commit": committing.measure,
}
GOALS = {
    **starting.GOALS,
    **cancelling.GOALS,
    **recovering.GOALS,
    **following.GOALS,
    **crowd.GOALS,
    **writing.GOALS,
    **resolving.GOALS,
    **at_most(config.GOALS),
    **at_most(boxkit.AT_MOST),
    **at_least(boxkit.AT_LEAST),
    **at_most(caching.AT_MOST),
    **at_least(caching.AT_LEAST),
    **at_most(committing.AT_MOST),
}
OUT = ROOT / "build/bench.json"


async def on_the_lab(lab: Lab, part: str) -> dict[str, Any]:
    """The figures of a part, in a namespace of its own."""
    async with world(lab) as here:
        return await ON_THE_LAB[part](here)


def main(wanted: list[str]) -> int:
    """Measure; 1 where a part could not be measured. A goal that is missed is in the table, and no failure."""
    known = [*ON_THE_LAB, *WITHOUT]
    if unknown := [each for each in wanted if each not in known]:
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
    parts = [each for each in known if not wanted or each in wanted]
    result: dict[str, Any] = json.loads(OUT.read_text()) if wanted and OUT.exists() else {}
    measured: dict[str, Any] = {}
    failed = []
    if any(each in ON_THE_LAB for each in parts):
        lab = Lab.load()
        build_image(lab)
        install(lab, quiet=True)
    for part in parts:
        say(f"== {part}")
        try:
            if part in ON_THE_LAB:
                measured |= asyncio.run(on_the_lab(lab, part))
            else:
                measured |= WITHOUT[part]()
        except Exception:
            traceback.print_exc()
            failed.append(part)
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(result | measured, indent=1) + "\n")
    show(measured, GOALS)
    say(f"written: {OUT.relative_to(ROOT)}")
    if failed:
        say(f"could not be measured: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
