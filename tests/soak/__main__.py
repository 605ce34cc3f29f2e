"""Run for long what must hold for long, print a table, write build/soak.json. Exit code 1: a goal is missed.

`python -m tests.soak` runs all parts; `python -m tests.soak builds --count 500` one of them. Figures of other parts in
build/soak.json stay as they were. docs/design/2026-11-28-soak.md has results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable
from typing import Any, Protocol

from tests.bench.figures import look_up, say, show
from tests.bench.world import World, world
from tests.install import ROOT, build_image, install
from tests.lab.state import Lab
from tests.soak import largeoutput, many, reporter, runlocally, storefaults


class Part(Protocol):
    """Measures in a namespace of its own; `count` is how often."""

    def __call__(self, here: World, *, count: int) -> Awaitable[dict[str, Any]]: ...


PARTS: dict[str, tuple[Part, int]] = {
    "store-faults": (storefaults.measure, 1),
    "output": (largeoutput.measure, 3),
    "reporter": (reporter.measure, 5),
    "run-locally": (runlocally.measure, 10),
    "builds": (many.measure, 500),
}
"""With how often each is done: builds in all, builds for each state of the receiver, outputs."""
GOALS = {
    **storefaults.GOALS,
    **largeoutput.GOALS,
    **reporter.GOALS,
    **runlocally.GOALS,
    **many.GOALS,
}
OUT = ROOT / "build/soak.json"


async def _measure(lab: Lab, part: Part, count: int) -> dict[str, Any]:
    work = asyncio.current_task()
    assert work is not None
    # After SIGTERM too, the settings that were there before come back.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    async with world(lab) as here:
        return await part(here, count=count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--count", type=int, default=0, help="how often, in place of each part's own number"
    )
    wanted = parser.parse_args()
    if unknown := [each for each in wanted.parts if each not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    OUT.parent.mkdir(exist_ok=True)
    lab = Lab.load()
    build_image(lab)
    install(lab, quiet=True)
    result: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {}
    measured: dict[str, Any] = {}
    for name in wanted.parts or PARTS:
        part, count = PARTS[name]
        say(f"== {name}")
        began = time.monotonic()
        measured |= asyncio.run(_measure(lab, part, wanted.count or count))
        say(f"== {name}: {time.monotonic() - began:.0f} s")
        OUT.write_text(json.dumps(result | measured, indent=1) + "\n")
    show(measured, GOALS)
    say(json.dumps(measured, indent=1))
    values = {name: look_up(measured, name) for name in GOALS}
    missed = [n for n, v in values.items() if v is not None and not GOALS[n].met(v)]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
