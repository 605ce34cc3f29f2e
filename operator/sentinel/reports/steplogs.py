"""The chunks of a step's log, read from the object store a block at a time: never a whole log in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

from sentinel.errors import GoneError, SentinelError
from sentinel.plan.keys import segment, step_log
from sentinel.reports.event import Event, Rank
from sentinel.reports.logs import CHUNK, Piece, pieces
from sentinel.reports.sequence import Reported
from sentinel.settings import Settings

BLOCK = 12 * CHUNK
"""Bytes of a log in memory."""


class Store(Protocol):
    """What is needed of the object store."""

    async def size(self, key: str) -> int | None: ...

    async def read(self, key: str, *, start: int, length: int) -> bytes: ...


class NotStored(Exception):
    """A log that the box has not stored yet, or that the store does not give now."""


class Logs:
    """Logs of steps. Without a store, or with a limit of 0, there are none."""

    def __init__(self, store: Store | None, *, settings: Settings) -> None:
        self._store = store
        self._most = settings.reports.log_kib * 1024
        self._prefix = settings.store.prefix

    async def chunks(
        self, seen: Reported, event: Event, *, behind: Rank
    ) -> AsyncIterator[tuple[Event, bytes]]:
        """The chunks of a STEP_LOG behind a rank, each as an event of its own. Raises NotStored.

        A log that is missing when its build has ended is skipped: the box ended before it stored it.
        """
        first = behind.chunk if behind[:4] == event.rank[:4] else 0
        text = event.data.get("text")
        if text is not None:
            if text and first < 1:
                yield _chunk(event, 1), text.encode()
            return
        key = log_key(seen, event, prefix=self._prefix)
        if self._store is None or not self._most or not key:
            return
        block, block_start = b"", 0
        try:
            size = await self._store.size(key)
            if size is None:
                if seen.final:
                    return
                raise NotStored(f"the log of {event.step} is not stored yet")
            for piece in pieces(size, most=self._most):
                if piece.number <= first:
                    continue
                if not piece.text and not _holds(block, block_start, piece):
                    length = min(BLOCK, size - piece.start)
                    block = await self._store.read(key, start=piece.start, length=length)
                    block_start = piece.start
                offset = piece.start - block_start
                data = piece.text.encode() or block[offset : offset + piece.length]
                yield _chunk(event, piece.number), data
        except GoneError:
            return
        except SentinelError as error:
            raise NotStored(error.message) from None


def log_key(seen: Reported, event: Event, *, prefix: str) -> str:
    """The key of a step's log, empty where the status names a place that is not this Build's own."""
    build, results = seen.build, seen.build.status.results
    if results is None:
        return ""
    parts = [*(part for part in prefix.split("/") if part), build.namespace, "project-artifacts"]
    head = "/".join(parts) + "/"
    application, _, rest = results.prefix.removeprefix(head).partition("/")
    uid, _, attempt = rest.removesuffix("/").partition("/")
    ours = results.prefix.startswith(head) and uid == build.uid and attempt.isdecimal()
    if not ours or segment(application) != application:
        return ""
    return step_log(results.prefix, event.step)


def _chunk(event: Event, number: int) -> Event:
    return replace(event, rank=event.rank._replace(chunk=number))


def _holds(block: bytes, start: int, piece: Piece) -> bool:
    return start <= piece.start and piece.start + piece.length <= start + len(block)
