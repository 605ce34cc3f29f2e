"""Services that end while the build runs: reported, and their last output is put into the build's log.

The kubelet keeps the end of a failed container's output as its termination message (2 KiB), so no logs have to be read.
It goes to boxkit, which masks it: a service may print what a step sent to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from sentinel.engine.attempt import Attempt
from sentinel.engine.run import Outcome
from sentinel.errors import SentinelError
from sentinel.plan.observe import Ended, PodView

log = logging.getLogger(__name__)


NOTE_WITHIN = 2.0
"""Seconds that a box may take for a note. The guard of the pod must not wait for a box that may be lost."""


async def report_dead_services(attempt: Attempt, view: PodView, reported: set[str]) -> None:
    """Report every service that ended with an error and is not in `reported` yet, and add it.

    Needs an open session; never fails the build. If the box does not answer, the next call tries again.
    """
    names = {service.container: service.alias for service in attempt.plan.services}
    for container, ended in view.services_ended:
        alias = names.get(container, container)
        if ended.exit_code == 0 or alias in reported:
            continue
        what = describe(alias, ended)
        attempt.dead_services[alias] = what
        text = f"--- sentinel: {what}"
        if ended.message:
            text += f"; its last words:\n{ended.message}\n--- sentinel: end of service {alias}"
        try:
            async with asyncio.timeout(NOTE_WITHIN):
                await attempt.session.note(f"service/{alias}", text)
        except TimeoutError:
            continue
        except SentinelError as e:
            log.warning(
                "build %s/%s: %s, and cannot be noted: %s", *attempt.run.key, what, e.message
            )
        reported.add(alias)
        attempt.report.noticed(message=f"{what}; its last words are in the build's log")


def describe(alias: str, ended: Ended) -> str:
    """How a service ended, in a few words."""
    if ended.out_of_memory:
        return (
            f"service {alias} ran out of memory and was killed: raise "
            f"spec.pod.services.{alias}.resources.limits.memory"
        )
    return f"service {alias} ended with exit code {ended.exit_code}"


def blame_services(outcome: Outcome, dead: Mapping[str, str]) -> Outcome:
    """A failed build's message also names the services that had died: they are the likely cause."""
    if outcome.succeeded or not dead:
        return outcome
    return replace(outcome, message="; ".join([outcome.message, *dead.values()]))
