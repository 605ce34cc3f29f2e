"""Events for people (`kubectl describe`): a few per build, repeats folded into a series.

`events.k8s.io/v1`, as KEP-383 has it. Events live an hour and may be dropped on the way: nothing may depend on one,
and nothing waits for one. Not here: which moments deserve an event.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sentinel.backoff import Backoff
from sentinel.clock import Clock, SystemClock, rfc3339
from sentinel.errors import Conflict, SentinelError
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.kube.resources import EVENTS, Resource
from sentinel.retry import retry

log = logging.getLogger(__name__)
Json = dict[str, Any]

CONTROLLER = "sentinel.wercker.com/operator"
SERIES_SECONDS = 360.0
"""A repeat within this time joins its series; a later one is a new event (client-go's figure)."""
PATCH_SECONDS = 10.0
"""Between two writes of one series: a loop that reports every second must not write every second."""
QUEUE = 1000
SERIES = 512
BACKOFF = Backoff(first=0.5, longest=2.0, tries=4)
NOTE_BYTES = 1024
_TERMINATING = re.compile(r"because it is being terminated|namespaces \"[^\"]+\" not found")


class EventApi(Protocol):
    """The two calls of `Kube` that the recorder needs."""

    async def create(
        self, resource: Resource, body: Json, *, namespace: str | None = None
    ) -> Json: ...

    async def patch(
        self,
        resource: Resource,
        *,
        name: str,
        namespace: str | None = None,
        body: Any,
        subresource: str = "",
        kind: Literal["merge", "json", "apply"] = "merge",
        field_manager: str = "sentinel",
    ) -> Json: ...


@dataclass(frozen=True)
class _Moment:
    """What was recorded. Two are the same event if all of it is the same."""

    regarding: tuple[tuple[str, str], ...]
    reason: str
    action: str
    note: str
    type: str
    related: tuple[tuple[str, str], ...] | None

    @property
    def namespace(self) -> str:
        return dict(self.regarding).get("namespace") or "default"


@dataclass
class _Series:
    """An event that was written, and how often it happened since."""

    name: str
    count: int = 1
    written: int = 1
    last: str = ""
    seen: float = 0.0
    due: float = 0.0


class Recorder:
    """`recorder.record(build, reason=..., action=..., note=...)` anywhere in the loop's thread; `close()` at the end.

    `instance` names this process (the pod's name). The worker starts with the first record.
    """

    def __init__(
        self,
        kube: EventApi,
        *,
        instance: str,
        controller: str = CONTROLLER,
        clock: Clock | None = None,
        queue: int = QUEUE,
    ) -> None:
        self.dropped = 0
        """Events that never reached the server: the queue was full, or it refused them."""
        self._kube = kube
        self._instance = instance[:128]
        self._controller = controller
        self._clock = clock or SystemClock()
        self._limit = queue
        self._waiting: list[tuple[_Moment, str]] = []
        self._series: OrderedDict[_Moment, _Series] = OrderedDict()
        self._wake = asyncio.Event()
        self._closing = False
        self._worker: asyncio.Task[None] | None = None

    def record(
        self,
        regarding: Mapping[str, Any],
        *,
        reason: str,
        action: str,
        note: str,
        type: Literal["Normal", "Warning"] = "Normal",  # noqa: A002 - the API's word
        related: Mapping[str, Any] | None = None,
    ) -> None:
        """Queue an event. `regarding` and `related`: whole objects or ObjectReferences. Never raises, never waits."""
        try:
            moment = _Moment(
                _reference(regarding),
                reason[:128],
                action[:128],
                _cut(note),
                type,
                _reference(related) if related else None,
            )
            if self._closing or len(self._waiting) >= self._limit:
                self._drop(moment, "the queue is closed" if self._closing else "the queue is full")
                return
            self._waiting.append((moment, rfc3339(self._clock.now(), micro=True)))
            if self._worker is None:
                self._worker = asyncio.create_task(self._work(), name="events")
            self._wake.set()
        except Exception:
            self.dropped += 1
            log.exception("an event could not be queued: %s", reason)

    async def close(self, *, seconds: float = 5.0) -> None:
        """Write what waits, for at most `seconds`; then stop."""
        self._closing = True
        self._wake.set()
        if self._worker is None:
            return
        done, _ = await asyncio.wait({self._worker}, timeout=seconds)
        if not done:
            self.dropped += len(self._waiting)
            self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            if not self._waiting and not self._closing:
                await self._rest()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            for moment, stamp in waiting:
                await self._take(moment, stamp)
            for moment, series in list(self._series.items()):
                if series.count > series.written and (self._closing or self._now() >= series.due):
                    await self._guard(moment, self._continue(moment, series))
            self._forget()
            if self._closing and not self._waiting:
                return

    async def _rest(self) -> None:
        """Wait for a record, or until a series may be written again."""
        due = [s.due for s in self._series.values() if s.count > s.written]
        if not due:
            await self._wake.wait()
            return
        wake = asyncio.create_task(self._wake.wait())
        timer = asyncio.create_task(self._clock.sleep(min(due) - self._now()))
        try:
            await asyncio.wait({wake, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wake.cancel()
            timer.cancel()
            await asyncio.gather(wake, timer, return_exceptions=True)

    async def _take(self, moment: _Moment, stamp: str) -> None:
        series = self._series.get(moment)
        if series is not None and self._now() - series.seen < SERIES_SECONDS:
            series.count += 1
            series.last = stamp
            series.seen = self._now()
            self._series.move_to_end(moment)
            return
        await self._guard(moment, self._begin(moment, stamp))

    async def _begin(self, moment: _Moment, stamp: str, count: int = 1) -> None:
        now = self._now()  # when it happened, not when a slow server has answered
        of = dict(moment.regarding).get("name", "event")
        name = f"{of[:200].rstrip('-.')}.{uuid.uuid4().hex[:16]}"
        body: Json = {
            "apiVersion": EVENTS.api_version,
            "kind": "Event",
            "metadata": {"name": name, "namespace": moment.namespace},
            "eventTime": stamp,
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "regarding": dict(moment.regarding),
            "reason": moment.reason,
            "action": moment.action,
            "note": moment.note,
            "type": moment.type,
        }
        if moment.related is not None:
            body["related"] = dict(moment.related)
        if count > 1:
            body["series"] = {"count": count, "lastObservedTime": stamp}
        with suppress(AlreadyExists):  # a try whose answer was lost
            await self._insist(lambda: self._kube.create(EVENTS, body, namespace=moment.namespace))
        self._series[moment] = _Series(name, count, count, stamp, now, now)
        self._series.move_to_end(moment)

    async def _continue(self, moment: _Moment, series: _Series) -> None:
        count = series.count
        body = {"series": {"count": count, "lastObservedTime": series.last}}
        try:
            await self._insist(
                lambda: self._kube.patch(
                    EVENTS, name=series.name, namespace=moment.namespace, body=body
                )
            )
        except NotFound:
            await self._begin(moment, series.last, count)  # the first one lived its hour
            return
        series.written = count
        series.due = self._now() + PATCH_SECONDS

    async def _insist(self, write: Callable[[], Awaitable[Json]]) -> None:
        """A few tries: API servers restart, and events are written when things go wrong."""
        await retry(
            write, clock=self._clock, backoff=BACKOFF, what="writing an event", unless=(Conflict,)
        )

    async def _guard(self, moment: _Moment, write: Awaitable[None]) -> None:
        try:
            await write
        except SentinelError as error:
            self._drop(moment, str(error))
            self._series.pop(moment, None)

    def _forget(self) -> None:
        now = self._now()
        for moment, series in list(self._series.items()):
            if now - series.seen < SERIES_SECONDS and len(self._series) <= SERIES:
                break
            if series.count == series.written or len(self._series) > SERIES:
                del self._series[moment]

    def _drop(self, moment: _Moment, why: str) -> None:
        self.dropped += 1
        # Events of a namespace that is being deleted are not needed.
        level = logging.DEBUG if _TERMINATING.search(why) else logging.WARNING
        log.log(level, "an event was dropped (%s %s): %s", moment.reason, moment.note, why)

    def _now(self) -> float:
        return self._clock.monotonic()


def _reference(thing: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """An ObjectReference of an object's body, or of what is one already; in a form that can be compared and hashed."""
    metadata = thing.get("metadata")
    source = {**metadata, **thing} if isinstance(metadata, Mapping) else thing
    keys = ["apiVersion", "kind", "namespace", "name", "uid"]
    if not isinstance(metadata, Mapping):
        keys += ["resourceVersion", "fieldPath"]  # of an object they would begin a series per write
    return tuple((key, str(source[key])) for key in keys if source.get(key))


def _cut(note: str) -> str:
    data = note.encode()
    if len(data) <= NOTE_BYTES:
        return note
    return data[: NOTE_BYTES - 3].decode("utf-8", "ignore") + "…"
