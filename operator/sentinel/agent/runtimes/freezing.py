"""Freezing a box, the same for all runtimes: noted in the runtime before, thawed whatever happens, after a crash too.

Not here: how a runtime pauses a container and where it keeps the notes (`Freezer`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from sentinel.agent.failures import CommitFailure, RuntimeFailure
from sentinel.agent.runtimes.base import Freeze
from sentinel.backoff import Backoff
from sentinel.clock import Clock
from sentinel.plan.names import INSTANCE_LABEL, instance_label
from sentinel.retry import retry

log = logging.getLogger(__name__)

COMMIT_LABEL = "sentinel.wercker.com/commit"
CONTAINER_LABEL = "sentinel.wercker.com/container"
"""What notes are labelled with in a runtime."""

_FROZEN = Backoff(first=0.2, longest=2.0, tries=9)
"""Ten seconds. Freezing can fail on a busy node: with cgroups v1, runc gives up on a box whose processes get no
processor for some milliseconds: "unable to freeze" (docs/design/2026-11-29-freezing.md)."""

PAUSED_WITHIN = 30.0
"""Seconds from the first try to pause a box to the last. One that fails slowly, as with cgroups v2, stops the box's
processes meanwhile, and all other commits of the node wait."""

_RESUMED = Backoff(first=0.2, longest=1.0, tries=60)
"""A minute: until the agent's next start nothing else makes the box run."""


class State(Enum):
    """What a container does. PAUSING: it will be PAUSED, or RUNNING where that fails. OTHER: it has ended, was removed,
    or never ran."""

    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Note:
    """That a container is, or is about to be, frozen for a commit. `key` names the note in the runtime.

    `instance` is the installation whose agent froze it: others on the same node leave it alone.
    """

    key: str
    commit: str
    container: str
    instance: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The note as labels of something in the runtime."""
        named = {COMMIT_LABEL: self.commit, CONTAINER_LABEL: self.container}
        return named | instance_label(self.instance)

    @classmethod
    def of(cls, key: str, labels: Mapping[str, str]) -> Note:
        """The note that has these labels."""
        found = [labels.get(name, "") for name in (COMMIT_LABEL, CONTAINER_LABEL, INSTANCE_LABEL)]
        return cls(key=key, commit=found[0], container=found[1], instance=found[2])


class Freezer(Protocol):
    """What freezing takes of a runtime. All methods raise RuntimeFailure."""

    async def state(self, container: str) -> State:
        """What the container does now."""

    async def pause(self, container: str) -> None:
        """Pause a running container. One that ended meanwhile is no error."""

    async def resume(self, container: str) -> None:
        """Resume a paused container."""

    async def note(self, note: Note) -> None:
        """Write a note down so that it outlives this process. One that is there already is no error."""

    async def forget(self, key: str) -> None:
        """Delete a note. Never raises: the next start of the agent tries again."""

    async def notes(self) -> tuple[Note, ...]:
        """The notes that are written down, of all installations."""


@asynccontextmanager
async def frozen(
    freezer: Freezer, container: str, *, commit: str, instance: str, clock: Clock
) -> AsyncIterator[Freeze]:
    """Freeze a container for the time of the block (`Runtime.frozen`)."""
    freeze = Freeze()
    note = Note(key=f"sentinel-{commit}", commit=commit, container=container, instance=instance)

    async def write_down() -> State:
        await freezer.note(note)
        state = await freezer.state(container)
        if state is State.PAUSING:
            raise RuntimeFailure("another program is pausing it")
        return state

    state = await retry(
        write_down,
        clock=clock,
        backoff=_FROZEN,
        what=f"preparing to pause container {container}",
        passing=RuntimeFailure,
    )
    if state is not State.RUNNING:
        # An ended container needs no pause, and one that was paused by another is not ours to resume.
        try:
            yield freeze
        finally:
            await freezer.forget(note.key)
        return
    begun = 0.0
    tried = clock.monotonic()
    request: asyncio.Future[None] | None = None

    async def pause() -> None:
        nonlocal begun, request
        begun = time.perf_counter()
        request = asyncio.ensure_future(freezer.pause(container))
        # Not broken off with us: the runtime would go on, and freeze the box after we have looked whether it is.
        try:
            await asyncio.shield(request)
        except RuntimeFailure as error:
            if clock.monotonic() - tried >= PAUSED_WITHIN:
                raise CommitFailure(error.why, error.message) from error
            raise

    async def thaw() -> None:
        if request is not None:
            await asyncio.wait({request})
        await _thaw(freezer, note, clock)

    try:
        await retry(
            pause,
            clock=clock,
            backoff=_FROZEN,
            what=f"pausing container {container}",
            passing=RuntimeFailure,
        )
        yield freeze
    finally:
        # Whatever ends the block, even a second cancellation, the box must run again.
        await asyncio.shield(thaw())
        freeze.seconds = time.perf_counter() - begun


async def recover(freezer: Freezer, *, instance: str, clock: Clock) -> tuple[str, ...]:
    """Thaw the containers of this installation's notes, and delete the notes; gives those that were paused.

    A container that cannot be resumed keeps its note and does not keep the agent from starting: the other boxes of the
    node need it. Raises RuntimeFailure where the notes cannot be read.
    """
    notes = [note for note in await freezer.notes() if note.instance == instance]
    found = await asyncio.gather(*(_recovered(freezer, note, clock) for note in notes))
    return tuple(note.container for note, paused in zip(notes, found, strict=True) if paused)


async def _recovered(freezer: Freezer, note: Note, clock: Clock) -> bool:
    try:
        return await _thaw(freezer, note, clock)
    except CommitFailure as error:
        log.error(
            "container %s may still be paused: %s; the agent's next start tries again",
            note.container,
            error,
        )
        return False


async def _thaw(freezer: Freezer, note: Note, clock: Clock) -> bool:
    """Have the container run, and delete the note. Whether it was paused. Raises CommitFailure, and the note stays."""
    paused = False

    async def resume() -> None:
        nonlocal paused
        state = await freezer.state(note.container)
        if state is State.PAUSING:
            raise RuntimeFailure("the runtime has not finished pausing it")
        if state is State.PAUSED:
            paused = True
            await freezer.resume(note.container)

    await retry(
        resume,
        clock=clock,
        backoff=_RESUMED,
        what=f"resuming container {note.container}",
        passing=CommitFailure,
    )
    await freezer.forget(note.key)
    return paused
