"""Time as an argument: code that needs the current time, a duration or a pause takes a Clock.

Not here: formats of other people's times (registry, git), and no clock for the pure core, which needs none.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The current time, elapsed time, and waiting. Tests pass one whose time they move themselves."""

    def now(self) -> datetime:
        """The current time, with tzinfo UTC: for people and for the API server. Jumps when the node's clock is set."""

    def monotonic(self) -> float:
        """Seconds from some beginning, never going back: for deadlines."""

    async def sleep(self, seconds: float) -> None:
        """Wait; zero and less only yield to other tasks."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(max(0.0, seconds))


def rfc3339(moment: datetime, *, micro: bool = False) -> str:
    """`2026-11-23T08:58:41Z`, or with `micro` six digits after the second (Kubernetes' Time and MicroTime).

    Raises ValueError for a time without a zone, which is ambiguous.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    text = moment.astimezone(UTC).replace(tzinfo=None)
    return text.isoformat(timespec="microseconds" if micro else "seconds") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """The reverse: a Time or MicroTime of the API server, in UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
