"""Stage 6: the pod of an attempt exists, and is watched until its work is done.

The pod's name is the lock of the attempt, and the Plan in its annotation is what the attempt is driven by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.board import Seen
from sentinel.engine.cache import deliver_cache
from sentinel.engine.create import create
from sentinel.engine.ending import ending_of, why_box_ended
from sentinel.engine.look import look_again
from sentinel.engine.ours import check_unchanged, check_watched, verified_plan
from sentinel.engine.outputs import deliver_outputs
from sentinel.engine.run import Run
from sentinel.engine.services import report_dead_services
from sentinel.engine.steps import deliver_steps
from sentinel.errors import (
    BoxEnded,
    CancelledByUser,
    Conflict,
    InfrastructureError,
)
from sentinel.kube.errors import AlreadyExists, ApiError, NotFound
from sentinel.kube.resources import CORE_EVENTS, NODES, PODS
from sentinel.plan.environment import ResolvedEnvironment
from sentinel.plan.observe import PodView, observe
from sentinel.plan.pod import make_pod, sign_pod
from sentinel.plan.start import StartProblem, waits_for_upload, why_not_started, why_silent
from sentinel.session.client import Session

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at a pod that says nothing: graces pass without an event, and a node may be silent."""

QUIET = 20.0
"""Seconds of silence of a box that has spoken, after which its node is looked at: a pong was due by then."""

ANSWER_WITHIN = 60.0
"""Seconds that a running box has to answer an operator which begins to follow it, however old its pod is."""

GONE_WITHIN = 300.0
"""Seconds that a lost pod may take to be really gone before no other attempt is made."""


async def stored_attempt(run: Run, number: int) -> Attempt | None:
    """A running attempt with the Plan of its pod, or None where the pod does not exist. Raises NotVerified."""
    if run.writer.attempt == 0:
        # The number is in the status before the pod exists.
        return None
    namespace, name = run.id(number).key
    try:
        raw = await run.tools.kube.get(PODS, namespace=namespace, name=name)
    except NotFound:
        return None
    attempt = Attempt(run=run, plan=verified_plan(run, raw, attempt=number))
    run.tools.pods.offer(raw)
    attempt.note_pod(raw)
    _note_results(attempt)
    return attempt


def vanished(run: Run, number: int) -> InfrastructureError | None:
    """What became of an attempt whose pod is not there: lost if it ever had one, else None: it is still to be made."""
    pod = run.writer.status.pod
    if pod is None or not (pod.uid or run.writer.begun):
        return None
    return InfrastructureError(
        f"pod {run.id(number).pod} was deleted while no operator watched it",
        reason=Reason.POD_DELETED,
    )


async def ensure_pod(attempt: Attempt) -> None:
    """Create the attempt's pod if it is not there. Raises UserError for what the cluster will never take, and
    InfrastructureError PodDeleted where it was there.

    What would stop the build at its first step stops it here, before anything runs: a missing Secret.
    """
    seen = attempt.seen()
    if seen is not None and not seen.deleted and attempt.run.owns(seen):
        return
    if attempt.writer.attempt == attempt.plan.attempt:
        # Read a moment ago, and deleted since: never is there a second pod under an attempt's number.
        loss = vanished(attempt.run, attempt.plan.attempt)
        if loss is not None:
            raise loss
    await attempt.run.unless_cancelled(_await(attempt.environment))
    if attempt.writer.attempt != attempt.plan.attempt:
        attempt.writer.begin_attempt(attempt.plan)
    await attempt.writer.flush()
    await attempt.run.unless_cancelled(deliver_cache(attempt))
    await attempt.run.unless_cancelled(deliver_steps(attempt))
    await attempt.run.unless_cancelled(deliver_outputs(attempt))
    raw = await attempt.run.unless_cancelled(_create(attempt))
    attempt.tools.pods.offer(raw)
    attempt.note_pod(raw)
    attempt.report.pod_created(plan=attempt.plan, pod=attempt.id.pod)


async def watch_pod(attempt: Attempt) -> None:
    """The guard of an attempt: raises as soon as the pod cannot do its work any more, and says why."""
    run, tools = attempt.run, attempt.tools
    session, key = attempt.session, attempt.key
    since: dict[Reason, float] = {}
    shown: tuple[Reason, str] | None = None
    began = tools.clock.monotonic()
    dead: set[str] = set()
    while True:
        seen = attempt.seen()
        check_unchanged(attempt, seen)
        await check_watched(attempt, seen)
        view = await _look(attempt, seen)
        if ending_of(attempt, seen) is not None:
            raise await why_box_ended(attempt)
        if session.state.opened is not None and session.state.closed is None:
            await report_dead_services(attempt, view, dead)
        now = tools.clock.monotonic()
        spoken_to = session.state.opened is not None or run.writer.begun
        problem = (why_silent if spoken_to else partial(_why_not_started, attempt))(
            view, now=now, since=since
        )
        if problem is None:
            since.clear()
        else:
            since.setdefault(problem.reason, now)
            if problem.verdict == "fail":
                raise problem.reason.error(problem.message)
        unschedulable = problem is not None and problem.reason is Reason.UNSCHEDULABLE
        run.park(unschedulable and not spoken_to)
        if not spoken_to:
            _raise_if_overdue(attempt, view, problem, watched=now - began)
            if problem is not None and shown != (problem.reason, problem.message):
                shown = (problem.reason, problem.message)
                run.writer.waits(problem.reason, problem.message)
            elif problem is None and shown is not None:
                shown = None
                run.writer.waits(Reason.PENDING, "the pod is starting")
            # Later the cancel goes to the box itself, whose journal has what came of it.
            if run.cancelled.is_set():
                raise CancelledByUser("spec.cancel was set", reason=Reason.CANCELLED)
        session.nudge()
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await tools.pods.changed(key)
        except TimeoutError:
            if session.silence > _patience(session):
                await look_again(tools.kube, PODS, tools.pods, key)


