"""An image of the box after every main step (spec.image.commit: eachStep).

The steps are given to the box one at a time, and the next one only when the image of the one before is in the Build's
status, or why there is none: so an operator that is restarted between the two asks for the same ImageCommit again,
whose name is a function of attempt and step, and the box is still as that step left it. The step that ends the main
steps has no commit of its own: the build's image is its image (`commit.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

from sentinel.api.build import ImageStatus, StepImage, StepStatus
from sentinel.api.imagecommit import ImageCommit
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.boxsteps import step_spec
from sentinel.engine.commit import (
    CommitRequest,
    commit_box,
    image_labels,
    not_in_image,
)
from sentinel.engine.deadline import steps_done
from sentinel.engine.stepnotes import image_of, latest_digest, note_image, without_image
from sentinel.errors import CancelledByUser, InfrastructureError, UserError
from sentinel.plan.model import PlanStep
from sentinel.session.journal import SessionState

log = logging.getLogger(__name__)

MOST_FAILURES = 2
"""Steps in a row without an image, after which none is tried any more: each may have waited half an hour."""


async def run_each(attempt: Attempt) -> SessionState:
    """Run the main steps one after another, with a commit between two; gives the state when each has ended or been
    skipped."""
    session, clock = attempt.session, attempt.tools.clock
    main = [step for step in attempt.plan.steps if step.phase == "main"]
    limit, began = attempt.plan.build_timeout, clock.monotonic()

    async def done(steps: Sequence[PlanStep]) -> SessionState:
        await session.start([step_spec(step) for step in steps])
        left = max(1.0, limit - (clock.monotonic() - began)) if limit > 0 else 0.0
        return await steps_done(session, steps, build_timeout=left)

    for step, following in pairwise(main):
        state = await done([step])
        if not state.steps[step.ordinal].passed:
            break
        try:
            await attempt.run.unless_cancelled(_commit_step(attempt, step, following))
        except CancelledByUser as e:
            # The box has to know before it gets the rest, which it skips then.
            await session.cancel(e.message)
            break
    return await done(main)


async def _commit_step(attempt: Attempt, step: PlanStep, following: PlanStep) -> None:
    """The image of a step that passed, into the Build's status. Doing it again changes nothing.

    `following` must not have been given to the box before this has ended: the box would not be the step's any more.
    """
    earlier = attempt.writer.status.steps
    if image_of(attempt, step) is not None:
        return
    if following.ordinal in attempt.session.state.steps:
        image = without_image(
            Reason.COMMIT_FAILED, "the next step began before the box was committed"
        )
    elif (why := _given_up(earlier)) is not None:
        image = without_image(Reason.SKIPPED, why)
    else:
        image = await _pushed(attempt, step)
    note_image(attempt, step, image)
    if image.digest and attempt.writer.status.image is None:
        # The digests of steps are of no use without it, and a build may end without an image of its own.
        attempt.writer.change(image=ImageStatus(repository=attempt.plan.image.repository))
    await attempt.writer.flush()
    if image.digest:
        log.info("build %s/%s: %s: image %s", *attempt.run.key, step.id, image.digest)
    else:
        attempt.report.noticed(
            message=f"no image of step {step.display_name!r}: {image.reason}: {image.message}"
        )


async def _pushed(attempt: Attempt, step: PlanStep) -> StepImage:
    plan = attempt.plan
    request = CommitRequest(
        name=attempt.id.step_image(step.ordinal),
        repository=plan.image.repository,
        tags=(attempt.id.step_tag(step.ordinal),),
        push_secret=plan.image.push_secret,
        config=image_labels(attempt, passed=True),
        exclude_paths=plan.image.exclude_paths,
        previous=latest_digest(attempt),
        remember=True,
    )
    try:
        ended = await commit_box(attempt, request)
    except (UserError, InfrastructureError) as e:
        return without_image(e.reason or Reason.COMMIT_FAILED, e.message)
    if not isinstance(ended, ImageCommit):
        return without_image(*ended)
    status = ended.status
    if absent := not_in_image(status):
        attempt.report.noticed(message=f"step {step.display_name!r}: {absent}")
    return StepImage(digest=status.digest, layer_bytes=status.layer_bytes)


def _given_up(steps: Sequence[StepStatus]) -> str | None:
    """Why no more images of steps are tried, None while they are."""
    tried = [step for step in steps if step.image is not None]
    failed = tried[-MOST_FAILURES:]
    if len(failed) < MOST_FAILURES or any(step.image and step.image.digest for step in failed):
        return None
    return f"not tried, because the images of the {MOST_FAILURES} steps before could not be made"
