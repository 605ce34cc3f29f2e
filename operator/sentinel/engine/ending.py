"""The end of a box: it is waited for, and then its pod has some seconds to say why.

Whatever notices first (a session that closes, a container that ended, a pod that is being deleted) knows only that the
box ends. An eviction, a node that shuts down, `kubectl delete` and a step's `kill 1` all look alike at that moment.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sentinel.api.reasons import Blame, Reason
from sentinel.engine.board import Board, Seen
from sentinel.engine.look import until
from sentinel.engine.ours import own
from sentinel.engine.run import Run
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.kube.resources import PODS
from sentinel.plan.ending import Ending, why_ended
from sentinel.plan.model import Plan
from sentinel.plan.names import pod_name
from sentinel.plan.observe import observe
from sentinel.session.client import Session

log = logging.getLogger(__name__)

GRACE_MORE = 10.0
"""Seconds beyond a pod's own grace until a box that should have ended is not waited for any longer."""

LONGEST_GRACE = 60.0
"""Seconds that a grace counts for, whatever a `kubectl delete --grace-period` of somebody's says: ours is 30."""

REPORTED_WITHIN = 20.0
"""Seconds from the end of the session until the pod shows anything of the box's end."""

SETTLED_WITHIN = 10.0
"""Seconds that a pod whose box has ended may take to say why. Its services may run on: then it never says more."""

LOOK_EVERY = 2.0
"""Seconds without news after which the pod is read: a watch may be late exactly when a node is in trouble."""


def ending_of(plan: Plan, seen: Seen | None) -> Ending | None:
    """What the pod says of its end as it was last seen; None where it says nothing of the kind."""
    if seen is None:
        return None
    aliases = {service.container: service.alias for service in plan.services}
    return why_ended(observe(seen.raw), gone=seen.deleted, aliases=aliases)


def box_ends(run: Run, plan: Plan, session: Session) -> bool:
    """Whether the box has ended or is about to, as far as session and pod tell at this moment."""
    seen = run.tools.pods.get(
        (plan.namespace, pod_name(build=plan.build, uid=plan.uid, attempt=plan.attempt))
    )
    return session.state.closed is not None or ending_of(plan, own(run, seen)) is not None


async def why_box_ended(run: Run, plan: Plan, session: Session) -> SentinelError:
    """The error that says why the attempt's box ended: a UserError or an InfrastructureError.

    Called as soon as anything shows that the box ends. It returns once the box has ended, so that its steps have had
    their grace and its logs are stored as far as they ever will be, and its pod has said why or had its time.
    """
    key = (plan.namespace, pod_name(build=plan.build, uid=plan.uid, attempt=plan.attempt))
    kube, pods = run.tools.kube, run.tools.pods
    if session.state.opened is not None and session.state.closed is None:
        await _stopped(run, plan, session)

    def shown(seen: Seen | None) -> Ending | None:
        return ending_of(plan, own(run, seen))

    def settled(seen: Seen | None) -> Ending | None:
        found = ending_of(plan, own(run, seen))
        return found if found is not None and found.final else None

    found: Ending | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(REPORTED_WITHIN):
            found = await until(kube, PODS, pods, key, shown, every=LOOK_EVERY)
    if found is not None and not found.final:
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_WITHIN):
                found = await until(kube, PODS, pods, key, settled, every=LOOK_EVERY)
    if found is None:
        found = Ending(
            reason=Reason.BOX_TERMINATED,
            message=f"the box ended its session while the build ran; pod {key[1]} does not say why",
        )
    log.info("build %s/%s: the box ended: %s: %s", *run.key, found.reason, found.message)
    kind = UserError if found.reason.blame is Blame.USER else InfrastructureError
    return kind(found.message, reason=found.reason)


async def _stopped(run: Run, plan: Plan, session: Session) -> None:
    """Wait until an open box has stopped its steps and closed its session, or cannot any more."""
    key = (plan.namespace, pod_name(build=plan.build, uid=plan.uid, attempt=plan.attempt))

    def stands_still(seen: Seen | None) -> bool | None:
        return _stands_still(own(run, seen))

    waits = {
        asyncio.ensure_future(session.wait_for(lambda state: state.closed is not None)),
        asyncio.ensure_future(
            until(run.tools.kube, PODS, run.tools.pods, key, stands_still, every=LOOK_EVERY)
        ),
    }
    try:
        limit = _grace(run.tools.pods, key) + GRACE_MORE
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def _stands_still(seen: Seen | None) -> bool | None:
    if seen is None or seen.deleted:
        return True
    view = observe(seen.raw)
    return view.over or view.box_ended is not None or None


def _grace(pods: Board, key: tuple[str, str]) -> float:
    """Seconds between TERM and KILL, as the pod was told when it was deleted, or as its spec has it."""
    seen = pods.get(key)
    if seen is None:
        return 0.0
    told = seen.raw["metadata"].get("deletionGracePeriodSeconds")
    spec = seen.raw["spec"].get("terminationGracePeriodSeconds", 30)
    return min(float(spec if told is None else told), LONGEST_GRACE)
