"""How this library fails, and how long it tries: one error per reason, one clock, one retry loop.

Few imports: the init container uses it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.errors import InfrastructureError, InternalError, SentinelError

BACKOFF = Backoff(first=0.5, longest=2.0, tries=3)

T = TypeVar("T")


class PermanentFailure(InfrastructureError):
    """An infrastructure failure that another try would not fix."""


class CalledOff(Exception):
    """The Build was cancelled while this was going on."""


def failed(reason: Reason, message: str) -> SentinelError:
    """The error for a reason: UserError, InfrastructureError or, for Internal, InternalError."""
    if reason is Reason.INTERNAL:
        return InternalError(message, reason=reason)
    return reason.error(message)


class Deadline:
    """When to stop, `seconds` from now or when another thread calls `cancel`. `monotonic` is the clock."""

    def __init__(self, seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.monotonic = monotonic
        self._end = monotonic() + seconds
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End it now."""
        self._cancelled.set()

    @property
    def over(self) -> bool:
        """Whether there is no time left."""
        return self._cancelled.is_set() or self.monotonic() >= self._end

    def left(self, most: float = 1e9) -> float:
        """Seconds that are left, at most `most`. TimeoutError or CalledOff where there are none."""
        if self._cancelled.is_set():
            raise CalledOff
        left = self._end - self.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done within {self.seconds:g} seconds")
        return min(left, most)

    def rest(self, seconds: float) -> None:
        """Wait. TimeoutError or CalledOff as in `left`."""
        self._cancelled.wait(self.left(seconds))
        self.left()


def retry_until(deadline: Deadline, action: Callable[[], T], *, backoff: Backoff = BACKOFF) -> T:
    """The result of `action`, tried again while the network or the server fails and there is time left.

    The last failure is raised; CalledOff where the deadline was cancelled meanwhile.
    """
    tried = 0
    while True:
        tried += 1
        try:
            return action()
        except PermanentFailure:
            raise
        except InfrastructureError as error:
            if tried == backoff.tries:
                raise
            try:
                deadline.rest(backoff.pause(tried))
            except TimeoutError:
                raise error from None
