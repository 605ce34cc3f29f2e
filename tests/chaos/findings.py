"""What a fault did, counted: one object of build/chaos.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Findings:
    """`faults` counts what was injected, by kind. `bad` has a list for every finding; all must stay empty."""

    bad: dict[str, list[str]]
    faults: Counter[str] = field(default_factory=Counter)
    builds: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, *names: str) -> Findings:
        return cls(bad={name: [] for name in names})

    def report(self) -> dict[str, Any]:
        """The object: count, builds, kinds, what else was measured, each finding's number, and what was seen."""
        return {
            "count": self.faults.total(),
            "builds": self.builds,
            "kinds": dict(sorted(self.faults.items())),
            **self.more,
            **{name: len(seen) for name, seen in self.bad.items()},
            "seen": [f"{name}: {text}" for name, texts in self.bad.items() for text in texts],
        }


def faultless(reports: Iterable[dict[str, Any]]) -> bool:
    """Whether nothing was found by any of them."""
    return not any(report.get("seen") for report in reports)
