"""One report of a build, and its place in the order of all reports of that build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self


class Rank(NamedTuple):
    """The place of an event in its build, compared as a tuple. Delivered reports of a build only ever rise in rank.

    `stage`: 0 before the steps, 1 main steps, 2 storing and the result, 3 after-steps, 4 the end. `attempt`: the pod's
    attempt for main steps, else 0. `ordinal`: the step's number from 1, or a place. `part`: 0 started, 1 log,
    2 finished. `chunk`: of a log, from 1.
    """

    stage: int
    attempt: int = 0
    ordinal: int = 0
    part: int = 0
    chunk: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reverse of `str`. Raises ValueError."""
        numbers = [int(part) for part in text.split(".")]
        if len(numbers) != len(cls._fields) or min(numbers) < 0:
            raise ValueError(f"{text!r} is not a rank")
        return cls(*numbers)

    def __str__(self) -> str:
        return ".".join(map(str, self))


class Kind(StrEnum):
    """What happened. The value is the end of the CloudEvents type."""

    STARTED = "started"
    SOURCE_FETCHED = "source.fetched"
    CONFIG_PARSED = "config.parsed"
    STEPS_DETECTED = "steps.detected"
    ENVIRONMENT_SET = "environment.set"
    STEP_STARTED = "step.started"
    STEP_LOG = "step.log"
    STEP_FINISHED = "step.finished"
    FINISHED = "finished"
    COMPLETED = "completed"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One report. `time` is RFC 3339; `step` the safe id of the step it is about, or empty; `data` is plain JSON."""

    rank: Rank
    kind: Kind
    time: str
    step: str = ""
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which Build an event is about."""

    namespace: str
    name: str
    uid: str
    pipeline: str = ""
    url: str = ""
    """A page about the build, or empty."""

    def event_id(self, rank: Rank) -> str:
        """The same for every delivery of one event: receivers drop what they have already."""
        return f"{self.uid}.{rank}"
