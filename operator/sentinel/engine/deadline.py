"""The operator's own deadlines, for a box that does not keep its own: steps run as the same user as boxkit, often root.

They are later than boxkit's by a slack in which an honest box has long stopped what it runs. Past them the Build ends,
and with it the box.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sentinel.api.reasons import Reason
from sentinel.errors import CancelledByUser, UserError
from sentinel.plan.model import PlanStep
from sentinel.session.client import Session
from sentinel.session.journal import SessionState

SLACK = 120.0
"""Seconds beyond a timeout: 10 of grace, 10 until the kernel has ended what was killed, and a node under load."""

BETWEEN = 300.0
"""Seconds in which the next step must begin: its files are copied, and a shell may be started (60 s)."""

CANCELLED_WITHIN = 60.0
"""Seconds from a cancel to the end of the steps."""


async def steps_done(
    session: Session, steps: Iterable[PlanStep], *, build_timeout: float
) -> SessionState:
    """The state in which all of `steps`, of one phase, have ended or been skipped.

    `build_timeout` in seconds bounds main steps, 0 for none.
    Raises UserError CommandTimeout or BuildTimeout where the box lets one run on past its time.
    """
    wanted = {step.ordinal: step for step in steps}
    main = any(step.phase == "main" for step in wanted.values())
    seconds = build_timeout
    limited = main and seconds > 0
    try:
        async with asyncio.timeout(seconds + SLACK if limited else None) as whole:
            while not session.state.done(wanted):
                await _next_change(session, wanted)
    except TimeoutError:
        if not whole.expired():
            raise
        raise UserError(
            f"the main steps did not end within {seconds:.0f} s, the Build's timeouts.build, and the box "
            "does not stop them: something in it keeps boxkit from working",
            reason=Reason.BUILD_TIMEOUT,
        ) from None
    return session.state


async def _next_change(session: Session, wanted: dict[int, PlanStep]) -> None:
    """Wait until a step begins or ends."""
    before = _states(session.state, wanted)
    running = next((n for n, state in before.items() if state == "running"), None)
    step = wanted[running] if running is not None else None
    seconds = None if step is not None and step.command_timeout <= 0 else BETWEEN
    if step is not None and step.command_timeout > 0:
        seconds = step.command_timeout + SLACK
    try:
        async with asyncio.timeout(seconds) as limit:
            await session.wait_for(lambda state: _states(state, wanted) != before)
    except TimeoutError:
        if not limit.expired():
            raise
        what = (
            f"step {step.display_name!r} ran longer than its command-timeout, {step.command_timeout:.0f} s, and the "
            "box does not stop it"
            if step is not None
            else f"the box began no step for {BETWEEN:.0f} s"
        )
        raise UserError(
            f"{what}: something in it keeps boxkit from working", reason=Reason.COMMAND_TIMEOUT
        ) from None


def _states(state: SessionState, wanted: Iterable[int]) -> dict[int, str]:
    return {n: state.steps[n].state for n in wanted if n in state.steps}


async def cancelled(session: Session, why: str, *, after: bool = False) -> None:
    """Pass a cancel on; with `after` after-steps still run.

    Raises CancelledByUser if nothing has cancelled this within CANCELLED_WITHIN.
    """
    try:
        async with asyncio.timeout(CANCELLED_WITHIN):
            await session.cancel(why, after=after)
            await asyncio.Event().wait()
    except TimeoutError:
        raise CancelledByUser(
            f"{why}; the box did not stop its steps within {CANCELLED_WITHIN:.0f} s, so it was ended",
            reason=Reason.CANCELLED,
        ) from None
