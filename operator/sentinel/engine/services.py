"""Services that die while the build runs: told to people, and their last words put into the build's log.

The kubelet keeps the end of a failed container's output as its termination message (2 KiB), so nobody has to read logs.
It goes to boxkit, which masks it: a service may print what a step sent to it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from sentinel.engine.run import Outcome, Run
from sentinel.errors import SentinelError
from sentinel.plan.model import Plan
from sentinel.plan.observe import Ended, PodView
from sentinel.session.client import Session

log = logging.getLogger(__name__)

NOTED_WITHIN = 5.0
"""Seconds for a box to take a service's last words."""


async def tell_dead_services(run: Run, plan: Plan, view: PodView, session: Session) -> None:
    """Report every service that ended with an error, once. Needs an open session; never fails the build."""
    names = {service.container: service.alias for service in plan.services}
    for container, ended in view.services_ended:
        alias = names.get(container, container)
        if ended.exit_code == 0 or alias in run.dead_services:
            continue
        what = describe(alias, ended)
        run.dead_services[alias] = what
        text = f"--- sentinel: {what}"
        if ended.message:
            text += f"; its last words:\n{ended.message}\n--- sentinel: end of service {alias}"
        try:
            # We stand beside the build as its guard: a box that cannot be reached must not keep us from seeing why.
            async with asyncio.timeout(NOTED_WITHIN):
                await session.note(f"service/{alias}", text)
        except (SentinelError, TimeoutError) as e:
            log.warning("build %s/%s: %s, and cannot be noted: %s", *run.key, what, e)
        run.report.noticed(message=f"{what}; its last words are in the build's log")


def describe(alias: str, ended: Ended) -> str:
    """How a service ended, in a few words."""
    if ended.out_of_memory:
        return (
            f"service {alias} ran out of memory and was killed: raise "
            f"spec.pod.services.{alias}.resources.limits.memory"
        )
    return f"service {alias} ended with exit code {ended.exit_code}"


def blame_services(run: Run, outcome: Outcome) -> Outcome:
    """A failed build's message also names the services that had died: they are the likely cause."""
    if outcome.succeeded or not run.dead_services:
        return outcome
    return replace(outcome, message="; ".join([outcome.message, *run.dead_services.values()]))
