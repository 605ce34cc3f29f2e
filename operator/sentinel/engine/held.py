"""Builds that wait for another Build: they hold no slot and no task, so that however many wait, the one that they wait
for gets its turn.

Each is driven again, from the top, when the other one appears, ends or is deleted, and now and then in any case: the
watch may have missed it. What is waited for stands in the Build's status, so nothing here has to survive a restart.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sentinel.engine.board import Key, key_of

LOOK_AGAIN = 120.0
"""Seconds after which a Build that waits is looked at without news."""

MOST_NEWS = 4096
"""How many Builds are remembered of which there was news: it may be what those wait for that are about to be held. And
how many of those that have heard of some."""


@dataclass
class _Waiting:
    raw: dict[str, Any]
    on: Key
    timer: asyncio.TimerHandle


class Held:
    """Builds by uid. `release` gets one that is to be driven again."""

    def __init__(self, release: Callable[[dict[str, Any]], None]) -> None:
        self._release = release
        self._waiting: dict[str, _Waiting] = {}
        self._by_key: dict[Key, set[str]] = {}
        self._count = 0
        self._news: OrderedDict[Key, int] = OrderedDict()
        """The number of the last news of a Build. Several may wait for it, each with a moment of its own between its
        look and `hold`."""
        self._heard: OrderedDict[str, int] = OrderedDict()
        """The number of the last news when a Build was held or released: by uid."""

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    def hold(self, raw: dict[str, Any], *, on: Key, within: float) -> None:
        """Keep a Build until there is news of Build `on`, or `within` seconds have passed."""
        uid = raw["metadata"]["uid"]
        self.drop(uid)
        soon = self._news.get(on, 0) > self._heard.get(uid, 0)
        self._hear(uid)
        delay = 0.0 if soon else min(within, LOOK_AGAIN * random.uniform(0.8, 1.2))  # noqa: S311
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, delay), self._let_go, uid)
        self._waiting[uid] = _Waiting(raw, on, timer)
        self._by_key.setdefault(on, set()).add(uid)

    def renew(self, raw: dict[str, Any]) -> None:
        """The Build was changed while it waits."""
        self._waiting[raw["metadata"]["uid"]].raw = raw

    def news(self, raw: dict[str, Any]) -> None:
        """A Build has appeared, ended, or is gone: drive those that wait for it."""
        key = key_of(raw)
        self._count += 1
        self._news[key] = self._count
        self._news.move_to_end(key)
        if len(self._news) > MOST_NEWS:
            self._news.popitem(last=False)
        for uid in sorted(self._by_key.get(key, ())):
            self._hear(uid)
            self._let_go(uid)

    def _hear(self, uid: str) -> None:
        self._heard[uid] = self._count
        self._heard.move_to_end(uid)
        if len(self._heard) > MOST_NEWS:
            self._heard.popitem(last=False)

    def drop(self, uid: str) -> bool:
        """Forget a Build. Whether it was held."""
        found = self._waiting.pop(uid, None)
        if found is None:
            return False
        found.timer.cancel()
        others = self._by_key[found.on]
        others.discard(uid)
        if not others:
            del self._by_key[found.on]
        return True

    def _let_go(self, uid: str) -> None:
        raw = self._waiting[uid].raw
        self.drop(uid)
        self._release(raw)
