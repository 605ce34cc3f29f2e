"""Which commit is done next: several at once, fair between namespaces.

Not here: doing them (`commit.py`), and freezing boxes one at a time (`Tools.walks`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sentinel.api.imagecommit import CommitPhase
from sentinel.clock import Clock, SystemClock

TOGETHER = 8
"""Commits under way at once. Most of their time is spent with registries, which may be slow."""

SHARE = 2
"""Of these, for one namespace."""

STUCK_SECONDS = 3600.0
"""A commit may take half an hour (`engine/commit.py`). A worker that is busy with one for twice as long is stuck."""

_ENDED = frozenset(phase.value for phase in CommitPhase if phase.ended)

Key = tuple[str, str]
"""Namespace and name."""


class Queue:
    """Commits that wait, each once; the oldest of the namespace with the fewest under way is next.

    Commits that cannot begin at once go into `behind` too, so that their status can say so.
    """

    def __init__(
        self, *, together: int = TOGETHER, share: int = SHARE, clock: Clock | None = None
    ) -> None:
        self._together = together
        self._share = share
        self._waiting: dict[Key, None] = {}
        self._doing: dict[Key, float] = {}
        self._clock = clock or SystemClock()
        self._changes = asyncio.Event()
        self.behind: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def offer(self, raw: dict[str, Any]) -> None:
        """Take in an object of the watch or of a list, unless it has ended, waits already, or is under way."""
        key = (raw["metadata"]["namespace"], raw["metadata"]["name"])
        phase = (raw.get("status") or {}).get("phase")
        if phase in _ENDED or key in self._doing or key in self._waiting:
            return
        self._waiting[key] = None
        if phase is None and not self._begins(key[0]):
            self.behind.put_nowait(raw)
        self._changes.set()

    @asynccontextmanager
    async def next(self) -> AsyncIterator[Key]:
        """The next commit, under way for the time of the block."""
        while (key := self._next()) is None:
            self._changes.clear()
            await self._changes.wait()
        del self._waiting[key]
        self._doing[key] = self._clock.monotonic()
        try:
            yield key
        finally:
            del self._doing[key]
            self._changes.set()

    def problem(self) -> str:
        """Which commit is under way for too long; empty where none is."""
        now = self._clock.monotonic()
        stuck = ["/".join(key) for key, since in self._doing.items() if now - since > STUCK_SECONDS]
        return f"{', '.join(stuck)} did not end in {STUCK_SECONDS:.0f} s" if stuck else ""

    def _begins(self, namespace: str) -> bool:
        """Whether the latest commit of a namespace can begin at once."""
        counts = Counter(each for each, _ in (*self._waiting, *self._doing))
        used = sum(min(count, self._share) for count in counts.values())
        return counts[namespace] <= self._share and used <= self._together

    def _next(self) -> Key | None:
        if len(self._doing) >= self._together:
            return None
        busy = Counter(namespace for namespace, _ in self._doing)
        free = [key for key in self._waiting if busy[key[0]] < self._share]
        return min(free, key=lambda key: busy[key[0]], default=None)
