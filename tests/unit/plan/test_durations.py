"""Durations of a Build have bounds."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.plan.examples import build

from sentinel.api.model import seconds
from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.plan.podpolicy import check_durations


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"timeouts": {"build": "1000000h"}}, "spec.timeouts.build: 1000000h is longer than 168h"),
        ({"timeouts": {"pending": "25h"}}, "spec.timeouts.pending: 25h is longer than 24h"),
        ({"timeouts": {"command": "0s"}}, "spec.timeouts.command: 0s is shorter than 1s"),
        ({"timeouts": {"noResponse": "999ms"}}, "spec.timeouts.noResponse: 999ms is shorter"),
        ({"timeouts": {"build": "0m"}}, "spec.timeouts.build: 0m is shorter than 1s; leave"),
        ({"ttlAfterFinished": "99999999999h"}, "spec.ttlAfterFinished: 99999999999h is longer"),
    ],
)
def test_what_is_not_a_duration_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_durations(build(**spec))

    assert (message in caught.value.message, caught.value.reason) == (True, Reason.INVALID_SPEC)


def test_all_are_named_at_once_and_the_bounds_themselves_are_fine() -> None:
    with pytest.raises(UserError, match=r"timeouts\.build.*; spec\.ttlAfterFinished"):
        check_durations(build(timeouts={"build": "0s"}, ttlAfterFinished="9999999h"))
    check_durations(build())
    check_durations(
        build(
            timeouts={"pending": "24h", "build": "168h", "command": "1s", "noResponse": "168h"},
            ttlAfterFinished="0s",
        )
    )


def test_a_duration_ends_at_its_end() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds("1h\n")
