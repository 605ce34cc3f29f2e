"""Stage 6: the pod of an attempt exists, and somebody watches it until its work is done.

The pod's name is the lock of the attempt, and the Plan in its annotation is what the attempt is driven by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from sentinel.api.build import PodStatus
from sentinel.api.reasons import Blame, Reason
from sentinel.engine.board import Seen
from sentinel.engine.create import create
from sentinel.engine.ending import ending_of, why_box_ended
from sentinel.engine.look import look_again, until
from sentinel.engine.ours import (
    check_unchanged,
    check_watched,
    is_ours,
    known_uid,
    sealed_plan,
    verified_plan,
)
from sentinel.engine.run import Run
from sentinel.engine.services import tell_dead_services
from sentinel.engine.steps import deliver_steps
from sentinel.errors import (
    BoxEnded,
    CancelledByUser,
    Conflict,
    InfrastructureError,
    SentinelError,
    UserError,
)
from sentinel.kube.errors import AlreadyExists, ApiError, NotFound
from sentinel.kube.resources import CORE_EVENTS, NODES, PODS
from sentinel.plan.environment import ResolvedEnvironment
from sentinel.plan.model import Plan
from sentinel.plan.names import pod_name
from sentinel.plan.observe import PodView, observe
from sentinel.plan.pod import make_pod, sign_pod
from sentinel.plan.start import StartProblem, why_not_started, why_silent
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


def name_of(plan: Plan) -> str:
    """The pod of the plan's attempt."""
    return pod_name(build=plan.build, uid=plan.uid, attempt=plan.attempt)


async def stored_plan(run: Run, *, attempt: int) -> Plan | None:
    """The Plan that a running attempt was begun with, or None where its pod does not exist. Raises NotVerified."""
    name = pod_name(build=run.build.name, uid=run.build.uid, attempt=attempt)
    if run.writer.attempt == 0:
        # The number stands in the status before the pod exists.
        return None
    try:
        raw = await run.tools.kube.get(PODS, namespace=run.build.namespace, name=name)
    except NotFound:
        return None
    plan = verified_plan(run, raw, attempt=attempt)
    run.tools.pods.offer(raw)
    _note_pod(run, raw)
    _note_results(run, plan)
    return plan


def vanished(run: Run, *, attempt: int) -> InfrastructureError | None:
    """What became of an attempt whose pod is not there: lost if it ever had one, else None: it is still to be made."""
    pod = run.writer.status.pod
    if pod is None or not (pod.uid or run.writer.begun):
        return None
    name = pod_name(build=run.build.name, uid=run.build.uid, attempt=attempt)
    return InfrastructureError(
        f"pod {name} was deleted while nobody watched it", reason=Reason.POD_DELETED
    )


async def ensure_pod(run: Run, plan: Plan, environment: Awaitable[ResolvedEnvironment]) -> None:
    """Create the attempt's pod if it is not there. Raises UserError for what the cluster will never take.

    What would stop the build at its first step stops it here, before anything runs: a missing Secret.
    """
    key = (plan.namespace, name_of(plan))
    seen = run.tools.pods.get(key)
    if seen is not None and not seen.deleted and is_ours(run, seen):
        return
    await run.unless_cancelled(_await(environment))
    _note_attempt(run, plan)
    await run.writer.flush()
    await run.unless_cancelled(deliver_steps(run, plan))
    raw = await run.unless_cancelled(_create(run, plan))
    run.tools.pods.offer(raw)
    _note_pod(run, raw)
    run.report.pod_created(plan=plan, pod=key[1])


async def watch_pod(run: Run, plan: Plan, session: Session) -> None:
    """The guard of an attempt: raises as soon as the pod cannot do its work any more, and says why."""
    key = (plan.namespace, name_of(plan))
    since: dict[Reason, float] = {}
    told: tuple[Reason, str] | None = None
    began = run.tools.clock.monotonic()
    dead: set[str] = set()
    while True:
        seen = run.tools.pods.get(key)
        check_unchanged(run, seen, name=key[1])
        await check_watched(run, seen, name=key[1])
        view = await _look(run, seen, session)
        if ending_of(plan, seen) is not None:
            raise await why_box_ended(run, plan, session)
        if session.state.opened is not None and session.state.closed is None:
            await tell_dead_services(run, plan, view, session, dead)
        now = run.tools.clock.monotonic()
        spoken_to = session.state.opened is not None or run.writer.begun
        problem = (why_silent if spoken_to else why_not_started)(view, now=now, since=since)
        if problem is None:
            since.clear()
        else:
            since.setdefault(problem.reason, now)
            if problem.verdict == "fail":
                raise _error(problem.reason, problem.message)
        unschedulable = problem is not None and problem.reason is Reason.UNSCHEDULABLE
        run.park(unschedulable and not spoken_to)
        if not spoken_to:
            _raise_if_overdue(run, plan, view, problem, watched=now - began)
            if problem is not None and told != (problem.reason, problem.message):
                told = (problem.reason, problem.message)
                run.writer.waits(problem.reason, problem.message)
            elif problem is None and told is not None:
                told = None
                run.writer.waits(Reason.PENDING, "the pod is starting")
            # Later the box itself is told, and what it makes of it stands in its journal.
            if run.cancelled.is_set():
                raise CancelledByUser("spec.cancel was set", reason=Reason.CANCELLED)
        session.nudge()
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await run.tools.pods.changed(key)
        except TimeoutError:
            if session.silence > _patience(session):
                await look_again(run.tools.kube, PODS, run.tools.pods, key)


