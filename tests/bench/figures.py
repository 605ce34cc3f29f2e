"""What a measurement promises, and how figures become one number or a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """What a figure should be: `bound` at most, or at least."""

    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def at_most(goals: Mapping[str, float]) -> dict[str, Goal]:
    return {name: Goal(bound) for name, bound in goals.items()}


def at_least(goals: Mapping[str, float]) -> dict[str, Goal]:
    return {name: Goal(bound, at_least=True) for name, bound in goals.items()}


def quantile(values: Iterable[float], q: float) -> float:
    """The value below which a share `q` of `values` lies (nearest rank; p99 of less than 100 is the worst)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def spread(values: Iterable[float], *, digits: int = 3) -> dict[str, float]:
    """p50 and p99 with their number, as bench.json has them."""
    known = list(values)
    return {
        "p50": round(quantile(known, 0.5), digits),
        "p99": round(quantile(known, 0.99), digits),
        "count": len(known),
    }


def look_up(result: Mapping[str, Any], name: str) -> Any:
    """The figure `cancel_seconds.term_p99`; None where it was not measured."""
    value: Any = result
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def show(result: Mapping[str, Any], goals: Mapping[str, Goal]) -> None:
    """The table of every figure that has a goal and was measured."""
    table = Table("figure", "measured", "goal", "")
    for name, goal in goals.items():
        value = look_up(result, name)
        if value is not None:
            table.add_row(name, str(value), str(goal), "met" if goal.met(value) else "MISSED")
    Console().print(table)


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)
