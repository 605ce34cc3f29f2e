"""The outbox: what has to be sent follows from the Builds' status, what was sent stands in the cursors.

`offer` takes a Build as it is now. Each of its receivers has a lane (`lane.py`), in which `_deliver` sends the events
that are behind the Build's cursor, one after another. Nothing else is kept, so a restart goes on where the cursors are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from sentinel.clock import Clock, rfc3339
from sentinel.errors import SentinelError
from sentinel.reports.cursors import DONE, Cursors
from sentinel.reports.delivery import Delivery, Send
from sentinel.reports.destinations import Destination, Misconfigured
from sentinel.reports.kept import Builds, Kept
from sentinel.reports.lane import BACKOFF_FIRST, BACKOFF_LONGEST, Lane, Result, Turn
from sentinel.reports.sequence import Reported
from sentinel.reports.steplogs import Store
from sentinel.settings import Settings

log = logging.getLogger(__name__)

TENANT_CONCURRENCY = 2
"""Builds at once to one receiver that a namespace's Secret names."""
FLUSH_SECONDS = 1.0
ROUTE_SECONDS = 5.0
"""Until a Build is looked at again whose receivers could not be found out."""

GAVE_UP, REFUSED, MISCONFIGURED = "ReportsGivenUp", "ReportRefused", "ReportsMisconfigured"
"""Reasons of the events on a Build."""


class Finder(Protocol):
    """What the outbox needs of `Destinations`."""

    def kinds(self) -> list[str]: ...

    def ours(self, seen: Reported) -> list[Destination]: ...

    async def find(self, seen: Reported) -> list[Destination]: ...


Tell = Callable[[dict[str, Any], str, str], None]
"""(raw Build, reason, note): an event for people."""