async def box_ended(run: Run, plan: Plan) -> None:
    """A guard for the session's end: raises BoxEnded once the box's container is known to have ended."""

    def ended(seen: Seen | None) -> bool | None:
        if seen is None or seen.deleted or not is_ours(run, seen):
            return True
        return observe(seen.raw).box_ended is not None or None

    key = (plan.namespace, name_of(plan))
    await until(run.tools.kube, PODS, run.tools.pods, key, ended)
    # What the box said last may still be on its way to us.
    await run.tools.clock.sleep(2.0)
    raise BoxEnded("the box has ended")


async def pod_gone(run: Run, plan: Plan, loss: InfrastructureError) -> None:
    """Delete a lost attempt's pod and wait until it cannot run any more. Raises InfrastructureError if it stays.

    The API server keeps the pod of a silent node until the node itself is deleted or tainted out of service.
    """
    key = (plan.namespace, name_of(plan))
    uid = known_uid(run)
    if not uid:
        return
    await run.tools.kube.delete(PODS, namespace=key[0], name=key[1], uid=uid)

    def gone(seen: Seen | None) -> bool | None:
        return seen is None or seen.deleted or not is_ours(run, seen) or None

    try:
        async with asyncio.timeout(GONE_WITHIN):
            await until(run.tools.kube, PODS, run.tools.pods, key, gone, every=LOOK_EVERY)
    except TimeoutError:
        raise InfrastructureError(
            f"{loss.message}; pod {key[1]} is not gone after {GONE_WITHIN:.0f} s: it may still run, so no other is "
            "made. If its node will not come back, delete the node or taint it node.kubernetes.io/out-of-service",
            reason=loss.reason,
        ) from None


async def _await(environment: Awaitable[ResolvedEnvironment]) -> None:
    # A cancel must not cancel what the session needs later.
    await asyncio.shield(asyncio.ensure_future(environment))


def _note_attempt(run: Run, plan: Plan) -> None:
    if run.writer.attempt != plan.attempt:
        run.writer.begin_attempt(plan)


def _note_pod(run: Run, raw: dict[str, Any]) -> None:
    pod = run.writer.status.pod or PodStatus()
    known = {"name": raw["metadata"]["name"], "uid": raw["metadata"]["uid"]}
    if (pod.name, pod.uid) != (known["name"], known["uid"]):
        run.writer.change(pod=pod.model_copy(update=known))
    run.sealed = sealed_plan(raw)


def _note_results(run: Run, plan: Plan) -> None:
    """The operator's settings may have changed since the attempt was begun: the status says where results go now."""
    results = run.writer.status.results
    if results is not None and results.prefix != plan.results_prefix:
        run.writer.change(results=results.model_copy(update={"prefix": plan.results_prefix}))


async def _create(run: Run, plan: Plan) -> dict[str, Any]:
    def make(*, defaults: bool = True) -> dict[str, Any]:
        pod = make_pod(plan, build=run.build, settings=run.tools.settings, defaults=defaults)
        return sign_pod(pod, plan, keys=run.tools.keys)

    try:
        return await create(
            run,
            PODS,
            make(),
            # What the namespace's LimitRange gives is better than being refused for our own defaults.
            otherwise=partial(make, defaults=False),
            within=plan.pending_timeout,
            aliases={service.container: service.alias for service in plan.services},
        )
    except AlreadyExists:
        raw = await run.tools.kube.get(PODS, namespace=plan.namespace, name=name_of(plan))
        if verified_plan(run, raw, attempt=plan.attempt) != plan:
            # Who was faster may have found another commit: the attempt is driven by what its pod says.
            raise Conflict(
                f"pod {raw['metadata']['name']} was made by another operator: reading its plan"
            ) from None
        return raw


async def _look(run: Run, seen: Seen | None, session: Session) -> PodView:
    """The pod with what else tells why it does not start or answer: events and node, read only while it hangs."""
    if seen is None:
        return PodView()
    view = observe(seen.raw)
    age = (run.tools.clock.now() - datetime.fromisoformat(view.created)).total_seconds()
    if not view.bound or min(age, session.silence) < _patience(session):
        return view
    events: list[dict[str, Any]] = []
    node: dict[str, Any] | None = None
    with suppress(ApiError):
        events, _ = await run.tools.kube.list(
            CORE_EVENTS,
            namespace=seen.raw["metadata"]["namespace"],
            fields=f"involvedObject.uid={view.uid}",
        )
    # A node is no namespace's: an operator that may only look into its own namespaces goes without.
    with suppress(ApiError):
        node = await run.tools.kube.get(NODES, name=view.node)
    return observe(seen.raw, events=events, node=node)


def _patience(session: Session) -> float:
    """Seconds of silence that mean nothing: a box that runs need not speak but for its pongs."""
    return LOOK_EVERY if session.state.opened is None else QUIET


def _raise_if_overdue(
    run: Run, plan: Plan, view: PodView, problem: StartProblem | None, *, watched: float
) -> None:
    if not view.created:
        return
    age = (run.tools.clock.now() - datetime.fromisoformat(view.created)).total_seconds()
    if age <= plan.pending_timeout or (view.box_running and watched < ANSWER_WITHIN):
        return
    silent = Reason.SESSION_LOST if view.box_running else Reason.PENDING
    reason = problem.reason if problem is not None else silent
    detail = problem.message if problem is not None else "the box did not answer"
    raise _error(reason, f"not started within {plan.pending_timeout:.0f} s: {detail}")


def _error(reason: Reason, message: str) -> SentinelError:
    kind = UserError if reason.blame is Blame.USER else InfrastructureError
    return kind(message, reason=reason)
