"""Trying again: how often, with which pauses, on the caller's clock.

Not here: loops that do more between two tries than wait (`session/client.py`), those of threads (`source/failure.py`).
They use `Backoff` alone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sentinel.backoff import Backoff
from sentinel.clock import Clock
from sentinel.errors import TransientError

log = logging.getLogger(__name__)

T = TypeVar("T")


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
