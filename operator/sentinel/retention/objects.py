"""Objects of the store that no Build refers to: results of Builds that are gone, caches and step archives long unused.

Only keys of the forms that `plan/keys.py` makes are looked at, below the store's prefix, and in the namespaces that the
operator watches: whatever else is in the bucket is someone else's. Nothing is deleted that was written within the grace
period, and the Builds are listed before the objects. So what a running build uploads stays: its Build was there when
the Builds were listed, or it was created later than the oldest object that may go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from sentinel.plan.keys import (
    CacheKey,
    ResultsKey,
    cache_mark,
    marked_cache,
    parse_cache,
    parse_results,
    parse_step_archive,
)
from sentinel.retention.builds import Referred
from sentinel.retention.found import Stale
from sentinel.settings import Settings
from sentinel.store.objects import ObjectInfo, ObjectStore

OBJECT = "object"


class Objects:
    """The store's objects, and what Builds refer to. `now` is when the Builds were listed, or before."""

    def __init__(
        self, store: ObjectStore, builds: Referred, *, settings: Settings, now: datetime
    ) -> None:
        self._store, self._builds, self._now = store, builds, now
        self._settings, self._prefix = settings, settings.store.prefix
        retention = settings.retention
        self._grace = timedelta(hours=retention.grace_hours)
        self._unused = timedelta(days=retention.cache_days)
        self._long = f"not used for {retention.cache_days} days"

    async def stale(self) -> AsyncIterator[list[Stale]]:
        """What may go, page by page."""
        for head in self._heads():
            async for page in self._store.pages(head):
                found = [each for info in page if (each := await self._look(info)) is not None]
                if found:
                    yield found

    async def remove(self, stale: Sequence[Stale]) -> list[Stale]:
        """Delete them, and say which are gone. A cache or step archive that is used again by now stays."""

        async def remove(each: Stale) -> Stale | None:
            if parse_results(each.name, prefix=self._prefix) is None:
                info = await self._store.head(each.name)
                if info is None or await self._look(info) is None:
                    return None
            await self._store.delete(each.name)
            return each

        # The store's own threads bound how many are on the way.
        removed = await asyncio.gather(*(remove(each) for each in stale))
        return [each for each in removed if each is not None]

    def _heads(self) -> list[str]:
        """What the keys begin with that are listed: everything of ours, or that of some namespaces and the steps."""
        top = "".join(f"{each}/" for each in self._prefix.split("/") if each)
        if not self._settings.namespaces:
            return [top]
        return [f"{top}{each}/" for each in (*self._settings.namespaces, "steps")]

    async def _look(self, info: ObjectInfo) -> Stale | None:
        """Why an object may go, None where it stays."""
        if not info.is_older(self._grace, now=self._now):
            return None
        why = ""
        if (results := parse_results(info.key, prefix=self._prefix)) is not None:
            why = self._without_build(results)
        elif parse_step_archive(info.key, prefix=self._prefix) is not None:
            # Builds write an archive again that is older than a day when they use it.
            why = f"the step's archive was {self._long}" if self._is_unused(info) else ""
        elif (cache := parse_cache(info.key, prefix=self._prefix)) is not None:
            why = await self._unused_cache(info, cache)
        elif parse_cache(of := marked_cache(info.key), prefix=self._prefix) is not None:
            why = "its cache is gone" if await self._store.head(of) is None else ""
        return Stale(kind=OBJECT, name=info.key, why=why, size=info.size) if why else None

    def _without_build(self, key: ResultsKey) -> str:
        if key.build_uid in self._builds.uids or key.namespace in self._builds.orphaned:
            return ""
        return f"its Build {key.build_uid} is gone"

    async def _unused_cache(self, info: ObjectInfo, key: CacheKey) -> str:
        if not self._is_unused(info):
            return ""
        mark = await self._store.head(cache_mark(info.key))
        if mark is not None and not self._is_unused(mark):
            return ""
        return f"the cache of pipeline {key.pipeline} was {self._long}"

    def _is_unused(self, info: ObjectInfo) -> bool:
        return info.is_older(self._unused, now=self._now)
