"""Images of steps in a Build's status: read, written, and which step the build's own image is of."""

from __future__ import annotations

from sentinel.api.build import StepImage
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.status import MESSAGE_LIMIT
from sentinel.plan.model import PlanStep


def ended_with(attempt: Attempt) -> PlanStep | None:
    """The step that ended the main steps: the one that failed, or the last of them. None where neither ran, as after
    the build's time was over between two steps."""
    known = attempt.session.state.steps
    main = [step for step in attempt.plan.steps if step.phase == "main"]
    ran = [
        step for step in main if step.ordinal in known and known[step.ordinal].state == "finished"
    ]
    if not ran or (ran[-1] is not main[-1] and known[ran[-1].ordinal].passed):
        return None
    return ran[-1]


def image_of(attempt: Attempt, step: PlanStep) -> StepImage | None:
    """What the status says of a step's image."""
    return next((each.image for each in attempt.writer.status.steps if each.id == step.id), None)


def latest_digest(attempt: Attempt, *, but: PlanStep | None = None) -> str:
    """The image of the latest step that has one, `but` for one step, "" for none."""
    steps = [each for each in attempt.writer.status.steps if but is None or each.id != but.id]
    return next(
        (each.image.digest for each in reversed(steps) if each.image and each.image.digest), ""
    )


def note_image(attempt: Attempt, step: PlanStep, image: StepImage) -> None:
    """Put a step's image into the status."""
    steps = [
        each.model_copy(update={"image": image}) if each.id == step.id else each
        for each in attempt.writer.status.steps
    ]
    attempt.writer.change(steps=steps)


def without_image(reason: Reason, message: str) -> StepImage:
    """Why there is no image, as the status has it."""
    return StepImage(reason=reason, message=message[:MESSAGE_LIMIT])
