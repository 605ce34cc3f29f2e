"""Trying again: how often, with which pauses, on the caller's clock.

Not here: loops that do more between two tries than wait (`session/client.py`), those of threads (`source/failure.py`).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from sentinel.clock import Clock
from sentinel.errors import TransientError

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Pauses that double from `first` to `longest` seconds, each shorter or longer by up to the share `jitter`.

    `tries` counts the first one too; 0 is no limit.
    """

    first: float
    longest: float
    tries: int = 0
    jitter: float = 0.5

    def pause(self, tried: int, *, asked: float | None = None) -> float:
        """Seconds to wait after `tried` tries, counted from 1; `asked` is what a server wants instead."""
        if asked is not None:
            return min(asked, self.longest)
        seconds = min(self.first * 2.0 ** min(tried - 1, 32), self.longest)
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311


async def retry(
    work: Callable[[], Awaitable[T]],
    *,
    clock: Clock,
    backoff: Backoff,
    what: str,
    passing: type[Exception] = TransientError,
    unless: tuple[type[Exception], ...] = (),
) -> T:
    """The result of `work`, tried again after each `passing` error but those of `unless`. Raises the last one.

    `what` is for the log: it failed, and is retried.
    """
    tried = 0
    while True:
        tried += 1
        try:
            return await work()
        except passing as error:
            if isinstance(error, unless) or tried == backoff.tries:
                raise
            log.warning("%s failed, retrying: %s", what, error)
            asked = error.retry_after if isinstance(error, TransientError) else None
            await clock.sleep(backoff.pause(tried, asked=asked))
