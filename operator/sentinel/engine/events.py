"""The reporter that writes Kubernetes events on the Build: about six per build, and nothing depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sentinel.api.build import StepStatus
from sentinel.api.reasons import Reason
from sentinel.engine.reporter import Reporter
from sentinel.kube.events import Recorder
from sentinel.plan.model import Plan
from sentinel.text import count_of

MOST_EVENTS = 100
"""Of one Build while one operator drives it: what a box does decides over how many there are."""


class EventReporter(Reporter):
    """Events of one Build; `raw` is the object they are about. Past MOST_EVENTS only its end is reported."""

    def __init__(self, recorder: Recorder, raw: dict[str, Any]) -> None:
        self._recorder = recorder
        self._raw = raw
        self._count = 0

    def accepted(self, *, plan: Plan) -> None:
        self._say(
            "Accepted",
            "Plan",
            f"pipeline {plan.pipeline!r} at {plan.source.short}: {count_of(len(plan.steps), 'step')}",
        )

    def noticed(self, *, message: str) -> None:
        self._warn("Notice", "Run", message)

    def started(self, *, plan: Plan, node: str) -> None:
        self._say("Started", "Run", f"the box {plan.box.name} answers on node {node}")

    def step_finished(self, *, step: StepStatus) -> None:
        if step.state == "Failed":
            self._warn(
                "StepFailed", "Run", f"step {step.display_name!r}: {step.message or step.reason}"
            )

    def image_pushed(self, *, repository: str, digest: str, tags: Sequence[str]) -> None:
        self._say("ImagePushed", "Commit", f"{repository}@{digest} as {', '.join(tags)}")

    def attempt_lost(self, *, attempt: int, reason: Reason, message: str, again: bool) -> None:
        then = "a new pod follows" if again else "no other pod follows"
        self._warn("AttemptLost", "Retry", f"attempt {attempt}: {reason}: {message}; {then}")

    def finished(self, *, succeeded: bool, reason: Reason | str, message: str) -> None:
        self._count = 0
        (self._say if succeeded else self._warn)("Finished", "Finish", f"{reason}: {message}")

    def _say(self, reason: str, action: str, note: str) -> None:
        self._record(reason, action, note, "Normal")

    def _warn(self, reason: str, action: str, note: str) -> None:
        self._record(reason, action, note, "Warning")

    def _record(
        self, reason: str, action: str, note: str, type_: Literal["Normal", "Warning"]
    ) -> None:
        self._count += 1
        if self._count <= MOST_EVENTS:
            self._recorder.record(
                self._raw, reason=reason, action=action, note=note[:1024], type=type_
            )
