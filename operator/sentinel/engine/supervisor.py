"""Which builds run: one task per active build, a limit, fair between namespaces, and a resync that forgets nothing.

A handler only calls `offer` or `gone`. A build beyond the limit is shown as Queued until its turn. A task that fails
for a passing reason is started again: `run_build` begins by looking, so a restart within one process is the same as
one after `kill -9`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.engine.board import key_of
from sentinel.engine.run import Run, Tools
from sentinel.errors import GoneError, InternalError, TransientError
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import BUILDS
from sentinel.plan.names import FINISHED_LABEL

log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_LONGEST = 1.0, 30.0
"""Seconds between two tries of a build that we could not drive, growing from first to longest."""

MOST_MISTAKES = 5
"""A build that we failed with so often ends as Errored, reason Internal: a mistake of ours must not last for ever."""

MOST_ENDED = 4096
"""How many builds are remembered that have ended: a list that was on its way may still offer one as it was."""

MakeRun = Callable[[dict[str, Any]], Run]


class Supervisor:
    """Drives builds. `make_run` prepares one from its raw object; `drive` is `run_build`, `queue` is `say_queued`."""

    def __init__(
        self,
        *,
        tools: Tools,
        make_run: MakeRun,
        drive: Callable[[Run], Awaitable[None]],
        queue: Callable[[Run], Awaitable[None]],
    ) -> None:
        self._tools = tools
        self._make_run = make_run
        self._drive = drive
        self._queue = queue
        self._active: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, Run] = {}
        self._waiting: OrderedDict[str, deque[dict[str, Any]]] = OrderedDict()
        self._known: set[str] = set()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._untold: deque[dict[str, Any]] = deque()
        self._telling: tuple[str, asyncio.Task[None]] | None = None
        self._wake = asyncio.Event()
        self._draining = False

    @property
    def active(self) -> int:
        """How many builds are driven now."""
        return len(self._active)

    def offer(self, raw: dict[str, Any]) -> None:
        """A Build as it is now. Starts it, tells a running one that it was cancelled, or does nothing."""
        self._tools.builds.offer(raw)
        uid = raw["metadata"]["uid"]
        if raw["metadata"].get("labels", {}).get(FINISHED_LABEL) == "true":
            return
        if raw["metadata"].get("deletionTimestamp"):
            # Somebody waits for what it owns to go first: no work for it, and no new pod, from now on.
            self._let_go(uid)
            return
        run = self._runs.get(uid)
        if run is not None:
            if raw.get("spec", {}).get("cancel"):
                run.cancelled.set()
        elif uid not in self._known and uid not in self._ended and not self._draining:
            self._known.add(uid)
            self._waiting.setdefault(raw["metadata"]["namespace"], deque()).append(raw)
            self._untold.append(raw)
            self._wake.set()

    def gone(self, raw: dict[str, Any]) -> None:
        """A Build left the watch: deleted, or labelled as finished. Only the first ends its task."""
        uid = raw["metadata"]["uid"]
        if raw["metadata"].get("labels", {}).get(FINISHED_LABEL) == "true":
            self._tools.builds.forget(key_of(raw))
            return
        self._tools.builds.offer(raw, deleted=True)
        self._tools.builds.forget(key_of(raw))
        self._let_go(uid)

    async def run(self) -> None:
        """Start what waits, as the limit allows, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while len(self._active) < self._tools.settings.max_builds:
                    raw = self._next()
                    if raw is None:
                        break
                    self._start(raw)
                self._tell_next()
        finally:
            if self._telling is not None:
                self._telling[1].cancel()

    async def drain(self) -> None:
        """Let go of all builds: their pods run on, and whoever leads next goes on from there."""
        self._draining = True
        tasks = list(self._active.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _let_go(self, uid: str) -> None:
        task = self._active.get(uid)
        if task is not None:
            task.cancel()

    def _tell_next(self) -> None:
        """Show the next build that has to wait as Queued, one at a time: whoever has its turn tells more itself."""
        if self._telling is not None and not self._telling[1].done():
            return
        while self._untold:
            raw = self._untold.popleft()
            uid = raw["metadata"]["uid"]
            if uid in self._known and uid not in self._active:
                task = asyncio.create_task(self._tell(raw), name=f"queued {'/'.join(key_of(raw))}")
                task.add_done_callback(lambda _: self._wake.set())
                self._telling = uid, task
                return

    async def _tell(self, raw: dict[str, Any]) -> None:
        try:
            await self._queue(self._make_run(raw))
        except Exception:
            # It is a word for people; the build gets its turn all the same.
            log.warning("build %s/%s is not shown as Queued", *key_of(raw), exc_info=True)

    def _next(self) -> dict[str, Any] | None:
        """The longest waiting build of the namespace that has waited longest for its turn."""
        if not self._waiting:
            return None
        namespace, queue = next(iter(self._waiting.items()))
        raw = queue.popleft()
        if queue:
            self._waiting.move_to_end(namespace)
        else:
            del self._waiting[namespace]
        return raw

    def _start(self, raw: dict[str, Any]) -> None:
        uid = raw["metadata"]["uid"]
        task = asyncio.create_task(self._keep_driving(raw), name=f"build {'/'.join(key_of(raw))}")
        self._active[uid] = task
        task.add_done_callback(lambda _: self._forget(uid))

    def _forget(self, uid: str) -> None:
        self._active.pop(uid, None)
        self._runs.pop(uid, None)
        self._known.discard(uid)
        self._wake.set()

    async def _keep_driving(self, raw: dict[str, Any]) -> None:
        delay, mistakes = RETRY_FIRST, 0
        namespace, name = key_of(raw)
        uid = raw["metadata"]["uid"]
        if self._telling is not None and self._telling[0] == uid:
            await asyncio.wait({self._telling[1]})
        while True:
            began = self._tools.clock.monotonic()
            try:
                # It may have been cancelled, or written by another operator, while it waited for its turn.
                latest = self._tools.builds.get(key_of(raw))
                if latest is not None and not latest.deleted:
                    raw = latest.raw
                run = self._make_run(raw)
                self._runs[uid] = run
                if raw.get("spec", {}).get("cancel"):
                    run.cancelled.set()
                if mistakes >= MOST_MISTAKES:
                    run.invalid = InternalError(
                        f"the operator failed {mistakes} times with this build; its log says why",
                        reason=Reason.INTERNAL,
                    )
                await self._drive(run)
                self._note_ended(uid)
                return
            except GoneError as e:
                log.info("build %s/%s: %s", namespace, name, e.message)
                return
            except TransientError as e:
                log.warning("build %s/%s: %s; trying again", namespace, name, e.message)
                if self._went_well(began):
                    delay = RETRY_FIRST
            except Exception:
                if self._went_well(began):
                    delay, mistakes = RETRY_FIRST, 0
                mistakes += 1
                log.exception("build %s/%s: trying again in about %.0f s", namespace, name, delay)
            await self._tools.clock.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311
            delay = min(delay * 2, RETRY_LONGEST)
            try:
                raw = await self._tools.kube.get(BUILDS, namespace=namespace, name=name)
                self._tools.builds.offer(raw)
            except NotFound:
                return
            except Exception:
                log.exception("build %s/%s: cannot be read", namespace, name)

    def _went_well(self, began: float) -> bool:
        """Whether a try lasted so long that what ended it has nothing to do with the failures before."""
        return self._tools.clock.monotonic() - began > 2 * RETRY_LONGEST

    def _note_ended(self, uid: str) -> None:
        self._ended[uid] = None
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)
