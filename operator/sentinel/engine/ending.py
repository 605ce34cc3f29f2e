"""The end of a box: it is waited for, and then its pod has some seconds to say why.

Whatever notices first (a session that closes, a container that ended, a pod that is being deleted) knows only that the
box ends. An eviction, a node that shuts down, `kubectl delete` and a step's `kill 1` all look alike at that moment.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.board import Seen
from sentinel.errors import SentinelError
from sentinel.plan.ending import Ending, why_ended
from sentinel.plan.observe import observe

log = logging.getLogger(__name__)

GRACE_MORE = 10.0
"""Seconds beyond a pod's own grace until a box that should have ended is not waited for any longer."""

LONGEST_GRACE = 60.0
"""Seconds that a grace counts for, whatever `kubectl delete --grace-period` was given: ours is 30."""

REPORTED_WITHIN = 60.0
"""Seconds from the end of the session until the pod shows anything of the box's end: a busy kubelet takes its time."""

SETTLED_WITHIN = 10.0
"""Seconds that a pod whose box has ended may take to say why. Its services may run on: then it never says more."""

LOOK_EVERY = 2.0
"""Seconds without news after which the pod is read: a watch may be late exactly when a node is in trouble."""


def ending_of(attempt: Attempt, seen: Seen | None) -> Ending | None:
    """What the pod says of its end as it was last seen; None where it says nothing of the kind."""
    if seen is None:
        return None
    aliases = {service.container: service.alias for service in attempt.plan.services}
    return why_ended(observe(seen.raw), gone=seen.deleted, aliases=aliases)


def box_ends(attempt: Attempt) -> bool:
    """Whether the box has ended or is about to, as far as session and pod tell at this moment."""
    ending = ending_of(attempt, attempt.run.own(attempt.seen()))
    return attempt.session.state.closed is not None or ending is not None


async def why_box_ended(attempt: Attempt) -> SentinelError:
    """The error that says why the attempt's box ended: a UserError or an InfrastructureError.

    Called as soon as anything shows that the box ends. It returns once the box has ended, so that its steps have had
    their grace and its logs are stored as far as they ever will be, and its pod has said why or had its time.
    """
    session = attempt.session
    if session.state.opened is not None and session.state.closed is None:
        await _stopped(attempt)

    def shown(seen: Seen | None) -> Ending | None:
        return ending_of(attempt, attempt.run.own(seen))

    def settled(seen: Seen | None) -> Ending | None:
        found = ending_of(attempt, attempt.run.own(seen))
        return found if found is not None and found.final else None

    found: Ending | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(REPORTED_WITHIN):
            found = await attempt.until(shown, every=LOOK_EVERY)
    if found is not None and not found.final:
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_WITHIN):
                found = await attempt.until(settled, every=LOOK_EVERY)
    if found is None:
        found = Ending(
            reason=Reason.BOX_TERMINATED,
            message=f"the box ended its session while the build ran; pod {attempt.id.pod} does not say why",
        )
    log.info("build %s/%s: the box ended: %s: %s", *attempt.run.key, found.reason, found.message)
    return found.reason.error(found.message)


async def _stopped(attempt: Attempt) -> None:
    """Wait until an open box has stopped its steps and closed its session, or cannot any more."""

    def stands_still(seen: Seen | None) -> bool | None:
        return _stands_still(attempt.run.own(seen))

    waits = {
        asyncio.ensure_future(attempt.session.wait_for(lambda state: state.closed is not None)),
        asyncio.ensure_future(attempt.until(stands_still, every=LOOK_EVERY)),
    }
    try:
        limit = _grace(attempt.seen()) + GRACE_MORE
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


def _grace(seen: Seen | None) -> float:
    """Seconds between TERM and KILL, of the pod's deletion, or of its spec."""
    if seen is None:
        return 0.0
    deletion = seen.raw["metadata"].get("deletionGracePeriodSeconds")
    spec = seen.raw["spec"].get("terminationGracePeriodSeconds", 30)
    return min(float(spec if deletion is None else deletion), LONGEST_GRACE)
