"""The life of a build, top to bottom. A reader of only this file knows the product.

Every stage first looks, then acts: after a restart of the operator the same coroutine runs again, and each stage finds
its own trace (the status, the pod with its Plan, the journal in the box, the ImageCommit) and returns at once. There is
no other recovery code. What happens to people's eyes (status, events) goes through `run.writer` and `run.report`.
"""

from __future__ import annotations

import asyncio
import logging

from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.clock import rfc3339
from sentinel.engine.attempt import Attempt
from sentinel.engine.box import box_session, mark_begun, open_box
from sentinel.engine.boxsteps import judge, run_after, run_main, services_tried, was_stopped
from sentinel.engine.commit import commit
from sentinel.engine.deadline import cancelled
from sentinel.engine.ending import box_ends, why_box_ended
from sentinel.engine.finish import close_box, finish, label_finished, store_output
from sentinel.engine.guard import guarded
from sentinel.engine.internalsteps import do_ours
from sentinel.engine.parent import inherit
from sentinel.engine.pod import ensure_pod, pod_gone, stored_attempt, vanished, watch_pod
from sentinel.engine.prepare import prepare
from sentinel.engine.run import Outcome, Run
from sentinel.engine.salvage import output_kept
from sentinel.engine.services import blame_services
from sentinel.engine.stepimages import run_each
from sentinel.errors import (
    BoxEnded,
    CancelledByUser,
    InfrastructureError,
    InternalError,
    NewerPlan,
    NotVerified,
    UserError,
)
from sentinel.plan.environment import ResolvedEnvironment

log = logging.getLogger(__name__)


async def run_build(run: Run) -> None:
    """Drive one Build from where it stands to its end.

    Returns when the Build has ended and says so. Raises GoneError when it is not ours any more, NewerPlan when only a
    newer operator can drive it, ParentPending when it waits for another Build, and TransientError and whatever else
    should be tried again from the top: nothing is lost by that.
    """
    if run.writer.holds(ConditionType.FINISHED):
        await label_finished(run)
        return
    try:
        await guarded(_drive(run), run.writer.run())
    except NewerPlan as e:
        if run.writer.leave(e.message):
            await run.writer.flush()
            run.report.noticed(message=e.message)
        raise


async def say_queued(run: Run) -> None:
    """Show a Build that waits for its turn as Queued, and nothing more."""
    if run.writer.status.phase is None:
        run.writer.change()
        await run.writer.flush()


async def _drive(run: Run) -> None:
    logs_safe = False
    outcome = run.decided
    if outcome is not None:
        logs_safe = await _close_again(run)
    else:
        try:
            outcome, logs_safe = await _attempts(run)
        except CancelledByUser as e:
            outcome = Outcome.failed(Reason.CANCELLED, e.message)
        except (UserError, InfrastructureError, InternalError) as e:
            outcome = Outcome.failed(e.reason or Reason.INTERNAL, e.message)
    await finish(run, outcome, logs_safe=logs_safe)


async def _close_again(run: Run) -> bool:
    """Whether the logs are safe of a build whose operator died after the result and before the end."""
    if not run.writer.holds(ConditionType.POD_READY):
        return False
    try:
        attempt = await stored_attempt(run, run.writer.attempt)
    except (UserError, InternalError, NotVerified):
        return False
    if attempt is None:
        return True
    async with box_session(attempt):
        return await close_box(attempt)


async def _attempts(run: Run) -> tuple[Outcome, bool]:
    """The outcome, and whether its logs are safe. A pod that the cluster lost is replaced, within the Build's rules."""
    if run.invalid is not None:
        raise run.invalid
    number = max(run.writer.attempt, 1)
    attempt = await stored_attempt(run, number)
    if attempt is None:
        run.inherited = await run.unless_cancelled(inherit(run))
        if not run.writer.status.start_time:
            run.writer.change(start_time=rfc3339(run.tools.clock.now()))
        loss = vanished(run, number)
        if loss is not None:
            _raise_unless_replaced(run, number, loss)
            number += 1
        attempt = await run.unless_cancelled(prepare(run, number))
    while True:
        try:
            return await _attempt(attempt)
        except InfrastructureError as e:
            _raise_unless_replaced(run, attempt.plan.attempt, e)
            await pod_gone(attempt, e)
            attempt = attempt.next()


