"""The latest known state of watched objects, and a way to wait for the next one.

kopf's watches fill it, every create or read adds what the server answered, and builds wait on it. It is a
cache: level-triggered, newest resourceVersion wins, and an object that was never seen is simply not there yet.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

Key = tuple[str, str]
"""(namespace, name)."""


MOST_DELETED = 256
"""How many deleted objects are remembered."""

MOST_FORGOTTEN = 4096
"""Of how many forgotten objects it is known that they are: some 200 bytes each."""


@dataclass(frozen=True)
class Seen:
    """One object as last seen. `deleted`: the server said it is gone; `raw` is then its last state."""

    raw: dict[str, Any]
    deleted: bool = False

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"]["uid"])


def key_of(raw: dict[str, Any]) -> Key:
    """Where an object's state is kept."""
    return raw["metadata"]["namespace"], raw["metadata"]["name"]


class Board:
    """Objects of one resource. Not thread-safe: one event loop owns it."""

    def __init__(self) -> None:
        self._seen: dict[Key, Seen] = {}
        self._deleted: deque[Key] = deque()
        self._waiting: dict[Key, set[asyncio.Future[None]]] = defaultdict(set)
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def hear(self, raw: dict[str, Any], *, deleted: bool = False) -> None:
        """Note a state that a watch has shown, unless the object was forgotten: a pod that is being deleted after its
        build has ended still changes, and its last state would be kept for no one."""
        if raw["metadata"]["uid"] not in self._forgotten or key_of(raw) in self._waiting:
            self.offer(raw, deleted=deleted)

    def offer(self, raw: dict[str, Any], *, deleted: bool = False) -> None:
        """Note an object's state, unless a newer one of the same uid is known."""
        key = key_of(raw)
        self._forgotten.pop(raw["metadata"]["uid"], None)
        old = self._seen.get(key)
        if old is not None and old.uid == raw["metadata"]["uid"]:
            if old.deleted or (_version(raw) < _version(old.raw)):
                return
            if _version(raw) == _version(old.raw) and not deleted:
                return
        self._seen[key] = Seen(raw, deleted)
        if deleted:
            self._remember_deleted(key)
        self._wake(key)

    def get(self, key: Key) -> Seen | None:
        """What is known of an object; None if nothing is."""
        return self._seen.get(key)

    def forget(self, key: Key) -> None:
        """Drop an object that no build waits for any more."""
        seen = self._seen.pop(key, None)
        if seen is not None:
            self._forgotten[seen.uid] = None
            if len(self._forgotten) > MOST_FORGOTTEN:
                self._forgotten.popitem(last=False)

    async def changed(self, key: Key) -> None:
        """Return at the next change of that object."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[key].add(future)
        try:
            await future
        finally:
            waiting = self._waiting[key]
            waiting.discard(future)
            if not waiting:
                del self._waiting[key]

    async def until(self, key: Key, look: Callable[[Seen | None], T | None]) -> T:
        """Wait until `look` gives something, beginning with what is known now."""
        while True:
            found = look(self.get(key))
            if found is not None:
                return found
            await self.changed(key)

    def _remember_deleted(self, key: Key) -> None:
        """That an object is gone is news for those who wait for it; afterwards it only takes memory."""
        self._deleted.append(key)
        if len(self._deleted) > MOST_DELETED:
            oldest = self._deleted.popleft()
            seen = self._seen.get(oldest)
            if seen is not None and seen.deleted:
                del self._seen[oldest]

    def _wake(self, key: Key) -> None:
        for future in self._waiting.get(key, ()):
            if not future.done():
                future.set_result(None)


def _version(raw: dict[str, Any]) -> int:
    # Opaque by contract, an integer in every API server there is; kopf and client-go compare them too.
    text = raw["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0
