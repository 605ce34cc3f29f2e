"""What is reported of a build: one method for each notable moment.

Stages call these and know nothing more. Events are one reporter; metrics, wercker-api and CloudEvents are others. A
reporter never fails a build: `Reporters` keeps what one raises from the stages.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sentinel.api.build import StepStatus
from sentinel.api.reasons import Reason
from sentinel.plan.model import Plan

log = logging.getLogger(__name__)


class Reporter:
    """Does nothing at every moment. Subclass it and say what should happen."""

    def accepted(self, *, plan: Plan) -> None:
        """The spec, source, wercker.yml and images are fine; the Plan stands."""

    def noticed(self, *, message: str) -> None:
        """Something that people should know of a build that goes on."""

    def pod_created(self, *, plan: Plan, pod: str) -> None:
        """The pod of an attempt exists."""

    def started(self, *, plan: Plan, node: str) -> None:
        """The box answers."""

    def step_finished(self, *, step: StepStatus) -> None:
        """A step has passed, failed or was skipped."""

    def image_pushed(self, *, repository: str, digest: str, tags: Sequence[str]) -> None:
        """The box is an image in the registry."""

    def attempt_lost(self, *, attempt: int, reason: Reason, message: str, again: bool) -> None:
        """The cluster lost an attempt; `again` tells whether another one follows."""

    def finished(self, *, succeeded: bool, reason: Reason | str, message: str) -> None:
        """The build has ended."""


class Reporters(Reporter):
    """All reporters of a build as one."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = tuple(reporters)

    def accepted(self, *, plan: Plan) -> None:
        self._tell("accepted", plan=plan)

    def noticed(self, *, message: str) -> None:
        self._tell("noticed", message=message)

    def pod_created(self, *, plan: Plan, pod: str) -> None:
        self._tell("pod_created", plan=plan, pod=pod)

    def started(self, *, plan: Plan, node: str) -> None:
        self._tell("started", plan=plan, node=node)

    def step_finished(self, *, step: StepStatus) -> None:
        self._tell("step_finished", step=step)

    def image_pushed(self, *, repository: str, digest: str, tags: Sequence[str]) -> None:
        self._tell("image_pushed", repository=repository, digest=digest, tags=tags)

    def attempt_lost(self, *, attempt: int, reason: Reason, message: str, again: bool) -> None:
        self._tell("attempt_lost", attempt=attempt, reason=reason, message=message, again=again)

    def finished(self, *, succeeded: bool, reason: Reason | str, message: str) -> None:
        self._tell("finished", succeeded=succeeded, reason=reason, message=message)

    def _tell(self, moment: str, **what: object) -> None:
        for reporter in self._reporters:
            try:
                getattr(reporter, moment)(**what)
            except Exception:
                log.exception("reporter %s failed at %s", type(reporter).__name__, moment)