async def _attempt(attempt: Attempt) -> tuple[Outcome, bool]:
    """One pod's life: stages 6 to 12."""
    run = attempt.run
    run.writer.follow()
    attempt.environment = asyncio.ensure_future(attempt.resolve_environment())
    try:
        await ensure_pod(attempt)
        run.printed = {}
        async with box_session(attempt), output_kept(attempt):
            try:
                outcome = await guarded(_steps(attempt), watch_pod(attempt))
            except (BoxEnded, InfrastructureError, UserError) as e:
                outcome = await _outlived(attempt, e)
            run.decide(outcome)
            await attempt.writer.flush()
            return outcome, await close_box(attempt)
    finally:
        await _drop(attempt.environment)


async def _drop(environment: asyncio.Future[ResolvedEnvironment]) -> None:
    """A box that was open before a restart does not need its Secrets: that one was deleted is then no error."""
    environment.cancel()
    await asyncio.gather(environment, return_exceptions=True)


async def _steps(attempt: Attempt) -> Outcome:
    run = attempt.run
    if attempt.writer.begun:
        # A cancel that came while no operator ran is for the box, which may be running steps.
        await open_box(attempt)
    else:
        await run.unless_cancelled(open_box(attempt))
        await run.unless_cancelled(services_tried(attempt.session, attempt.plan))
        await mark_begun(attempt)
    each = attempt.plan.image.commit == "eachStep"
    steps = run_each(attempt) if each else run_main(attempt.session, attempt.plan)
    state = await guarded(steps, _pass_on_cancel(attempt), do_ours(attempt))
    if was_stopped(attempt.plan.steps, state):
        raise BoxEnded("the box was stopped while its steps ran")
    outcome = judge(attempt.plan.steps, state)
    run.result = None if outcome.succeeded else outcome
    attempt.writer.change(finishing=True)
    if outcome.reason is not Reason.CANCELLED:
        outcome = await commit(attempt, outcome)
        outcome = await store_output(attempt, outcome)
        if run.result is None and not outcome.succeeded and box_ends(attempt):
            raise BoxEnded(f"the box ended before its results were kept: {outcome.message}")
    run.result = outcome
    await guarded(run_after(attempt.session, attempt.plan, outcome), do_ours(attempt))
    return blame_services(outcome, attempt.dead_services)


async def _outlived(attempt: Attempt, end: BoxEnded | InfrastructureError | UserError) -> Outcome:
    """The result that stood before `end` stopped the work. Raises why the attempt ended where there was none yet."""
    why = await why_box_ended(attempt) if isinstance(end, BoxEnded) else end
    run = attempt.run
    if run.result is None:
        raise why
    # The after-steps never change a result, be it that they cannot run at all.
    run.lost = why
    attempt.report.noticed(message=f"the after-steps did not run to their end: {why.message}")
    return blame_services(run.result, attempt.dead_services)


async def _pass_on_cancel(attempt: Attempt) -> None:
    """The user's cancel reaches the box: what runs gets TERM, what waits is skipped, and the journal says so."""
    await attempt.run.cancelled.wait()
    await cancelled(attempt.session, "spec.cancel was set")


LOST = frozenset(
    {
        Reason.POD_EVICTED,
        Reason.POD_DELETED,
        Reason.NODE_LOST,
        Reason.NODE_DISK_FULL,
        Reason.SESSION_LOST,
        Reason.PROTOCOL_MISMATCH,
        Reason.BOX_TERMINATED,
        Reason.SANDBOX_FAILED,
    }
)
"""Reasons after which another pod may do better."""


def _raise_unless_replaced(run: Run, attempt: int, loss: InfrastructureError) -> None:
    """A lost pod is replaced if no step of the user's can have started, or if the Build allows it after that too."""
    retries = run.build.spec.retries
    again = (
        loss.reason in LOST
        and attempt <= retries.infrastructure
        and (not run.writer.begun or retries.after_start)
        and not run.cancelled.is_set()
    )
    run.report.attempt_lost(
        attempt=attempt, reason=loss.reason or Reason.INTERNAL, message=loss.message, again=again
    )
    if not again:
        raise loss
    log.info("build %s/%s: attempt %d lost: %s", *run.key, attempt, loss.message)
