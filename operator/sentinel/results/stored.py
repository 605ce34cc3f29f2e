"""A Build's objects in the store: which there are, and their bytes piece by piece.

Every key is derived from the namespace that the user was authorized for and the Build's uid. Of the status, which the
operator writes, only the application's segment, the attempt and the ids of steps are used, each as one segment of the
key: whatever a status contains, the key is one of this Build's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from sentinel.api.build import BuildStatus, StepStatus
from sentinel.clock import parse_rfc3339
from sentinel.plan.keys import output, results_prefix, step_log
from sentinel.results.query import LogQuery
from sentinel.store.objects import ObjectInfo

PIECE = 256 * 1024
"""Bytes that are read at once, and so are in memory for one answer."""
TAIL_PIECE = 64 * 1024
TAIL_BYTES = 4 * 1024 * 1024
"""Bytes at the end of a log in which its last lines are looked for."""


class Store(Protocol):
    """What is needed of the object store."""

    async def head(self, key: str) -> ObjectInfo | None:
        """Size and sha256, or None where there is no such object."""

    async def read(self, key: str, *, start: int, length: int) -> bytes:
        """`length` bytes from `start`, fewer at the end."""


class Changed(Exception):
    """The object is not the one that was stored first."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where one Build's results lie."""

    prefix: str

    @classmethod
    def of(
        cls, status: BuildStatus, *, store_prefix: str, namespace: str, uid: str
    ) -> Results | None:
        """None where the Build has stored nothing."""
        if status.results is None:
            return None
        # <prefix>/<namespace>/project-artifacts/<application>/<uid>/<attempt>/
        parts = status.results.prefix.rstrip("/").split("/")
        if len(parts) < 3 or not (parts[-1].isascii() and parts[-1].isdigit()):
            return None
        return cls(
            prefix=results_prefix(
                prefix=store_prefix,
                namespace=namespace,
                app_id=parts[-3],
                build_uid=uid,
                attempt=int(parts[-1]),
            )
        )

    def log(self, step: StepStatus) -> str:
        """The key of a step's log."""
        return step_log(self.prefix, step.id)

    @property
    def output(self) -> str:
        """The key of the output's archive."""
        return output(self.prefix)


def wanted(status: BuildStatus, query: LogQuery) -> list[StepStatus]:
    """The steps that began and are asked for: by id, or else by name. With `since`, those that ended later, or run."""
    steps = [step for step in status.steps if query.step == step.id] or [
        step for step in status.steps if query.step in ("", step.name, step.display_name)
    ]
    return [step for step in steps if step.start_time and not _over(step, query)]


def _over(step: StepStatus, query: LogQuery) -> bool:
    """Whether the step ended before the time that was asked for."""
    if query.since is None or not step.completion_time:
        return False
    try:
        return parse_rfc3339(step.completion_time) < query.since
    except ValueError:
        return False


async def pieces(store: Store, info: ObjectInfo, start: int, end: int) -> AsyncIterator[bytes]:
    """The object's bytes from `start` to `end`.

    Raises Changed instead of the last piece where they are not those that the object was signed for; that is checked of
    a whole object only.
    """
    whole = hashlib.sha256() if info.sha256 and (start, end) == (0, info.size) else None
    at = start
    while at < end:
        data = await store.read(info.key, start=at, length=min(PIECE, end - at))
        if not data:
            raise Changed(f"{info.key} has become shorter")
        at += len(data)
        if whole is not None:
            whole.update(data)
            if at >= end and whole.hexdigest() != info.sha256:
                raise Changed(f"{info.key} was changed after it was stored")
        yield data


async def start_of_tail(store: Store, info: ObjectInfo, lines: int) -> int:
    """Where the last `lines` lines of a log begin, or the last TAIL_BYTES of it."""
    at, found = info.size, 0
    if not lines:
        return at
    lowest = max(0, info.size - TAIL_BYTES)
    while at > lowest:
        start = max(lowest, at - TAIL_PIECE)
        data = await store.read(info.key, start=start, length=at - start)
        end = len(data)
        if at == info.size and data.endswith(b"\n"):
            end -= 1
        while (newline := data.rfind(b"\n", 0, end)) >= 0:
            found += 1
            if found == lines:
                return start + newline + 1
            end = newline
        at = start
    return lowest
