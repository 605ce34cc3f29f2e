"""`internal/docker-push`, `docker-scratch-push` and `store-container`: the box, its output, or an image that an earlier
step built, to where the step's properties say.

Not here: reading the properties (`dockerpush.py`), committing (`commit.py`), building (`imagebuild.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sentinel.api.imagecommit import ImageCommit
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.builtimage import built_reference, find_built
from sentinel.engine.commit import CommitRequest, commit_box, not_in_image
from sentinel.engine.dockerpush import Push, read_push
from sentinel.engine.ourstep import (
    Verdict,
    check_allowed,
    exchanged,
    failed,
    secret_values,
    step_environment,
    step_login,
)
from sentinel.engine.readback import Problem
from sentinel.errors import InfrastructureError, UserError
from sentinel.image.dockerconfig import docker_config, keychain_from_docker_config
from sentinel.plan.internal import SCRATCH
from sentinel.plan.model import PlanStep
from sentinel.resolver.logins import logins_of
from sentinel.resolver.messages import CopyRequest


async def push_image(attempt: Attempt, step: PlanStep) -> Verdict:
    """The box as it is, a directory of it, or an image that was built, to where the step's properties say now."""
    try:
        push = await _read(attempt, step)
        for number, text in enumerate(push.notes):
            await attempt.session.note(f"{step.ordinal}-note-{number}", text)
        check_allowed(attempt, push.target, own_login=push.login is not None)
        names = ", ".join(push.tags)
        what = f"image {push.built}" if push.built else "the box"
        if step.name == SCRATCH:
            what = "an image from scratch"
        await attempt.session.note(
            f"{step.ordinal}-begin", f"pushing {what} to {push.target.name}: {names}"
        )
        if push.built:
            digest = await _copy(attempt, push)
            pushed = f"pushed {push.target.name} {names}: {digest}"
            await attempt.session.note(f"{step.ordinal}-end", pushed)
            return Verdict(0, pushed)
        async with _login(attempt, step, push) as secret:
            ended = await commit_box(attempt, _request(attempt, step, push, secret=secret))
    except (UserError, InfrastructureError) as e:
        return await failed(attempt, step, e.message)
    return await _judge(attempt, step, ended, f"pushed {push.target.name} {names}")


async def store_box(attempt: Attempt, step: PlanStep) -> Verdict:
    """`internal/store-container`: the box as it is, in the Build's repository, where it can be pulled."""
    try:
        # A tag of the same form as that of a built image.
        target = built_reference(attempt, f"container-{step.ordinal}")
        check_allowed(attempt, target, own_login=False)
        await attempt.session.note(f"{step.ordinal}-begin", f"storing the box as {target}")
        ref = attempt.build.spec.image.push_secret_ref
        request = CommitRequest(
            name=attempt.id.step_commit(step.ordinal),
            repository=target.name,
            tags=(target.tag,),
            push_secret=ref.name if ref is not None else "",
            exclude_paths=attempt.plan.image.exclude_paths,
            step=step.ordinal,
        )
        ended = await commit_box(attempt, request)
    except (UserError, InfrastructureError) as e:
        return await failed(attempt, step, e.message)
    return await _judge(attempt, step, ended, f"stored {target}")


async def _judge(
    attempt: Attempt, step: PlanStep, ended: ImageCommit | Problem, done: str
) -> Verdict:
    """What became of a commit, in the step's log and as its verdict."""
    if not isinstance(ended, ImageCommit):
        return await failed(attempt, step, ended[1])
    status = ended.status
    missing = [f"{tag.name} ({tag.message})" for tag in status.tags if not tag.pushed]
    if missing:
        return await failed(attempt, step, f"tags not written: {', '.join(missing)}")
    pushed = f"{done}: {status.digest}"
    lines = [pushed, status.message, *filter(None, [not_in_image(status)])]
    await attempt.session.note(f"{step.ordinal}-end", "\n".join(lines))
    return Verdict(0, pushed)


async def _copy(attempt: Attempt, push: Push) -> str:
    """Copy the built image to where it is pushed, registry to registry; its digest."""
    built = await find_built(attempt, push.built)
    if built is None:
        raise UserError(
            f"image-name: no earlier step of this build made an image {push.built!r} with internal/docker-build",
            reason=Reason.CONFIG_INVALID,
        )
    own = given = await attempt.run.references.push_keychain()
    if push.login is not None:
        login = {push.target.name: await exchanged(attempt, push.login)}
        given = keychain_from_docker_config(
            docker_config(login), source="username and password of the step"
        )
    settings = attempt.tools.settings
    request = CopyRequest(
        source=built.reference,
        target=push.target.name,
        tags=push.tags,
        push_logins=logins_of(given),
        pull_logins=logins_of(own + await attempt.run.references.keychain()),
        insecure_registries=tuple(settings.images.insecure_registries),
        default_registry=settings.images.default_registry,
        registries=settings.registry_policy().to_json(),
        registries_ca=settings.ca,
    )
    resolver = attempt.tools.resolver
    async with resolver.session(
        namespace=attempt.plan.namespace, build=attempt.plan.build
    ) as copying:
        await copying.copy(request)
    return built.digest


async def _read(attempt: Attempt, step: PlanStep) -> Push:
    return read_push(
        dict(step.properties),
        await step_environment(attempt, step),
        scratch=step.name == SCRATCH,
        secret_values=await secret_values(attempt),
        default_registry=attempt.tools.settings.images.default_registry,
    )


def _request(attempt: Attempt, step: PlanStep, push: Push, *, secret: str) -> CommitRequest:
    return CommitRequest(
        name=attempt.id.step_commit(step.ordinal),
        repository=push.target.name,
        tags=push.tags,
        push_secret=secret,
        config=push.config,
        exclude_paths=attempt.plan.image.exclude_paths,
        scratch_from=attempt.plan.scratch_directories if step.name == SCRATCH else (),
        step=step.ordinal,
    )


@asynccontextmanager
async def _login(attempt: Attempt, step: PlanStep, push: Push) -> AsyncIterator[str]:
    """The name of the Secret to push with, "" for none. One with the step's own login exists as long as the push."""
    if push.login is None:
        ref = attempt.build.spec.image.push_secret_ref
        yield ref.name if ref is not None else ""
        return
    login = await exchanged(attempt, push.login)
    async with step_login(attempt, step, login=login, place=push.target.name) as name:
        yield name
