"""Creating what a build needs: the one way in which the engine makes an object, and the one place where a refusal is
understood.

A quota or a service account that is not there yet is waited for with backoff, and the Build's status says so. Whatever
else the API server refuses ends the Build or the stage, with a reason, the object, and a remedy. Never a bare ApiError.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.engine.run import Run
from sentinel.errors import (
    Conflict,
    GoneError,
    SentinelError,
    TransientError,
)
from sentinel.kube.client import Kube
from sentinel.kube.errors import ApiError
from sentinel.kube.resources import Resource
from sentinel.plan.refusals import Refusal, classify_refusal, refused

log = logging.getLogger(__name__)

BACKOFF = Backoff(first=1.0, longest=15.0, jitter=0.0)
"""Between two tries of what may pass."""


async def create(
    run: Run,
    resource: Resource,
    body: Mapping[str, Any],
    *,
    within: float,
    otherwise: Callable[[], Mapping[str, Any]] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The object as the server made it from `body`, or where its resources were refused, from `otherwise`.

    Waits at most `within` seconds for what may pass. Raises AlreadyExists, as `Kube.create` does; UserError or
    InfrastructureError with a reason; CancelledByUser while it waits; GoneError where the namespace is being deleted;
    TransientError where the API server is away.
    """
    clock = run.tools.clock
    others = [otherwise] if otherwise is not None else []
    began, tried, shown = clock.monotonic(), 0, False
    try:
        while True:
            answer = await _try(run.tools.kube, resource, [lambda: body, *others], aliases or {})
            if not isinstance(answer, Refusal):
                if shown and not run.writer.begun:
                    text = f"{refused(body)} was created"
                    run.writer.waits(Reason.PENDING, text)
                return answer
            waited = clock.monotonic() - began
            if answer.verdict == "fail" or waited >= min(answer.grace, within):
                raise _error(answer, waited)
            run.wait_for_room(answer.reason, answer.message)
            if not shown:
                log.info("build %s/%s: waiting: %s", *run.key, answer.message)
                run.report.noticed(message=f"waiting: {answer.message}")
            shown = True
            tried += 1
            await run.unless_cancelled(clock.sleep(BACKOFF.pause(tried)))
    finally:
        if shown:
            run.has_room()


async def _try(
    kube: Kube,
    resource: Resource,
    bodies: Sequence[Callable[[], Mapping[str, Any]]],
    aliases: Mapping[str, str],
) -> dict[str, Any] | Refusal:
    """The object, or the refusal to act on: of several, one that may pass, else that of the first body."""
    refusals: list[Refusal] = []
    for make in bodies:
        body = make()
        namespace = body["metadata"]["namespace"]
        try:
            return await kube.create(resource, dict(body), namespace=namespace)
        except (Conflict, TransientError):
            raise
        except ApiError as e:
            if e.status == 401:
                # Our own token: nothing about the object, and renewed before the next try.
                raise TransientError(e.message) from e
            refusal = classify_refusal(e.status, e.text, refused(body, aliases=aliases))
        if refusal.verdict == "gone":
            raise GoneError(refusal.message)
        refusals.append(refusal)
        if not refusal.resources:
            break
    return next((each for each in refusals if each.verdict == "wait"), refusals[0])


def _error(refusal: Refusal, waited: float) -> SentinelError:
    after = f" (waited {waited:.0f} s)" if waited >= 1 else ""
    return refusal.reason.error(f"{refusal.message}{after}")
