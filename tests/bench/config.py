"""How fast wercker.yml is read, beside the bare YAML library, and what hostile files cost.

`python -m tests.bench.config` prints it; no cluster is needed. Each hostile file is read in a process of its own,
and the memory is all that this process ever had, Python and the libraries included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import yaml

from sentinel.config.load import load

LINES = 5000
ROUNDS = 9
GOALS = {
    "config_lines_per_second.ratio": 6.0,
    "config_hostile.worst_seconds": 0.5,
    "config_hostile.worst_mib": 100.0,
}


def long_file(lines: int = LINES) -> str:
    """A sound wercker.yml of that many lines, made of what real files are made of."""
    pipeline = ["  box: {id: golang, tag: 1.10}", "  steps:"]
    steps = [
        "    - script:",
        "        name: compile",
        "        code: |",
        "          make all",
        "          make check",
        "    - npm-install",
        "    - s3sync:",
        "        key-id: $KEY",
        "        source-dir: build/",
        "    - slack-notifier:",
        "      url: $SLACK",
        "      channel: ci",
    ]
    out = ["box: debian:12", "services: [redis, {id: postgres, name: db}]"]
    number = 0
    while len(out) < lines:
        number += 1
        out += [f"pipeline{number}:", *pipeline, *steps * 8]
    return "\n".join(out[:lines]) + "\n"


def hostile() -> dict[str, Callable[[], bytes]]:
    """Files that are meant to hurt, by name."""

    def bomb() -> bytes:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        return "\n".join(lines).encode()

    return {
        "brackets_40000": lambda: b"[" * 40_000,
        "alias_bomb": bomb,
        "dashes_100000": lambda: b"a: b\n  " + b"- " * 100_000 + b"c: d\n",
        "scalar_1_mib": lambda: b"a: " + b"x" * (1024 * 1024 - 4),
        "keys_100000": lambda: b"".join(b"%d: v\n" % n for n in range(100_000)),
    }


def measure() -> dict[str, Any]:
    """Both figures, as bench.json has them."""
    text = long_file()
    bare = _best(lambda: yaml.compose(text, yaml.CSafeLoader))
    ours = _best(lambda: load(text.encode()))
    costs = {name: _cost(name) for name in hostile()}
    return {
        "config_lines_per_second": {
            "ours": round(LINES / ours),
            "bare": round(LINES / bare),
            "ratio": round(ours / bare, 2),
        },
        "config_hostile": {
            "worst_seconds": max(each["seconds"] for each in costs.values()),
            "worst_mib": max(each["mib"] for each in costs.values()),
            **costs,
        },
    }


def _best(work: Callable[[], object]) -> float:
    """Seconds of processor time of the quickest of some rounds: what others do on this machine is not ours."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def _cost(name: str) -> dict[str, float]:
    """Seconds of processor time for a hostile file, and the peak of its process in MiB."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.config", name],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, mib = map(float, done.stdout.split())
    return {"seconds": round(seconds, 3), "mib": round(mib, 1)}


def _read_hostile(name: str) -> None:
    """In a process of its own: print seconds and MiB."""
    data = hostile()[name]()
    load(b"build: {steps: []}\n")
    began = time.process_time()
    if not load(data).diagnostics:
        raise SystemExit(f"{name} was taken for a sound file")
    print(time.process_time() - began, _peak())


def _peak() -> float:
    """This process's highest resident memory so far, in MiB. (getrusage would tell our parent's at fork.)"""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        line = next(each for each in status if each.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _read_hostile(sys.argv[1])
    else:
        print(json.dumps(measure(), indent=1))