async def box_ended(attempt: Attempt) -> None:
    """A guard for the session's end: raises BoxEnded once the box's container is known to have ended."""

    def ended(seen: Seen | None) -> bool | None:
        if seen is None or seen.deleted or not attempt.run.owns(seen):
            return True
        return observe(seen.raw).box_ended is not None or None

    await attempt.until(ended)
    # What the box said last may still be on its way to us.
    await attempt.tools.clock.sleep(2.0)
    raise BoxEnded("the box has ended")


async def pod_gone(attempt: Attempt, loss: InfrastructureError) -> None:
    """Delete a lost attempt's pod and wait until it cannot run any more. Raises InfrastructureError if it stays.

    The API server keeps the pod of a silent node until the node itself is deleted or tainted out of service.
    """
    (namespace, name), uid = attempt.key, attempt.run.pod_uid
    if not uid:
        return
    await attempt.tools.kube.delete(PODS, namespace=namespace, name=name, uid=uid)

    def gone(seen: Seen | None) -> bool | None:
        return seen is None or seen.deleted or not attempt.run.owns(seen) or None

    try:
        async with asyncio.timeout(GONE_WITHIN):
            await attempt.until(gone, every=LOOK_EVERY)
    except TimeoutError:
        raise InfrastructureError(
            f"{loss.message}; pod {name} is not gone after {GONE_WITHIN:.0f} s: it may still run, so no other is "
            "made. If its node will not come back, delete the node or taint it node.kubernetes.io/out-of-service",
            reason=loss.reason,
        ) from None


async def _await(environment: Awaitable[ResolvedEnvironment]) -> None:
    # A cancel must not cancel what the session needs later.
    await asyncio.shield(asyncio.ensure_future(environment))


def _note_results(attempt: Attempt) -> None:
    """The operator's settings may have changed since the attempt was begun: the status says where results go now."""
    results = attempt.writer.status.results
    if results is not None and results.prefix != attempt.plan.results_prefix:
        attempt.writer.change(
            results=results.model_copy(update={"prefix": attempt.plan.results_prefix})
        )


async def _create(attempt: Attempt) -> dict[str, Any]:
    def make(*, defaults: bool = True) -> dict[str, Any]:
        pod = make_pod(
            attempt.plan, build=attempt.build, settings=attempt.tools.settings, defaults=defaults
        )
        return sign_pod(pod, attempt.plan, keys=attempt.tools.keys)

    try:
        return await create(
            attempt.run,
            PODS,
            make(),
            # What the namespace's LimitRange gives is better than being refused for our own defaults.
            otherwise=partial(make, defaults=False),
            within=attempt.plan.pending_timeout,
            aliases={service.container: service.alias for service in attempt.plan.services},
        )
    except AlreadyExists:
        namespace, name = attempt.key
        raw = await attempt.tools.kube.get(PODS, namespace=namespace, name=name)
        if verified_plan(attempt.run, raw, attempt=attempt.id.attempt) != attempt.plan:
            # Who was faster may have found another commit: the attempt is driven by what its pod says.
            raise Conflict(
                f"pod {raw['metadata']['name']} was made by another operator: reading its plan"
            ) from None
        return raw


async def _look(attempt: Attempt, seen: Seen | None) -> PodView:
    """The pod with what else tells why it does not start or answer: events and node, read only while it hangs."""
    if seen is None:
        return PodView()
    view = observe(seen.raw)
    age = (attempt.tools.clock.now() - datetime.fromisoformat(view.created)).total_seconds()
    if not view.bound or min(age, attempt.session.silence) < _patience(attempt.session):
        return view
    events: list[dict[str, Any]] = []
    node: dict[str, Any] | None = None
    with suppress(ApiError):
        events, _ = await attempt.tools.kube.list(
            CORE_EVENTS,
            namespace=seen.raw["metadata"]["namespace"],
            fields=f"involvedObject.uid={view.uid}",
        )
    # A node is no namespace's: an operator that may only look into its own namespaces goes without.
    with suppress(ApiError):
        node = await attempt.tools.kube.get(NODES, name=view.node)
    return observe(seen.raw, events=events, node=node)


def _why_not_started(
    attempt: Attempt, view: PodView, *, now: float, since: Mapping[Reason, float]
) -> StartProblem | None:
    size = attempt.plan.source.upload
    return why_not_started(view, now=now, since=since) or waits_for_upload(view, size=size)


def _patience(session: Session) -> float:
    """Seconds of silence that mean nothing: a box that runs need not speak but for its pongs."""
    return LOOK_EVERY if session.state.opened is None else QUIET


def _raise_if_overdue(
    attempt: Attempt, view: PodView, problem: StartProblem | None, *, watched: float
) -> None:
    if not view.created:
        return
    age = (attempt.tools.clock.now() - datetime.fromisoformat(view.created)).total_seconds()
    if age <= attempt.plan.pending_timeout or (view.box_running and watched < ANSWER_WITHIN):
        return
    silent = Reason.SESSION_LOST if view.box_running else Reason.PENDING
    reason = problem.reason if problem is not None else silent
    detail = problem.message if problem is not None else "the box did not answer"
    raise reason.error(f"not started within {attempt.plan.pending_timeout:.0f} s: {detail}")
