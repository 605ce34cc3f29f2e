"""What the steps have in common that the operator does itself: how they end, and what they are allowed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.properties import wants_sync
from sentinel.engine.pullsecret import put_logins
from sentinel.errors import SentinelError, UserError
from sentinel.image.dockerconfig import Credential
from sentinel.image.reference import Reference
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import SECRETS
from sentinel.plan.model import PlanStep
from sentinel.registry.ecr import EcrKeys, ecr_login
from sentinel.registry.pushing import Pushing, allowed_places, may_push

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """How such a step ended."""

    exit_code: int
    message: str


async def failed(attempt: Attempt, step: PlanStep, message: str) -> Verdict:
    """The verdict of a step that failed, with a line in its log."""
    await attempt.session.note(f"{step.ordinal}-failed", f"failed: {message}")
    return Verdict(1, message)


async def secret_values(attempt: Attempt) -> list[str]:
    """The values of protected variables, as far as they can be read again."""
    try:
        resolved = await attempt.resolve_environment()
    except SentinelError as e:
        # After a restart a Secret may be gone; the box masks its values all the same.
        log.info("build %s/%s: %s", *attempt.run.key, e.message)
        return []
    return [each.decode(errors="replace") for each in resolved.masks]


def check_allowed(attempt: Attempt, target: Reference, *, own_login: bool) -> None:
    """Raises UserError InvalidSpec where builds of this namespace may not push there. `own_login`: the step has one."""
    images, build = attempt.tools.settings.images, attempt.build
    decision = may_push(target, images=images, namespace=build.namespace)
    has_login = own_login or build.spec.image.push_secret_ref is not None
    if decision is Pushing.DENIED or (decision is Pushing.WITH_LOGIN and not has_login):
        raise UserError(
            f"builds of namespace {build.namespace} may not push to {target.name}; allowed are "
            f"{allowed_places(images, namespace=build.namespace)}. A login is username and password of the step, or "
            "spec.image.pushSecretRef",
            reason=Reason.INVALID_SPEC,
        )


async def step_environment(attempt: Attempt, step: PlanStep) -> dict[str, str]:
    """What replaces variables in the step's properties: the box's environment now, or the build's own."""
    if wants_sync(dict(step.properties)):
        return dict(await attempt.session.environment())
    return dict((await attempt.resolve_environment()).env)


async def exchanged(attempt: Attempt, login: Credential | EcrKeys) -> Credential:
    """A login as a registry takes it: Amazon's keys are exchanged for a password."""
    if isinstance(login, EcrKeys):
        settings = attempt.tools.settings
        return await ecr_login(login, policy=settings.registry_policy(), ca=settings.ca)
    return login


@asynccontextmanager
async def step_login(
    attempt: Attempt, step: PlanStep, *, login: Credential, place: str
) -> AsyncIterator[str]:
    """The name of a Secret with a step's own login for `place` (host/path), which exists as long as the block runs."""
    name = attempt.id.push_secret(step.ordinal)
    made = await put_logins(attempt, name, {place: login})
    try:
        yield name
    except asyncio.CancelledError:
        if not attempt.run.cancelled.is_set():
            # The operator is stopped: its successor goes on with this step, and others may still read the Secret.
            raise
        await _delete(attempt, made)
        raise
    except BaseException:
        await _delete(attempt, made)
        raise
    await _delete(attempt, made)


async def _delete(attempt: Attempt, secret: dict[str, Any]) -> None:
    metadata = secret["metadata"]
    with suppress(NotFound):
        await attempt.tools.kube.delete(
            SECRETS, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
        )