class Outbox:
    """Reports of all Builds. `send(post, ours=…, secret=…)` is the way out; `tell` writes a Kubernetes event."""

    def __init__(
        self,
        *,
        settings: Settings,
        cursors: Cursors,
        destinations: Finder,
        send: Send,
        store: Store | None,
        tell: Tell,
        clock: Clock,
        backoff: tuple[float, float] = (BACKOFF_FIRST, BACKOFF_LONGEST),
    ) -> None:
        self._settings = settings
        self._cursors = cursors
        self._destinations = destinations
        self._delivery = Delivery(settings=settings, cursors=cursors, send=send, store=store)
        self._tell = tell
        self._clock = clock
        self._backoff = backoff
        self._builds = Builds(most=settings.reports.most_builds)
        self._lanes: dict[str, Lane] = {}
        self._route: asyncio.Queue[str] = asyncio.Queue()
        self._routed: set[str] = set()
        self._later: dict[str, float] = {}
        self._told: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Builds that ended before the first start are not reported."""
        now = rfc3339(self._clock.now())
        for kind in self._destinations.kinds():
            self._cursors.since(kind, now=now)

    @property
    def waiting(self) -> int:
        """Builds that have, or may have, something to report."""
        return len(self._builds)

    @property
    def lanes(self) -> dict[str, Lane]:
        """The lanes by name."""
        return self._lanes

    def offer(self, raw: dict[str, Any], *, deleted: bool = False) -> None:
        """A Build as it is now. One that ended too long ago is left alone."""
        uid = raw["metadata"]["uid"]
        if self._builds.get(uid) is None and self.is_past(raw):
            return
        self._builds.put(raw, deleted=deleted, now=self._clock.monotonic())
        while (found := self._builds.too_many()) is not None:
            self._give_up(found[0], found[1].raw(), "too many builds wait for their receivers")
        self._enqueue(uid)

    @property
    def known(self) -> set[str]:
        """The uids of the Builds that are kept."""
        return self._builds.uids()

    def missing(self, uids: set[str]) -> None:
        """These Builds are not in the cluster any more: they were deleted while the operator was not running."""
        for uid in uids:
            kept = self._builds.get(uid)
            if kept is not None and not kept.deleted:
                self.offer(kept.raw(), deleted=True)

    def keep_only(self, uids: set[str]) -> None:
        """Forget what was delivered of all other Builds, but for those that are kept."""
        self._cursors.keep_only(uids | self._builds.uids())

    async def run(self) -> None:
        """Hand Builds to the lanes of their receivers, until cancelled."""
        try:
            while True:
                uid = await self._route.get()
                self._routed.discard(uid)
                await self._find_lanes(uid)
        finally:
            for lane in list(self._lanes.values()):
                await lane.close()

    async def flush_forever(self) -> None:
        """Write the cursors every second, until cancelled."""
        while True:
            await self._clock.sleep(FLUSH_SECONDS)
            try:
                await self._cursors.flush()
            except SentinelError as error:
                log.warning("what was reported is written later: %s", error.message)
            now = self._clock.monotonic()
            for uid in [uid for uid, when in self._later.items() if when <= now]:
                del self._later[uid]
                self._enqueue(uid)
            for name in [name for name, lane in self._lanes.items() if not lane.busy]:
                del self._lanes[name]

    def _enqueue(self, uid: str) -> None:
        if uid not in self._routed:
            self._routed.add(uid)
            self._route.put_nowait(uid)

    async def _find_lanes(self, uid: str) -> None:
        kept = self._builds.get(uid)
        if kept is None:
            return
        try:
            seen = kept.reported()
            found = await self._find(seen, kept)
        except SentinelError as error:
            log.info("reports of build %s: receivers are looked for later: %s", uid, error.message)
            self._later[uid] = self._clock.monotonic() + ROUTE_SECONDS
            return
        except Exception:
            log.exception("build %s is not reported", uid)
            self._builds.drop(uid)
            return
        now = rfc3339(self._clock.now())
        ended = seen.ended_at
        for each in found:
            if ended and ended < self._cursors.since(each.kind, now=now):
                self._cursors.advance(uid, each.kind, DONE)
        found = [each for each in found if self._cursors.get(uid, each.kind) < DONE]
        if not found:
            if seen.final:
                self._builds.drop(uid)
            return
        for each in found:
            self._lane(each).add(uid, namespace=kept.namespace)

    async def _find(self, seen: Reported, kept: Kept) -> list[Destination]:
        try:
            return await self._destinations.find(seen)
        except Misconfigured as error:
            self._tell_once(seen.build.uid, kept.raw(), MISCONFIGURED, str(error))
            return self._destinations.ours(seen)

    def _lane(self, destination: Destination) -> Lane:
        name = destination.lane
        if name not in self._lanes:
            limit = self._settings.reports.concurrency if destination.ours else TENANT_CONCURRENCY
            self._lanes[name] = Lane(
                name,
                deliver=lambda uid: self._deliver(uid, name),
                concurrency=limit,
                clock=self._clock,
                backoff=self._backoff,
            )
        return self._lanes[name]

    async def _deliver(self, uid: str, lane: str) -> Result:
        """Send what one Build has to report to one receiver, at most BATCH requests."""
        kept = self._builds.get(uid)
        if kept is None:
            return Result(Turn.REST)
        seen = kept.reported()
        try:
            found = await self._find(seen, kept)
        except SentinelError as error:
            log.info("reports of build %s to %s: %s", uid, lane, error.message)
            return Result(Turn.LATER, ROUTE_SECONDS)
        destination = next((each for each in found if each.lane == lane), None)
        if destination is None:
            self._enqueue(uid)
            return Result(Turn.REST)
        if self._is_too_late(seen, kept):
            self._give_up(uid, kept.raw(), f"{destination.label} did not take them", destination)
            return Result(Turn.REST)
        version = kept.version
        result = await self._delivery.send_all(seen, destination)
        if result.complete:
            self._enqueue(uid)  # dropped there, when all its receivers have everything
        for note in result.refused:
            self._tell_once(uid, kept.raw(), REFUSED, note)
        if result.turn is Turn.REST and kept.version != version:
            # It changed while its last state was sent.
            return Result(Turn.AGAIN)
        return Result(result.turn, result.after, sent=result.sent > 0)

    def is_past(self, raw: dict[str, Any]) -> bool:
        """Whether a Build ended so long ago that it is not reported any more."""
        ended = (raw.get("status") or {}).get("completionTime")
        return bool(ended) and self._is_over(str(ended))

    def _is_over(self, ended: str) -> bool:
        limit = timedelta(seconds=self._settings.reports.give_up_seconds)
        try:
            return self._clock.now() - datetime.fromisoformat(ended) > limit
        except (ValueError, TypeError):
            return False

    def _is_too_late(self, seen: Reported, kept: Kept) -> bool:
        if seen.ended_at:
            return self._is_over(seen.ended_at)
        limit = self._settings.reports.give_up_seconds
        return kept.deleted and self._clock.monotonic() - kept.deleted_at > limit

    def _give_up(
        self, uid: str, raw: dict[str, Any], why: str, destination: Destination | None = None
    ) -> None:
        metadata = raw["metadata"]
        log.error(
            "reports of build %s/%s are given up: %s", metadata["namespace"], metadata["name"], why
        )
        self._tell(raw, GAVE_UP, f"reports are given up: {why}")
        if destination is None:
            for kind in self._destinations.kinds():
                self._cursors.advance(uid, kind, DONE)
            self._builds.drop(uid)
            return
        self._cursors.advance(uid, destination.kind, DONE)
        self._enqueue(uid)

    def _tell_once(self, uid: str, raw: dict[str, Any], reason: str, note: str) -> None:
        if (uid, reason) in self._told:
            return
        if len(self._told) > 10_000:
            self._told.clear()
        self._told.add((uid, reason))
        self._tell(raw, reason, note)
