"""One Build's reports to one receiver: what its status implies and its cursor does not have, one after another."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import Counter

from sentinel.observe.metrics import REGISTRY
from sentinel.reports.cursors import DONE, Cursors
from sentinel.reports.destinations import Destination
from sentinel.reports.event import Kind, Rank
from sentinel.reports.lane import Turn
from sentinel.reports.post import Post
from sentinel.reports.sender import Answer, NotSent
from sentinel.reports.sequence import Reported, events
from sentinel.reports.steplogs import Logs, NotStored, Store
from sentinel.settings import Settings

log = logging.getLogger(__name__)

REPORTS = Counter(
    "sentinel_reports",
    "Reports by kind of receiver (-ns: named by a namespace) and result: taken, refused (skipped), "
    "failed (tried again).",
    ["receiver", "result"],
    registry=REGISTRY,
)

BATCH = 64
"""Requests of one build before another one of the lane has its turn."""
LOG_SECONDS = 2.0
"""Until a log is looked for again that the box has not stored yet, or that the store does not give."""


class Send(Protocol):
    """The way out. Raises NotSent."""

    async def __call__(self, post: Post, *, ours: bool, secret: bool) -> Answer: ...


@dataclass
class Progress:
    """How a build's turn went. `complete`: the receiver has everything. `refused`: reports that it did not want."""

    turn: Turn = Turn.REST
    after: float = 0.0
    sent: int = 0
    complete: bool = False
    refused: list[str] = field(default_factory=list)


class _Failed(Exception):
    """A report that did not arrive."""

    def __init__(self, turn: Turn, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.turn = turn
        self.after = after


class _Enough(Exception):
    """BATCH requests were sent."""


class Delivery:
    """Sends reports and moves the cursors."""

    def __init__(
        self, *, settings: Settings, cursors: Cursors, send: Send, store: Store | None
    ) -> None:
        self._settings = settings
        self._cursors = cursors
        self._send = send
        self._logs = Logs(store, settings=settings)

    async def send_all(self, seen: Reported, destination: Destination) -> Progress:
        """Send until nothing is left, BATCH is reached or something fails."""
        progress = Progress()
        try:
            await self._send_all(seen, destination, progress)
        except _Enough:
            progress.turn = Turn.AGAIN
        except NotStored as error:
            log.debug("reports of build %s wait: %s", seen.build.uid, error)
            progress.turn, progress.after = Turn.LATER, LOG_SECONDS
        except _Failed as error:
            progress.turn, progress.after = error.turn, error.after
            REPORTS.labels(destination.kind, "failed").inc()
            text = "reports of build %s/%s are tried again: %s"
            log.warning(text, seen.build.namespace, seen.build.name, error)
        return progress

    async def _send_all(self, seen: Reported, destination: Destination, progress: Progress) -> None:
        uid, kind = seen.build.uid, destination.kind
        origin = seen.origin(self._settings)
        last = None
        for event in events(seen, settings=self._settings):
            last = event
            position = self._cursors.get(uid, kind)
            if event.kind is Kind.STEP_LOG:
                if not destination.logs or position >= _behind(event.rank):
                    continue
                async for part, chunk in self._logs.chunks(seen, event, behind=position):
                    await self._post(destination.make(part, origin, chunk), destination, progress)
                    self._cursors.advance(uid, kind, part.rank)
                    if progress.sent >= BATCH:
                        raise _Enough
            elif event.rank > position:
                post = destination.make(event, origin, None)
                if post is not None:
                    await self._post(post, destination, progress)
                self._cursors.advance(uid, kind, event.rank)
                if progress.sent >= BATCH:
                    raise _Enough
        if last is not None and last.kind is Kind.COMPLETED:
            self._cursors.advance(uid, kind, DONE)
            progress.complete = True

    async def _post(self, post: Post | None, destination: Destination, progress: Progress) -> None:
        """Send one request. Raises _Failed where it should be tried again."""
        if post is None:
            return
        label = destination.label
        try:
            answer = await self._send(post, ours=destination.ours, secret=destination.secret)
        except NotSent as error:
            raise _Failed(Turn.FAILED, f"no report to {label}: {error}") from None
        status = answer.status
        text = f"{label} answered {status}"
        limited = status == 403 and answer.retry_after > 0  # GitHub's way to say 429
        if (
            limited
            or status in (401, 408, 425, 429)
            or (status >= 500 and not _unknown(post, status))
        ):
            raise _Failed(Turn.FAILED, text, after=answer.retry_after)
        if 300 <= status < 400 or (status in (403, 404, 405, 410) and not _unknown(post, status)):
            # Perhaps a wrong URL, or a token without the right; another build's reports may be taken.
            raise _Failed(Turn.FAILED_BUILD, text, after=answer.retry_after)
        progress.sent += 1
        taken = 200 <= status < 300 or status == 409  # 409: it has this one already
        skipped = not taken and not _unknown(post, status)
        REPORTS.labels(destination.kind, "refused" if skipped else "taken").inc()
        if skipped:
            progress.refused.append(f"{text}; the report is skipped")


def _unknown(post: Post, status: int) -> bool:
    """Whether the receiver does not know such reports, and need not."""
    return post.optional and status in (404, 405, 410, 501)


def _behind(rank: Rank) -> Rank:
    """The first rank behind all chunks of a log."""
    return rank._replace(part=rank.part + 1, chunk=0)
