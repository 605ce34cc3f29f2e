"""Every test, in four runs of pytest: `python -m tests.suite [arguments for all of them]`.

1. `cluster`: tests on the cluster, in four processes for two cores, because they spend most of their time waiting.
2. `alone`: those that no other test on the cluster may run beside, in one process. Beside it, on the processors that it
   leaves idle: `unit`, all tests without a cluster, and then `race`, boxkit's tests with a binary that has Go's race
   detector in it (`make race` builds it; of the shells only bash, because the Go code is the same). Both give way to
   `alone` where they compete (`nice`): it takes the longest, and its cluster has limits of time.

What is printed of a run beside another one follows when both have ended. What all found is printed at the end, with
one total.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import unescape

ROOT = Path(__file__).parent.parent
REPORTS = ROOT / "build" / "tests"
PARALLEL = ("--dist", "worksteal", "-n")
RUNS = {
    "cluster": (*PARALLEL, "4", "-m", "cluster and not alone"),
    "alone": ("-m", "alone"),
    "unit": (*PARALLEL, "2", "-m", "not cluster"),
    "race": (*PARALLEL, "2", "-k", "not dash and not busybox", "tests/boxkit"),
}
ENVIRONMENT = {"race": {"SENTINEL_BOXKIT": str(ROOT / "build" / "race" / "boxkit")}}
NICE = {"unit": 5, "race": 5}
"""How far a run gives way to others."""
STAGES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("cluster",),),
    (("alone",), ("unit", "race")),
)
"""What runs after one another, and in each stage what runs beside one another."""
OUTCOMES = ("failed", "errors", "passed", "skipped")


@dataclass(kw_only=True)
class Result:
    """What a run of pytest found. `seconds` is the time on the clock, and `status` pytest's exit status."""

    status: int
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    """One line for each test that did not pass and was not skipped."""
    output: str = ""
    """What pytest printed and was not shown yet."""


def main(arguments: Sequence[str]) -> int:
    """Run all; the exit status: 0 where every run had tests and all passed."""
    results: dict[str, Result] = {}
    began = time.monotonic()
    for stage in STAGES:
        with ThreadPoolExecutor(len(stage)) as pool:
            tracks = [
                pool.submit(follow, names, arguments, shown=number == 0)
                for number, names in enumerate(stage)
            ]
        for track in tracks:
            for name, result in track.result().items():
                print(result.output, end="", flush=True)
                results[name] = result
    print(summary(results, seconds=time.monotonic() - began), flush=True)
    return 0 if all(each.status == 0 for each in results.values()) else 1


def follow(names: Iterable[str], arguments: Sequence[str], *, shown: bool) -> dict[str, Result]:
    """These runs one after the other. What they print goes to our output if `shown`, else into the results."""
    return {name: run(name, (*RUNS[name], *arguments), shown=shown) for name in names}


def run(name: str, options: Sequence[str], *, shown: bool) -> Result:
    """Run pytest and read its report."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    ended = subprocess.run(
        [
            *("nice", "-n", str(NICE.get(name, 0))),
            *(sys.executable, "-m", "pytest", f"--junitxml={report}", *options),
        ],
        env={**os.environ, **ENVIRONMENT.get(name, {})},
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
        text=True,
        check=False,
    )
    result = Result(
        status=ended.returncode, seconds=time.monotonic() - began, output=ended.stdout or ""
    )
    if report.exists():
        read(report, result)
    return result


def read(report: Path, result: Result) -> None:
    """Add the outcomes in a JUnit report to a result."""
    for case in ET.parse(report).iter("testcase"):
        outcome = "passed"
        for tag, name in (("skipped", "skipped"), ("error", "errors"), ("failure", "failed")):
            found = case.find(tag)
            if found is None:
                continue
            outcome = name
            if name != "skipped":
                where = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
                message = unescape(found.get("message", "")).partition("\n")[0]
                result.bad.append(f"{name.upper().rstrip('S')} {where} - {message}")
        result.counts[outcome] += 1


def summary(results: dict[str, Result], *, seconds: float) -> str:
    """What the runs found: each test that failed, each run's counts, and the total in pytest's own form."""
    lines = ["", "=" * 30 + " all runs " + "=" * 30]
    for name, result in results.items():
        lines += result.bad
        end = "" if result.status in (0, 1) else f", pytest ended with status {result.status}"
        lines.append(f"{name}: {counted(result.counts)} in {result.seconds:.0f}s{end}")
    total = sum((result.counts for result in results.values()), Counter[str]())
    minutes = f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f}"
    lines.append(f"{'=' * 16} {counted(total)} in {seconds:.2f}s ({minutes}) {'=' * 16}")
    return "\n".join(lines)


def counted(counts: Counter[str]) -> str:
    present: Iterable[str] = (f"{counts[name]} {name}" for name in OUTCOMES if counts[name])
    return ", ".join(present) or "no tests ran"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
