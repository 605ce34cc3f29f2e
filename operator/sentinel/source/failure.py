"""How this library fails, and how long it tries: one error per reason, one clock, one retry loop.

Standard library and `sentinel.api.reasons` only: the init container uses it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, InternalError, SentinelError

TRIES = 3

T = TypeVar("T")


class Hopeless(InfrastructureError):
    """A failure of the platform's that another try would not mend."""


class CalledOff(Exception):
    """The Build was cancelled while this was going on."""


def failed(reason: Reason, message: str) -> SentinelError:
    """The error for a reason: UserError, InfrastructureError or, for Internal, InternalError."""
    if reason is Reason.INTERNAL:
        return InternalError(message, reason=reason)
    return reason.error(message)


class Deadline:
    """When to stop, `seconds` from now or when another thread calls `cancel`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End it now."""
        self._cancelled.set()

    @property
    def over(self) -> bool:
        """Whether there is no time left."""
        return self._cancelled.is_set() or time.monotonic() >= self._end

    def left(self, most: float = 1e9) -> float:
        """Seconds that are left, at most `most`. TimeoutError or CalledOff where there are none."""
        if self._cancelled.is_set():
            raise CalledOff
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done within {self.seconds:g} seconds")
        return min(left, most)

    def rest(self, seconds: float) -> None:
        """Wait. TimeoutError or CalledOff as in `left`."""
        self._cancelled.wait(self.left(seconds))
        self.left()


def patiently(action: Callable[[], T], *, deadline: Deadline, pause: float = 0.5) -> T:
    """Try up to TRIES times, as long as the failure is the network's or the server's. `pause` is in seconds."""
    for attempt in range(1, TRIES):
        try:
            return action()
        except Hopeless:
            raise
        except InfrastructureError as error:
            try:
                deadline.rest(attempt * pause * random.uniform(0.6, 1.6))  # noqa: S311 - jitter
            except TimeoutError:
                raise error from None
    return action()
