"""Steps that the operator does itself while the box waits: pushes of the box as it is at that moment.

The box keeps their place in its queue and journal, so that a restart of the operator finds one that runs, does it
again, and asks for the same ImageCommit: its name is a function of the attempt and the step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sentinel.api.imagecommit import ImageCommit
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.commit import CommitRequest, commit_box, not_in_image
from sentinel.engine.dockerpush import Push, read_push, wants_sync
from sentinel.engine.pullsecret import put_logins
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import SECRETS
from sentinel.plan.internal import SCRATCH, scratch_directories
from sentinel.plan.model import PlanStep
from sentinel.registry.ecr import EcrKeys, ecr_login
from sentinel.registry.pushing import Pushing, allowed_places, may_push
from sentinel.session.journal import SessionState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """How such a step ended."""

    exit_code: int
    message: str


async def do_ours(attempt: Attempt) -> None:
    """Do each of the operator's steps as the box comes to it, until cancelled."""
    ours = {step.ordinal: step for step in attempt.plan.steps if step.kind == "operator"}
    if not ours:
        return

    def due(state: SessionState) -> int | None:
        return next(
            (each for each in ours if each in state.steps and state.steps[each].state == "running"),
            None,
        )

    while ours:
        state = await attempt.session.wait_for(lambda state: due(state) is not None)
        ordinal = due(state)
        if ordinal is None:
            continue
        step = ours.pop(ordinal)
        verdict = await _push(attempt, step)
        await attempt.session.verdict(ordinal, exit_code=verdict.exit_code, message=verdict.message)


async def _push(attempt: Attempt, step: PlanStep) -> Verdict:
    """The box as it is, or a directory of it, to where the step's properties say now."""
    try:
        push = await _read(attempt, step)
        for number, text in enumerate(push.notes):
            await attempt.session.note(f"{step.ordinal}-note-{number}", text)
        _check_allowed(attempt, push)
        names = ", ".join(push.tags)
        what = "an image from scratch" if step.name == SCRATCH else "the box"
        await attempt.session.note(
            f"{step.ordinal}-begin", f"pushing {what} to {push.target.name}: {names}"
        )
        async with _login(attempt, step, push) as secret:
            ended = await commit_box(attempt, _request(attempt, step, push, secret=secret))
    except (UserError, InfrastructureError) as e:
        return await _failed(attempt, step, e.message)
    if not isinstance(ended, ImageCommit):
        return await _failed(attempt, step, ended[1])
    status = ended.status
    missing = [f"{tag.name} ({tag.message})" for tag in status.tags if not tag.pushed]
    if missing:
        return await _failed(attempt, step, f"tags not written: {', '.join(missing)}")
    pushed = f"pushed {push.target.name} {names}: {status.digest}"
    lines = [pushed, status.message, *filter(None, [not_in_image(status)])]
    await attempt.session.note(f"{step.ordinal}-end", "\n".join(lines))
    return Verdict(0, pushed)


async def _failed(attempt: Attempt, step: PlanStep, message: str) -> Verdict:
    await attempt.session.note(f"{step.ordinal}-failed", f"failed: {message}")
    return Verdict(1, message)


async def _read(attempt: Attempt, step: PlanStep) -> Push:
    properties = dict(step.properties)
    if wants_sync(properties):
        environment = dict(await attempt.session.environment())
    else:
        environment = dict((await attempt.resolve_environment()).env)
    return read_push(
        properties,
        environment,
        scratch=step.name == SCRATCH,
        secret_values=await _secret_values(attempt),
        default_registry=attempt.tools.settings.images.default_registry,
    )


async def _secret_values(attempt: Attempt) -> list[str]:
    """The values of protected variables, as far as they can be read again."""
    try:
        resolved = await attempt.resolve_environment()
    except SentinelError as e:
        # After a restart a Secret may be gone; the box masks its values all the same.
        log.info("build %s/%s: %s", *attempt.run.key, e.message)
        return []
    return [each.decode(errors="replace") for each in resolved.masks]


def _check_allowed(attempt: Attempt, push: Push) -> None:
    """Raises UserError where builds of this namespace may not push there."""
    images, build = attempt.tools.settings.images, attempt.build
    decision = may_push(push.target, images=images, namespace=build.namespace)
    has_login = push.login is not None or build.spec.image.push_secret_ref is not None
    if decision is Pushing.DENIED or (decision is Pushing.WITH_LOGIN and not has_login):
        raise UserError(
            f"builds of namespace {build.namespace} may not push to {push.target.name}; allowed are "
            f"{allowed_places(images, namespace=build.namespace)}. A login is username and password of the step, or "
            "spec.image.pushSecretRef",
            reason=Reason.INVALID_SPEC,
        )


def _request(attempt: Attempt, step: PlanStep, push: Push, *, secret: str) -> CommitRequest:
    return CommitRequest(
        name=attempt.id.step_commit(step.ordinal),
        repository=push.target.name,
        tags=push.tags,
        push_secret=secret,
        config=push.config,
        exclude_paths=attempt.plan.image.exclude_paths,
        scratch_from=scratch_directories(attempt.plan) if step.name == SCRATCH else (),
        step=step.ordinal,
    )


@asynccontextmanager
async def _login(attempt: Attempt, step: PlanStep, push: Push) -> AsyncIterator[str]:
    """The name of the Secret to push with, "" for none. One with the step's own login exists as long as the push."""
    if push.login is None:
        ref = attempt.build.spec.image.push_secret_ref
        yield ref.name if ref is not None else ""
        return
    login = push.login
    if isinstance(login, EcrKeys):
        login = await ecr_login(login, policy=attempt.tools.settings.registry_policy())
    name = attempt.id.push_secret(step.ordinal)
    made = await put_logins(attempt, name, {push.target.name: login})
    try:
        yield name
    except asyncio.CancelledError:
        if not attempt.run.cancelled.is_set():
            # The operator is stopped: its successor goes on with this push, and the agent may still read the Secret.
            raise
        await _delete(attempt, made)
        raise
    await _delete(attempt, made)


async def _delete(attempt: Attempt, secret: dict[str, Any]) -> None:
    metadata = secret["metadata"]
    with suppress(NotFound):
        await attempt.tools.kube.delete(
            SECRETS, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
        )
