"""Which WorkflowRuns are looked at: those that changed, those of which a Build changed, and all of them now and then.

A queue of names without any state of the runs: a name that is there twice is looked at once, and never by two tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

from sentinel.backoff import Backoff
from sentinel.engine.board import Key, key_of
from sentinel.errors import SentinelError, TransientError
from sentinel.plan.workflow import KIND

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Runs that are looked at at the same time."""

AT_ONCE_EACH = 4
"""Those of one namespace among them: a server that a tenant names may take minutes to answer."""

BACKOFF = Backoff(first=1.0, longest=60.0)
"""Seconds until a run is looked at again that could not be brought further, growing from first to longest."""

MOST_FAILURES = 8
"""A run that we failed with so often in a row, not for a passing reason, ends as Errored."""

MOST_SEEN = 4096
"""Builds whose phase is remembered, so that not every line of their status is news."""


def is_over(raw: Mapping[str, Any]) -> bool:
    """Whether a run has ended and no further retry is asked for, as far as that is certain."""
    status = raw.get("status") or {}
    conditions = status.get("conditions") or ()
    finished = any(c.get("type") == "Finished" and c.get("status") == "True" for c in conditions)
    retry = (raw.get("spec") or {}).get("retry") or 0
    return finished and retry <= (status.get("retry") or 0)


class Reconciles(Protocol):
    """What `Reconciler` does."""

    async def reconcile(self, key: Key) -> None: ...

    async def give_up(self, key: Key, why: str) -> None: ...


class Workflows:
    """Drives WorkflowRuns through `reconciler`."""

    def __init__(self, reconciler: Reconciles) -> None:
        self._reconciler = reconciler
        self._due: OrderedDict[Key, None] = OrderedDict()
        self._busy: dict[Key, asyncio.Task[None]] = {}
        self._failures: dict[Key, int] = {}
        self._phases: OrderedDict[str, str] = OrderedDict()
        self._wake = asyncio.Event()

    def offer(self, raw: Mapping[str, Any]) -> None:
        """A WorkflowRun as it is now. One that has ended costs no request: at a start all of them come."""
        if not is_over(raw):
            self._add(key_of(dict(raw)))

    def gone(self, raw: Mapping[str, Any]) -> None:
        """A WorkflowRun was deleted; the cluster deletes its Builds."""
        key = key_of(dict(raw))
        self._due.pop(key, None)
        self._failures.pop(key, None)

    def built(self, raw: Mapping[str, Any], *, deleted: bool = False) -> None:
        """A Build as it is now: news for its run where its phase is another one, or it is gone."""
        meta = raw["metadata"]
        for owner in meta.get("ownerReferences") or ():
            if owner.get("kind") != KIND:
                continue
            phase = "gone" if deleted else str((raw.get("status") or {}).get("phase") or "")
            uid = meta["uid"]
            if self._phases.get(uid) == phase:
                return
            self._phases[uid] = phase
            self._phases.move_to_end(uid)
            if len(self._phases) > MOST_SEEN:
                self._phases.popitem(last=False)
            self._add((meta["namespace"], str(owner.get("name"))))
            return

    async def run(self) -> None:
        """Look at what is due, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._start_due()
        finally:
            tasks = list(self._busy.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, key: Key) -> None:
        self._due[key] = None
        self._wake.set()

    def _start_due(self) -> None:
        shares = Counter(namespace for namespace, _ in self._busy)
        for key in [each for each in self._due if each not in self._busy]:
            if len(self._busy) >= AT_ONCE:
                return
            if shares[key[0]] >= AT_ONCE_EACH:
                continue
            shares[key[0]] += 1
            del self._due[key]
            task = asyncio.create_task(self._look(key), name=f"workflow {'/'.join(key)}")
            self._busy[key] = task
            task.add_done_callback(lambda _, key=key: self._done(key))  # type: ignore[misc]

    def _done(self, key: Key) -> None:
        del self._busy[key]
        self._wake.set()

    async def _look(self, key: Key) -> None:
        try:
            await self._reconciler.reconcile(key)
        except TransientError as e:
            log.warning("workflow run %s: %s; trying again", "/".join(key), e.message)
            # It passes: it is counted for the pause, and never ends the run.
            count = min(self._failures.get(key, 0) + 1, MOST_FAILURES - 1)
        except Exception as e:
            log.exception("workflow run %s: trying again", "/".join(key))
            count = self._failures.get(key, 0) + 1
            if count >= MOST_FAILURES:
                await self._give_up(key, e)
        else:
            self._failures.pop(key, None)
            return
        self._failures[key] = count
        asyncio.get_running_loop().call_later(BACKOFF.pause(count), self._add, key)

    async def _give_up(self, key: Key, error: Exception) -> None:
        # Of what is no error of ours only the type: its text may hold what nobody may read.
        why = error.message if isinstance(error, SentinelError) else type(error).__name__
        try:
            await self._reconciler.give_up(key, f"{why}. Its log has more; please report it")
        except Exception:
            log.exception("workflow run %s: its end is not written", "/".join(key))
