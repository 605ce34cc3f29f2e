"""The way to one receiver: which build's reports are sent next, and when after a failure.

Every receiver has a lane of its own, so one that is dead or slow does not delay reports to others. In a lane namespaces
take turns, a build is worked on by one task at a time (its reports stay in order), and while the receiver fails only
one build at a time tries it, after a pause that grows.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from sentinel.clock import Clock

log = logging.getLogger(__name__)

BACKOFF_FIRST, BACKOFF_LONGEST = 1.0, 300.0
"""Seconds between two tries, doubling from first to longest, each with jitter."""
LONGEST_RETRY_AFTER = 900.0
"""Seconds of a receiver's Retry-After that are obeyed."""


class Turn(Enum):
    """How a build's turn ended."""

    REST = auto()
    """Everything that its status implies was sent, or there is nothing to do any more."""
    AGAIN = auto()
    """There is more to send."""
    LATER = auto()
    """Something that is no fault of the receiver's is missing, as a log that is not stored yet."""
    FAILED_BUILD = auto()
    """The receiver refused a report of this build."""
    FAILED = auto()
    """The receiver does not work."""


@dataclass(frozen=True)
class Result:
    """The end of a turn. `after`: seconds until the next try, 0 where that is for the lane to decide. `sent`: some
    reports arrived before; the pauses then start again from the shortest."""

    turn: Turn
    after: float = 0.0
    sent: bool = False


@dataclass
class _Due:
    not_before: float = 0.0
    tries: int = 0


class Lane:
    """One receiver's queue. `deliver(uid)` sends what a build has to report. It has a task only while it is busy."""

    def __init__(
        self,
        name: str,
        *,
        deliver: Callable[[str], Awaitable[Result]],
        concurrency: int,
        clock: Clock,
        backoff: tuple[float, float] = (BACKOFF_FIRST, BACKOFF_LONGEST),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.failures = 0
        """Turns that failed in a row."""
        self._deliver = deliver
        self._concurrency = concurrency
        self._clock = clock
        self._backoff = backoff
        self._jitter = jitter
        self._waiting: OrderedDict[str, OrderedDict[str, _Due]] = OrderedDict()
        self._running: dict[str, tuple[str, _Due, asyncio.Task[Result]]] = {}
        self._pauses = 0
        self._again: set[str] = set()
        self._paused_until = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a build waits or is worked on."""
        return bool(self._waiting or self._running)

    def add(self, uid: str, *, namespace: str) -> None:
        """A build may have something to report. One that waits for its next try goes on waiting."""
        if uid in self._running:
            self._again.add(uid)
            return
        self._waiting.setdefault(namespace, OrderedDict()).setdefault(uid, _Due())
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"reports {self.name}")

    async def close(self) -> None:
        """Stop; a report on its way may or may not have arrived."""
        tasks = [task for _, _, task in self._running.values()]
        if self._task is not None:
            tasks.append(self._task)  # type: ignore[arg-type]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while self.busy:
            self._wake.clear()
            limit = 1 if self.failures else self._concurrency
            while len(self._running) < limit and (found := self._next()) is not None:
                self._start(*found)
            await self._rest()

    def _next(self) -> tuple[str, str, _Due] | None:
        """The first build that is due, of the namespace that has waited longest for its turn."""
        now = self._clock.monotonic()
        if now < self._paused_until:
            return None
        for namespace, queue in self._waiting.items():
            for uid, due in queue.items():
                if due.not_before <= now:
                    del queue[uid]
                    self._waiting.move_to_end(namespace)
                    if not queue:
                        del self._waiting[namespace]
                    return namespace, uid, due
        return None

    def _start(self, namespace: str, uid: str, due: _Due) -> None:
        task = asyncio.create_task(self._turn(uid), name=f"reports {self.name} {uid}")
        self._running[uid] = namespace, due, task
        pauses = self._pauses
        task.add_done_callback(lambda done: self._ended(uid, done, pauses))

    async def _turn(self, uid: str) -> Result:
        try:
            return await self._deliver(uid)
        except Exception:
            # A bug that one build triggers must not end the reports of all others.
            log.exception("reports of build %s to %s: trying again later", uid, self.name)
            return Result(Turn.FAILED_BUILD)

    def _ended(self, uid: str, task: asyncio.Task[Result], pauses: int) -> None:
        namespace, due, _ = self._running.pop(uid)
        self._wake.set()
        if task.cancelled():
            return
        result = task.result()
        now = self._clock.monotonic()
        if result.sent:
            due = _Due()
            if pauses == self._pauses:
                self.failures = 0
        if result.turn is Turn.FAILED:
            if pauses == self._pauses:  # else others that began as early have failed before
                self.failures, self._pauses = self.failures + 1, self._pauses + 1
                pause = result.after or self._pause(self.failures)
                self._paused_until = now + min(pause, LONGEST_RETRY_AFTER)
            due = _Due(now + self._pause(due.tries + 1), due.tries + 1)
        elif result.turn is Turn.FAILED_BUILD:
            after = result.after or self._pause(due.tries + 1)
            due = _Due(now + min(after, LONGEST_RETRY_AFTER), due.tries + 1)
        elif result.turn is Turn.LATER:
            due = _Due(now + result.after, 0)
        else:
            if self.failures:
                log.info("reports: %s works again", self.name)
            self.failures = 0
            due = _Due()
        if result.turn is not Turn.REST or uid in self._again:
            self._again.discard(uid)
            self._waiting.setdefault(namespace, OrderedDict())[uid] = due

    def _pause(self, tries: int) -> float:
        first, longest = self._backoff
        return min(first * 2.0 ** min(tries - 1, 30), longest) * (0.5 + self._jitter())

    async def _rest(self) -> None:
        """Wait until something ends, comes or is due."""
        timer = None
        if not self._running or not self.failures:
            soonest = min(
                (due.not_before for queue in self._waiting.values() for due in queue.values()),
                default=None,
            )
            if soonest is not None:
                until = max(soonest, self._paused_until) - self._clock.monotonic()
                timer = asyncio.create_task(self._clock.sleep(max(until, 0.0)))
        wake = asyncio.create_task(self._wake.wait())
        try:
            waits = {wake} if timer is None else {wake, timer}
            if self.busy and not self._full():
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            elif self.busy:
                await wake
        finally:
            for each in (wake, timer):
                if each is not None:
                    each.cancel()
            await asyncio.gather(
                *(e for e in (wake, timer) if e is not None), return_exceptions=True
            )

    def _full(self) -> bool:
        return len(self._running) >= (1 if self.failures else self._concurrency)
