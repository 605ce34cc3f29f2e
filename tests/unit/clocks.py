"""Clocks that tests move."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Hasty:
    """A clock whose sleeps are over at once; it remembers them, and its time moves with them."""

    def __init__(self, start: datetime = START) -> None:
        self.start = start
        self.slept: list[float] = []
        self.elapsed = 0.0

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed += max(seconds, 0)
        await asyncio.sleep(0)


class Stepped:
    """A clock that stands still until `advance`, which ends sleeps."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.elapsed + seconds, future))
        await future

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds
        for when, future in self._sleepers:
            if when <= self.elapsed and not future.done():
                future.set_result(None)
        self._sleepers = [(when, f) for when, f in self._sleepers if not f.done()]

    @property
    def sleepers(self) -> int:
        return self.asleep(within=float("inf"))

    def asleep(self, *, within: float) -> int:
        """How many sleep and will be woken within so many seconds."""
        return sum(
            not future.done() and when - self.elapsed <= within for when, future in self._sleepers
        )
