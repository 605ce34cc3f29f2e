"""Freezing a box, the same for all runtimes: noted in the runtime before, thawed whatever happens, after a crash too.

Not here: how a runtime pauses a container and where it keeps the notes (`Freezer`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from sentinel.agent.failures import CommitFailure
from sentinel.agent.runtimes.base import Freeze
from sentinel.backoff import Backoff
from sentinel.clock import Clock
from sentinel.plan.names import INSTANCE_LABEL, instance_label
from sentinel.retry import retry

COMMIT_LABEL = "sentinel.wercker.com/commit"
CONTAINER_LABEL = "sentinel.wercker.com/container"
"""What notes are labelled with in a runtime."""

_RESUMED = Backoff(first=0.2, longest=1.0, tries=5)


class State(Enum):
    """What a container does. OTHER: it has ended, was removed, or never ran."""

    RUNNING = "running"
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
    """What freezing takes of a runtime. All methods raise CommitFailure."""

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
    await freezer.note(note)
    # An ended container needs no pause, and one that was paused by another is not ours to resume.
    running = await freezer.state(container) is State.RUNNING
    begun = time.perf_counter()
    try:
        if running:
            await freezer.pause(container)
        yield freeze
    finally:
        if running:
            # Whatever ends the block, even a second cancellation, the box must run again.
            await asyncio.shield(_thaw(freezer, note, clock))
            freeze.seconds = time.perf_counter() - begun
        else:
            await freezer.forget(note.key)


async def recover(freezer: Freezer, *, instance: str, clock: Clock) -> tuple[str, ...]:
    """Thaw the containers of this installation's notes, and delete the notes; gives those that were paused."""
    thawed = []
    for note in await freezer.notes():
        if note.instance != instance:
            continue
        if await freezer.state(note.container) is State.PAUSED:
            thawed.append(note.container)
        await _thaw(freezer, note, clock)
    return tuple(thawed)


async def _thaw(freezer: Freezer, note: Note, clock: Clock) -> None:
    async def resume() -> None:
        if await freezer.state(note.container) is State.PAUSED:
            await freezer.resume(note.container)

    await retry(
        resume,
        clock=clock,
        backoff=_RESUMED,
        what=f"resuming container {note.container}",
        passing=CommitFailure,
    )
    await freezer.forget(note.key)
