"""Every test, in two runs of pytest: `python -m tests.suite [arguments for both]`.

The first run has three processes for two cores: a test on the cluster spends most of its time waiting. The second has
one, for tests that are marked `alone`. What both found is printed at the end, with one total.
"""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import unescape

REPORTS = Path(__file__).parent.parent / "build" / "tests"
RUNS = {
    "side-by-side": ("-n", "3", "--dist", "worksteal", "-m", "not alone"),
    "alone": ("-m", "alone"),
}
OUTCOMES = ("failed", "errors", "passed", "skipped")


@dataclass(kw_only=True)
class Result:
    """What a run of pytest found. `seconds` is the time on the clock, and `status` pytest's exit status."""

    status: int
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    """One line for each test that did not pass and was not skipped."""


def main(arguments: Sequence[str]) -> int:
    """Run both; the exit status: 0 where both ran tests and all passed."""
    results = {name: run(name, (*options, *arguments)) for name, options in RUNS.items()}
    print(summary(results), flush=True)
    return 0 if all(each.status == 0 for each in results.values()) else 1


def run(name: str, options: Sequence[str]) -> Result:
    """Run pytest with its output on ours, and read its report."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *options]
    status = subprocess.run(command, check=False).returncode
    result = Result(status=status, seconds=time.monotonic() - began)
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


def summary(results: dict[str, Result]) -> str:
    """What both runs found: each test that failed, each run's counts, and the total in pytest's own form."""
    lines = ["", "=" * 30 + " both runs " + "=" * 30]
    for name, result in results.items():
        lines += result.bad
        end = "" if result.status in (0, 1) else f", pytest ended with status {result.status}"
        lines.append(f"{name}: {counted(result.counts)} in {result.seconds:.0f}s{end}")
    total = sum((result.counts for result in results.values()), Counter[str]())
    seconds = sum(result.seconds for result in results.values())
    minutes = f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f}"
    lines.append(f"{'=' * 16} {counted(total)} in {seconds:.2f}s ({minutes}) {'=' * 16}")
    return "\n".join(lines)


def counted(counts: Counter[str]) -> str:
    present: Iterable[str] = (f"{counts[name]} {name}" for name in OUTCOMES if counts[name])
    return ", ".join(present) or "no tests ran"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
