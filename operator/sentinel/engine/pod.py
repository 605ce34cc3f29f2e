"""Stage 6: the pod of an attempt exists, and somebody watches it until its work is done.

The pod's name is the lock of the attempt, and the Plan in its annotation is what the attempt is driven by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from datetime import datetime
from typing import Any

from sentinel.api.build import PodStatus, Results
from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Blame, Reason
from sentinel.engine.board import Seen
from sentinel.engine.run import Run
from sentinel.engine.services import tell_dead_services
from sentinel.errors import (
    CancelledByUser,
    GoneError,
    InfrastructureError,
    InternalError,
    SentinelError,
    UserError,
)
from sentinel.kube.errors import AlreadyExists, ApiError, NotFound, Unavailable
from sentinel.kube.resources import CORE_EVENTS, NODES, PODS
from sentinel.plan.codec import decode
from sentinel.plan.environment import ResolvedEnvironment
from sentinel.plan.model import Plan
from sentinel.plan.names import PLAN_ANNOTATION, UID_LABEL, pod_name
from sentinel.plan.observe import PodView, observe
from sentinel.plan.pod import make_pod
from sentinel.plan.start import StartProblem, classify_create_error, why_not_started
from sentinel.session.client import Session

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at a pod that says nothing: graces pass without an event, and a node may be silent."""

GONE_WITHIN = 300.0
"""Seconds that a lost pod may take to be really gone before no other attempt is made."""


def name_of(plan: Plan) -> str:
    """The pod of the plan's attempt."""
    return pod_name(build=plan.build, uid=plan.uid, attempt=plan.attempt)


async def stored_plan(run: Run, *, attempt: int) -> Plan | None:
    """The Plan that a running attempt was begun with, or None where its pod does not exist."""
    name = pod_name(build=run.build.name, uid=run.build.uid, attempt=attempt)
    if run.writer.attempt == 0:
        # The number stands in the status before the pod exists.
        return None
    try:
        raw = await run.tools.kube.get(PODS, namespace=run.build.namespace, name=name)
    except NotFound:
        if run.writer.holds(ConditionType.POD_READY):
            raise InfrastructureError(
                f"pod {name} was deleted while nobody watched it", reason=Reason.POD_DELETED
            ) from None
        return None
    _check_ours(raw, run.build.uid)
    run.tools.pods.offer(raw)
    text = (raw["metadata"].get("annotations") or {}).get(PLAN_ANNOTATION)
    if text is None:
        raise InternalError(
            f"pod {name} has lost its annotation {PLAN_ANNOTATION}: the build cannot go on without its plan",
            reason=Reason.INTERNAL,
        )
    return decode(text)


async def ensure_pod(run: Run, plan: Plan, environment: Awaitable[ResolvedEnvironment]) -> None:
    """Create the attempt's pod if it is not there. Raises UserError for what the cluster will never take.

    What would stop the build at its first step stops it here, before anything runs: a missing Secret.
    """
    key = (plan.namespace, name_of(plan))
    seen = run.tools.pods.get(key)
    if seen is not None and not seen.deleted:
        return
    await run.unless_cancelled(_await(environment))
    _note_attempt(run, plan)
    await run.writer.flush()
    raw = await run.unless_cancelled(_create(run, plan))
    run.tools.pods.offer(raw)
    pod = run.writer.status.pod or PodStatus(attempt=plan.attempt)
    run.writer.change(pod=pod.model_copy(update={"name": key[1], "uid": raw["metadata"]["uid"]}))
    run.report.pod_created(plan=plan, pod=key[1])


async def watch_pod(run: Run, plan: Plan, session: Session) -> None:
    """The guard of an attempt: raises as soon as the pod cannot do its work any more, and says why."""
    key = (plan.namespace, name_of(plan))
    since: dict[Reason, float] = {}
    told: tuple[Reason, str] | None = None
    while True:
        seen = run.tools.pods.get(key)
        view = await _look(run, seen, session)
        _raise_if_lost(plan, seen, view)
        if session.state.opened is not None and session.state.closed is None:
            await tell_dead_services(run, plan, view, session)
        if session.state.opened is None:
            now = run.tools.clock.monotonic()
            problem = why_not_started(view, now=now, since=since)
            if problem is not None:
                since.setdefault(problem.reason, now)
                _raise_if_final(run, plan, view, problem)
                if told != (problem.reason, problem.message):
                    told = (problem.reason, problem.message)
                    run.writer.condition(
                        ConditionType.POD_READY, "False", problem.reason, problem.message
                    )
            else:
                since.clear()
                _raise_if_final(run, plan, view, None)
            if run.cancelled.is_set():
                raise CancelledByUser("spec.cancel was set", reason=Reason.CANCELLED)
        session.nudge()
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await run.tools.pods.changed(key)
        except TimeoutError:
            continue


async def box_ended(run: Run, plan: Plan) -> None:
    """A guard for the session's end: raises GoneError once the box's container is known to have ended."""

    def ended(seen: Seen | None) -> bool | None:
        if seen is None or seen.deleted:
            return True
        return observe(seen.raw).box_ended is not None or None

    await run.tools.pods.until((plan.namespace, name_of(plan)), ended)
    # What the box said last may still be on its way to us.
    await run.tools.clock.sleep(2.0)
    raise GoneError("the box has ended")


