"""How long the times of a Build may be: each has a greatest value, and those that bound something are not 0."""

from __future__ import annotations

from sentinel.api.build import Build
from sentinel.api.model import seconds
from sentinel.api.reasons import Reason
from sentinel.errors import UserError

HOUR = 3600
LONGEST = {
    "timeouts.pending": 24 * HOUR,
    "timeouts.build": 7 * 24 * HOUR,
    "timeouts.command": 7 * 24 * HOUR,
    "timeouts.noResponse": 7 * 24 * HOUR,
    "ttlAfterFinished": 366 * 24 * HOUR,
}
"""Field of the spec → seconds that it may be at most."""


def check_durations(build: Build) -> None:
    """Raises UserError InvalidSpec naming each duration that is 0 where that means nothing, or too long."""
    timeouts = build.spec.timeouts
    stated = {
        "timeouts.pending": timeouts.pending,
        "timeouts.build": timeouts.build,
        "timeouts.command": timeouts.command,
        "timeouts.noResponse": timeouts.no_response,
        "ttlAfterFinished": build.spec.ttl_after_finished,
    }
    problems = []
    for field, text in stated.items():
        if text is None:
            continue
        value, longest = seconds(text), LONGEST[field]
        if value > longest:
            problems.append(
                f"spec.{field}: {text} is longer than {longest // HOUR}h, the most it can be"
            )
        elif value < 1 and field != "ttlAfterFinished":
            problems.append(
                f"spec.{field}: {text} is shorter than 1s; leave the field out for its default"
            )
    if problems:
        raise UserError("; ".join(problems), reason=Reason.INVALID_SPEC)
