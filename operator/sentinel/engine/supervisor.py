"""Which builds run: one task per active build, within the limits of `Slots`, and a resync that forgets nothing.

A handler only calls `offer` or `gone`. A build beyond the limits is shown as Queued until its turn. A task that fails
for a passing reason is started again: `run_build` begins by looking, so a restart within one process is the same as
one after `kill -9`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.engine.board import key_of
from sentinel.engine.held import Held
from sentinel.engine.leftovers import remove_leftovers
from sentinel.engine.run import Run, Tools
from sentinel.engine.slots import Slots
from sentinel.errors import (
    GoneError,
    InternalError,
    NewerPlan,
    ParentPending,
    SentinelError,
    TakenOver,
    TransientError,
)
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import BUILDS
from sentinel.plan.names import FINISHED_LABEL, AttemptId

log = logging.getLogger(__name__)

BACKOFF = Backoff(first=1.0, longest=30.0)
"""Between two tries of a build that we could not drive."""

MOST_CRASHES = 5
"""A build that the operator failed with so often ends as Errored, reason Internal. They are counted in its status: an
operator that was killed by a build must not begin to count again."""

MOST_REFUSALS = 6
"""How often in a row the API server may forbid something before that counts as a crash: one that has just started
refuses everything until it has read its roles. With the pauses that is about a minute."""

MOST_ENDED = 4096
"""How many builds are remembered that have ended: a list that was on its way may still offer one as it was."""

MakeRun = Callable[[dict[str, Any]], Run]


@dataclass(kw_only=True)
class _Failures:
    """What went wrong with a build since it last went well. `why` is that of the last crash."""

    tried: int = 0
    crashes: int = 0
    refusals: int = 0
    why: str = ""

    def add(self, error: Exception) -> bool:
        """Count one. Whether it is a crash, and not something that passes."""
        self.tried += 1
        self.refusals += isinstance(error, Forbidden)
        refused = isinstance(error, Forbidden) and self.refusals <= MOST_REFUSALS
        if refused or isinstance(error, TransientError):
            return False
        self.crashes += 1
        # Of what is no error of ours only the type: its text may hold secrets.
        self.why = str(error) if isinstance(error, SentinelError) else type(error).__name__
        return True


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
        self._slots = Slots(tools.settings)
        self._waiting: OrderedDict[str, OrderedDict[str, dict[str, Any]]] = OrderedDict()
        self._known: set[str] = set()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._held = Held(self._enqueue)
        self._pending: dict[str, tuple[dict[str, Any], ParentPending]] = {}
        self._untold: deque[dict[str, Any]] = deque()
        self._telling: tuple[str, asyncio.Task[None]] | None = None
        self._tidying: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._draining = False

    def offer(self, raw: dict[str, Any]) -> None:
        """A Build as it is now. Starts it, tells a running one that it was cancelled, or does nothing."""
        self._tools.builds.offer(raw)
        uid = raw["metadata"]["uid"]
        if raw["metadata"].get("labels", {}).get(FINISHED_LABEL) == "true":
            return
        if raw["metadata"].get("deletionTimestamp"):
            # A foreground deletion waits for what it owns: no work for it, and no new pod, from now on.
            self._let_go(raw)
            return
        cancelled = bool(raw.get("spec", {}).get("cancel"))
        run = self._runs.get(uid)
        if run is not None:
            if cancelled:
                run.cancelled.set()
            return
        if uid in self._held:
            self._held.renew(raw)
            if not cancelled:
                return
            self._held.drop(uid)
        if uid not in self._known and uid not in self._ended and not self._draining:
            self._enqueue(raw)
            self._untold.append(raw)
            self._held.news(raw)
        if cancelled and not self._draining and self._unqueue(raw):
            # Only its end is left to write: that needs no slot.
            self._start(raw)

    def gone(self, raw: dict[str, Any]) -> None:
        """A Build left the watch: deleted, or labelled as finished. Only the first ends its task."""
        self._held.news(raw)
        if _has_finished(raw):
            self._tools.builds.forget(key_of(raw))
            return
        self._tools.builds.offer(raw, deleted=True)
        self._tools.builds.forget(key_of(raw))
        self._let_go(raw)
        if raw.get("status", {}).get("startTime"):
            task = asyncio.create_task(self._tidy(raw), name=f"tidy {'/'.join(key_of(raw))}")
            self._tidying.add(task)
            task.add_done_callback(self._tidying.discard)

    async def run(self) -> None:
        """Start what waits, as the limit allows, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while (raw := self._next()) is not None:
                    self._start(raw)
                self._tell_next()
        finally:
            if self._telling is not None:
                self._telling[1].cancel()

    async def drain(self) -> None:
        """Let go of all builds: their pods run on, and the next leader continues from there."""
        self._draining = True
        tasks = [*self._active.values(), *self._tidying]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _enqueue(self, raw: dict[str, Any]) -> None:
        """Put a Build at the end of its namespace's queue."""
        uid = raw["metadata"]["uid"]
        self._known.add(uid)
        self._waiting.setdefault(raw["metadata"]["namespace"], OrderedDict())[uid] = raw
        self._wake.set()

    def _let_go(self, raw: dict[str, Any]) -> None:
        """No more work for a Build that is being deleted, or is gone."""
        uid = raw["metadata"]["uid"]
        self._held.drop(uid)
        self._pending.pop(uid, None)
        if self._unqueue(raw):
            self._known.discard(uid)
        task = self._active.get(uid)
        if task is not None:
            task.cancel()

    async def _tidy(self, raw: dict[str, Any]) -> None:
        """Delete what a deleted Build leaves: nothing else does if it was deleted without its dependents."""
        namespace, name = key_of(raw)
        uid = raw["metadata"]["uid"]
        if uid in self._active:
            await asyncio.wait({self._active[uid]})
        try:
            there = await self._tools.kube.get(BUILDS, namespace=namespace, name=name)
        except NotFound:
            there = {}
        except SentinelError as e:
            log.info(
                "build %s/%s: what it left is for the next resync: %s", namespace, name, e.message
            )
            return
        if there and there["metadata"]["uid"] == uid:
            # It has only left our selection.
            return
        attempt = int((raw["status"].get("pod") or {}).get("attempt") or 0)
        await remove_leftovers(self._tools, AttemptId(namespace, name, uid, attempt))

    def _unqueue(self, raw: dict[str, Any]) -> bool:
        """Take a Build out of the queue. Whether it was in it."""
        namespace, uid = raw["metadata"]["namespace"], raw["metadata"]["uid"]
        queue = self._waiting.get(namespace, OrderedDict())
        found = queue.pop(uid, None) is not None
        if found and not queue:
            del self._waiting[namespace]
        return found

    def _tell_next(self) -> None:
        """Show the next build that has to wait as Queued, one at a time: a build that runs reports more itself."""
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
        except GoneError as e:
            log.info("build %s/%s is not shown as Queued: %s", *key_of(raw), e.message)
        except Exception:
            # It is a word for people; the build gets its turn all the same.
            log.warning("build %s/%s is not shown as Queued", *key_of(raw), exc_info=True)

    def _next(self) -> dict[str, Any] | None:
        """The longest waiting build of the namespace that has waited longest for its turn and has a slot left."""
        namespace = next((each for each in self._waiting if self._slots.free(each)), None)
        if namespace is None:
            return None
        queue = self._waiting[namespace]
        _, raw = queue.popitem(last=False)
        if queue:
            self._waiting.move_to_end(namespace)
        else:
            del self._waiting[namespace]
        return raw

    def _start(self, raw: dict[str, Any]) -> None:
        uid = raw["metadata"]["uid"]
        task = asyncio.create_task(self._keep_driving(raw), name=f"build {'/'.join(key_of(raw))}")
        self._active[uid] = task
        self._slots.take(uid, raw["metadata"]["namespace"])
        task.add_done_callback(lambda _: self._forget(uid))

    def _park(self, uid: str, waits: bool) -> None:
        if uid in self._active and self._slots.park(uid, waits):
            self._wake.set()

    def _forget(self, uid: str) -> None:
        self._slots.release(uid)
        self._active.pop(uid, None)
        run = self._runs.pop(uid, None)
        self._known.discard(uid)
        self._wake.set()
        raw, pending = self._pending.pop(uid, (None, None))
        if raw is None or pending is None or self._draining:
            return
        if run is not None and run.cancelled.is_set():
            self._enqueue(raw)
        else:
            # The slot is free for the Build that is waited for.
            self._held.hold(raw, on=pending.parent, within=pending.within)

    async def _keep_driving(self, raw: dict[str, Any]) -> None:
        failures = _Failures()
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
                run.park = partial(self._park, uid)
                self._runs[uid] = run
                if raw.get("spec", {}).get("cancel"):
                    run.cancelled.set()
                failures.crashes = max(failures.crashes, run.writer.status.crashes or 0)
                if failures.crashes >= MOST_CRASHES:
                    run.invalid = InternalError(
                        f"the operator crashed {failures.crashes} times on this Build: "
                        f"{failures.why or 'it was killed while preparing it'}. See its log; please report it",
                        reason=Reason.INTERNAL,
                    )
                await self._drive(run)
                self._note_ended(uid)
                return
            except (GoneError, NewerPlan, ParentPending) as e:
                # The slot is free; the next event or resync offers a build again that a newer operator planned.
                self._set_aside(raw, e)
                return
            except Exception as e:
                if self._went_well(began):
                    failures = _Failures()
                if failures.add(e):
                    log.exception("build %s/%s: retrying", namespace, name)
                    await self._note_crashes(uid, failures.crashes)
                else:
                    log.warning("build %s/%s: %s; retrying", namespace, name, e)
            self._park(uid, False)
            await self._tools.clock.sleep(BACKOFF.pause(failures.tried))
            try:
                raw = await self._tools.kube.get(BUILDS, namespace=namespace, name=name)
                self._tools.builds.offer(raw)
            except NotFound:
                return
            except Exception:
                log.exception("build %s/%s: cannot be read", namespace, name)

    def _set_aside(self, raw: dict[str, Any], why: SentinelError) -> None:
        """A build's task ends, and not because the build has ended."""
        # A Build that was deleted may be missed here before its deletion is heard of.
        worrying = isinstance(why, (TakenOver, NewerPlan))
        level = logging.WARNING if worrying else logging.INFO
        log.log(level, "build %s/%s: %s", *key_of(raw), why.message)
        if isinstance(why, ParentPending):
            self._pending[raw["metadata"]["uid"]] = raw, why

    async def _note_crashes(self, uid: str, crashes: int) -> None:
        """Write the number down. What was not written is still known to this process."""
        run = self._runs.get(uid)
        if run is None:
            return
        try:
            run.writer.change(crashes=crashes)
            await run.writer.flush()
        except Exception:
            log.warning("build %s/%s: its crashes are not written", *run.key, exc_info=True)

    def _went_well(self, began: float) -> bool:
        """Whether a try lasted so long that what ended it has nothing to do with the failures before."""
        return self._tools.clock.monotonic() - began > 2 * BACKOFF.longest

    def _note_ended(self, uid: str) -> None:
        self._ended[uid] = None
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)


def _has_finished(raw: dict[str, Any]) -> bool:
    """Whether a Build has ended. What leaves the watch with its label comes as it was before it had that."""
    if (raw["metadata"].get("labels") or {}).get(FINISHED_LABEL) == "true":
        return True
    conditions = (raw.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Finished" and c.get("status") == "True" for c in conditions)