async def pod_gone(run: Run, plan: Plan) -> None:
    """Delete a lost attempt's pod and wait until it cannot run any more. Raises InfrastructureError if it stays."""
    name = name_of(plan)
    await run.tools.kube.delete(PODS, namespace=plan.namespace, name=name)
    try:
        async with asyncio.timeout(GONE_WITHIN):
            while True:
                try:
                    raw = await run.tools.kube.get(PODS, namespace=plan.namespace, name=name)
                except NotFound:
                    return
                run.tools.pods.offer(raw)
                try:
                    async with asyncio.timeout(LOOK_EVERY):
                        await run.tools.pods.changed((plan.namespace, name))
                except TimeoutError:
                    continue
    except TimeoutError:
        raise InfrastructureError(
            f"pod {name} was lost, and is not gone after {GONE_WITHIN:.0f} s: it may still run, so no other is made",
            reason=Reason.POD_DELETED,
        ) from None


async def _await(environment: Awaitable[ResolvedEnvironment]) -> None:
    # A cancel must not cancel what the session needs later.
    await asyncio.shield(asyncio.ensure_future(environment))


def _note_attempt(run: Run, plan: Plan) -> None:
    if run.writer.attempt != plan.attempt:
        run.writer.change(
            pod=PodStatus(attempt=plan.attempt),
            results=Results(prefix=plan.results_prefix) if run.tools.store is not None else None,
        )


async def _create(run: Run, plan: Plan) -> dict[str, Any]:
    body = make_pod(plan, build=run.build, settings=run.tools.settings)
    deadline = run.tools.clock.monotonic() + plan.pending_timeout
    delay = 1.0
    while True:
        try:
            return await run.tools.kube.create(PODS, body, namespace=plan.namespace)
        except AlreadyExists:
            raw = await run.tools.kube.get(PODS, namespace=plan.namespace, name=name_of(plan))
            _check_ours(raw, plan.uid)
            return raw
        except Unavailable:
            raise
        except ApiError as e:
            problem = classify_create_error(e.status, e.message)
            if problem.verdict == "fail" or run.tools.clock.monotonic() > deadline:
                raise _error(problem.reason, problem.message) from e
            run.writer.condition(ConditionType.POD_READY, "False", problem.reason, problem.message)
        await run.tools.clock.sleep(delay)
        delay = min(delay * 2, 15.0)


def _check_ours(raw: dict[str, Any], uid: str) -> None:
    meta = raw["metadata"]
    if (meta.get("labels") or {}).get(UID_LABEL) != uid:
        raise UserError(
            f"a pod {meta['name']} exists that is not this Build's: delete it, or rename the Build",
            reason=Reason.ADMISSION_DENIED,
        )


async def _look(run: Run, seen: Seen | None, session: Session) -> PodView:
    """The pod with what else tells why it does not start: its events and its node, read only while it hangs."""
    if seen is None:
        return PodView()
    view = observe(seen.raw)
    age = (run.tools.clock.now() - datetime.fromisoformat(view.created)).total_seconds()
    if session.state.opened is not None or age < LOOK_EVERY or not view.bound:
        return view
    try:
        events, _ = await run.tools.kube.list(
            CORE_EVENTS,
            namespace=seen.raw["metadata"]["namespace"],
            fields=f"involvedObject.uid={view.uid}",
        )
        node = await run.tools.kube.get(NODES, name=view.node)
    except ApiError:
        return view
    return observe(seen.raw, events=events, node=node)


def _raise_if_lost(plan: Plan, seen: Seen | None, view: PodView) -> None:
    if seen is None:
        return
    name = name_of(plan)
    if seen.deleted or view.deleting:
        if view.evicted:
            raise _error(
                Reason.POD_EVICTED, f"pod {name} was evicted: {view.reason} {view.message}"
            )
        raise _error(Reason.POD_DELETED, f"pod {name} was deleted while the build ran")
    if view.evicted:
        raise _error(Reason.POD_EVICTED, f"pod {name} was evicted: {view.reason} {view.message}")
    ended = view.box_ended
    if ended is None or ended.reason in ("StartError", "ContainerCannotRun"):
        return
    if ended.out_of_memory:
        raise _error(
            Reason.OUT_OF_MEMORY,
            "the box ran out of memory and was killed as a whole: raise spec.pod.box.resources.limits.memory",
        )
    raise _error(
        Reason.BOX_TERMINATED,
        f"the box ended while the build ran: exit code {ended.exit_code} {ended.reason} {ended.message}".rstrip(),
    )


def _raise_if_final(run: Run, plan: Plan, view: PodView, problem: StartProblem | None) -> None:
    if problem is not None and problem.verdict == "fail":
        raise _error(problem.reason, problem.message)
    if not view.created:
        return
    age = (run.tools.clock.now() - datetime.fromisoformat(view.created)).total_seconds()
    if age > plan.pending_timeout:
        reason = problem.reason if problem is not None else Reason.PENDING
        detail = problem.message if problem is not None else "the box did not answer"
        raise _error(reason, f"not started within {plan.pending_timeout:.0f} s: {detail}")


def _error(reason: Reason, message: str) -> SentinelError:
    kind = UserError if reason.blame is Blame.USER else InfrastructureError
    return kind(message, reason=reason)
