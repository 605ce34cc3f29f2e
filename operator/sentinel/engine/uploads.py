"""Where a box's files go: one URL for each, signed when the box has said how large the file is and what its sha256 is.

The object store takes nothing else with that URL, and keeps the sha256 beside the object: a step that takes it out of
the box's memory cannot put another log in its place without being found out (`ObjectStore.get`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from sentinel.engine.attempt import Attempt
from sentinel.engine.cache import CACHE, PACKED_OVERHEAD, may_save
from sentinel.errors import SentinelError
from sentinel.plan.keys import output, step_artifacts, step_context, step_log
from sentinel.session.journal import SessionState, UploadState
from sentinel.session.messages import Upload
from sentinel.session.records import Packed

log = logging.getLogger(__name__)

TRIES = 3
"""URLs for one file: the store may refuse one, for example because it expired while the box was frozen for a commit."""

OUTPUT = "output"


def artifacts_of(ordinal: int) -> str:
    """What the report artifacts of a step are called in the journal."""
    return f"artifacts/{ordinal}"


def context_of(ordinal: int) -> str:
    """What the build context of a step is called in the journal."""
    return f"context/{ordinal}"


@dataclass(frozen=True, kw_only=True)
class _Due:
    what: str
    key: str
    size: int
    sha256: str
    after: UploadState | Packed | None
    """What the journal said of this file when it became due: the same answer is not answered twice."""


class Uploads:
    """Signs URLs for one attempt's files as its journal grows. `sign` runs until the session ends."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._session = attempt, attempt.session
        self._ids = {step.ordinal: step.id for step in attempt.plan.steps}
        self._tries: dict[str, int] = {}
        self._answered: dict[str, object] = {}

    async def sign(self) -> None:
        """Answer every file that is ready with a URL. What goes wrong is logged: a log that is not in the store is
        missed when the box is closed."""
        if self._attempt.tools.store is None:
            return
        try:
            while True:
                state = await self._session.wait_for(lambda state: any(self._due(state)))
                for due in list(self._due(state)):
                    await self._answer(due)
        except SentinelError as e:
            log.info("build %s/%s: no more URLs are signed: %s", *self._attempt.run.key, e.message)

    def _due(self, state: SessionState) -> Iterator[_Due]:
        prefix = self._attempt.plan.results_prefix
        for ordinal, step_id in self._ids.items():
            step, what = state.steps.get(ordinal), f"log/{ordinal}"
            known = state.uploads.get(what)
            if step is None or not step.log.sha256 or (known and known.state == "uploaded"):
                continue
            if self._open(what, known):
                yield _Due(
                    what=what,
                    key=step_log(prefix, step_id),
                    size=step.log.bytes,
                    sha256=step.log.sha256,
                    after=known,
                )
        keys = {artifacts_of(n): step_artifacts(prefix, each) for n, each in self._ids.items()}
        keys |= {context_of(n): step_context(prefix, each) for n, each in self._ids.items()}
        if may_save(self._attempt):
            keys[CACHE] = self._attempt.plan.cache.key
        for what, key in {OUTPUT: output(prefix), **keys}.items():
            packed = state.packed.get(what)
            if packed is None or what in state.collected:
                continue
            after = state.uploads.get(what) or packed
            if not self._open(what, after):
                continue
            # The box has packed no more than it was allowed to; what else speaks for it may say anything.
            if what != CACHE or packed.bytes <= self._attempt.plan.cache.limit + PACKED_OVERHEAD:
                yield _Due(what=what, key=key, size=packed.bytes, sha256=packed.sha256, after=after)

    def _open(self, what: str, known: object) -> bool:
        if self._tries.get(what, 0) >= TRIES:
            return False
        return what not in self._answered or self._answered[what] is not known

    async def _answer(self, due: _Due) -> None:
        store = self._attempt.tools.store
        assert store is not None  # noqa: S101 - sign has looked
        tried = self._tries.get(due.what, 0)
        self._tries[due.what], self._answered[due.what] = tried + 1, due.after
        # A server that does not know conditional writes refuses the first one. A cache takes the place of the last one.
        once = tried == 0 and due.what != CACHE
        url, headers = store.presign_put(due.key, size=due.size, sha256=due.sha256, once=once)
        await self._session.upload(due.what, Upload(url=url, headers=headers))
