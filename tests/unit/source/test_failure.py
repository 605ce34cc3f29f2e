"""Trying again in threads: how often, what is worth it, and until when."""

from __future__ import annotations

import pytest

from sentinel.backoff import Backoff
from sentinel.errors import InfrastructureError
from sentinel.source.failure import CalledOff, Deadline, PermanentFailure, retry_until

AT_ONCE = Backoff(first=0.0, longest=0.0, tries=3)
HOUR = 3600.0


class Failing:
    """An action that fails so many times."""

    def __init__(self, times: int, error: type[InfrastructureError] = InfrastructureError) -> None:
        self.times, self.error, self.tried = times, error, 0

    def __call__(self) -> str:
        self.tried += 1
        if self.tried <= self.times:
            raise self.error(f"failure {self.tried}")
        return "done"


def test_it_is_tried_as_often_as_the_backoff_says() -> None:
    action = Failing(2)
    assert retry_until(Deadline(HOUR), action, backoff=AT_ONCE) == "done"
    action = Failing(3)
    with pytest.raises(InfrastructureError, match="failure 3"):
        retry_until(Deadline(HOUR), action, backoff=AT_ONCE)
    assert action.tried == 3


def test_a_permanent_failure_is_not_retried() -> None:
    action = Failing(1, PermanentFailure)
    with pytest.raises(PermanentFailure, match="failure 1"):
        retry_until(Deadline(HOUR), action, backoff=AT_ONCE)
    assert action.tried == 1


def test_the_deadlines_clock_ends_it_with_the_last_failure() -> None:
    now = 0.0
    deadline = Deadline(60, monotonic=lambda: now)

    def action() -> str:
        nonlocal now
        now += 61
        raise InfrastructureError("no answer")

    with pytest.raises(InfrastructureError, match="no answer"):
        retry_until(deadline, action, backoff=AT_ONCE)
    assert now == 61
    with pytest.raises(TimeoutError, match="60 seconds"):
        deadline.left()


def test_a_cancelled_build_is_not_retried() -> None:
    deadline = Deadline(HOUR)
    deadline.cancel()
    action = Failing(3)
    with pytest.raises(CalledOff):
        retry_until(deadline, action, backoff=Backoff(first=HOUR, longest=HOUR, tries=3))
    assert action.tried == 1
