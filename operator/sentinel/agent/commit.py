"""One commit, from the object that asks for it to the status that says how it went.

`run_commit` reads top to bottom. The box stands still only while its changes are copied into the spool: before, the
login is tried and the base image's layers are brought over; after, the copy is compressed and pushed.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Event
from typing import TypeVar

from sentinel.agent.authorise import Permit, authorise
from sentinel.agent.failures import CommitFailure, CommitRefused
from sentinel.agent.image import build_image
from sentinel.agent.layer import PlainLayer, check_space, compress_layer, write_layer
from sentinel.agent.push import Pusher
from sentinel.agent.residue import mount_residue
from sentinel.agent.runtimes.base import Box, Freeze
from sentinel.agent.secrets import read_keychain
from sentinel.agent.status import CommitStatus
from sentinel.agent.tools import Tools, patiently, status_of
from sentinel.agent.upperdir import Limits, UpperDir
from sentinel.api.imagecommit import (
    CommitPhase,
    ImageCommit,
    ImageCommitSpec,
    ImageCommitStatus,
    PushedTag,
)
from sentinel.api.reasons import CommitReason, Reason
from sentinel.errors import GoneError, SentinelError, UserError
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import BUILDS, IMAGE_COMMITS
from sentinel.registry import (
    Reference,
    RegistryClient,
    parse_reference,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 3
"""A commit that was begun so often and never ended probably ends the agent."""

_REASONS = {
    Reason.IMAGE_AUTH_FAILED: CommitReason.AUTH_FAILED,
    Reason.REGISTRY_UNAVAILABLE: CommitReason.REGISTRY_UNAVAILABLE,
    Reason.PUSH_FAILED: CommitReason.PUSH_REFUSED,
    Reason.IMAGE_NOT_FOUND: CommitReason.UNSUPPORTED,
}


async def run_commit(*, namespace: str, name: str, tools: Tools) -> None:
    """Do one commit, if it is there and has not ended. Its end, good or bad, is in its status.

    Cancelled (the agent is told to stop), it thaws the box and leaves the object claimed: the next run begins anew.
    """
    try:
        raw = await patiently(
            lambda: tools.kube.get(IMAGE_COMMITS, namespace=namespace, name=name), tools
        )
    except NotFound:
        return
    status = status_of(raw, tools)
    if status.commit.status.phase is not None and status.commit.status.phase.ended:
        await status.retire()
        return
    log.info("commit %s/%s begins", namespace, name)
    try:
        outcome = await _outcome(status, tools)
        await status.end(outcome)
        log.info("commit %s/%s: %s: %s", namespace, name, outcome.phase, outcome.message)
    except GoneError as error:
        log.info("commit %s/%s is not ours any more: %s", namespace, name, error)


async def _outcome(status: CommitStatus, tools: Tools) -> ImageCommitStatus:
    """The last status: what was pushed, or why nothing was."""
    commit = status.commit
    try:
        permit = await patiently(
            lambda: authorise(commit, kube=tools.kube, settings=tools.settings, clock=tools.clock),
            tools,
        )
        if status.attempts >= MAX_ATTEMPTS:
            raise CommitFailure(
                CommitReason.RUNTIME_ERROR,
                f"it was begun {status.attempts} times and the agent ended each time: look at the agent's log",
            )
        await status.claim()
        try:
            async with asyncio.timeout(permit.seconds):
                return await _commit(permit, status, tools)
        except TimeoutError as error:
            raise CommitFailure(
                CommitReason.DEADLINE, f"it was not done at its deadline {commit.spec.deadline}"
            ) from error
    except GoneError:
        raise
    except SentinelError as error:
        return _failed(error)
    except Exception as error:
        log.exception("commit %s/%s failed by a mistake of ours", commit.namespace, commit.name)
        return ImageCommitStatus(
            phase=CommitPhase.FAILED,
            reason=CommitReason.RUNTIME_ERROR,
            message=f"the agent failed: {type(error).__name__}; its log says more",
        )


async def _commit(permit: Permit, status: CommitStatus, tools: Tools) -> ImageCommitStatus:
    commit, spec, settings = status.commit, status.commit.spec, tools.settings
    box = await tools.runtime.locate(permit.identity)
    async with AsyncExitStack() as stack:
        pusher = await _pusher(stack, commit, permit, tools)
        spool = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=settings.spool, prefix="commit-"))
        )
        upper, stop = await _measured(spec, box, spool, most=settings.spool_bytes)
        await pusher.push_base(box.manifest.layers)
        plain, freeze = await _copied(
            commit, box, upper, spool / "layer.tar", stop=stop, tools=tools
        )
        await status.write(
            ImageCommitStatus(
                phase=CommitPhase.PUSHING, frozen_milliseconds=round(freeze.seconds * 1000)
            )
        )
        layer = await _in_thread(
            lambda: compress_layer(
                plain, spool / "layer.gz", compression=spec.compression, stop=stop
            ),
            stop,
        )
        image = build_image(
            base_config=box.config,
            base=box.manifest,
            layer=layer,
            overlay=spec.config,
            created=tools.clock.now(),
            created_by=f"sentinel: pod {commit.namespace}/{spec.pod_name}",
        )
        digest = await pusher.push_image(image, layer, tag=spec.tags[0])
        tags = [PushedTag(name=spec.tags[0], pushed=True)]
        moving = spec.tags[1:]
        if moving and not await _is_wanted(commit, tools):
            message = "the build was cancelled"
            tags += [PushedTag(name=tag, pushed=False, message=message) for tag in moving]
        else:
            tags += [await pusher.move_tag(image, tag) for tag in moving]
    dropped = f"; {plain.dropped} devices and sockets left out" if plain.dropped else ""
    return ImageCommitStatus(
        phase=CommitPhase.SUCCEEDED,
        reason=CommitReason.COMMITTED,
        message=f"{plain.entries} changes in a layer of {layer.size} bytes{dropped}",
        layer_bytes=layer.size,
        layer_digest=layer.digest,
        digest=digest,
        tags=tags,
    )


async def _pusher(
    stack: AsyncExitStack, commit: ImageCommit, permit: Permit, tools: Tools
) -> Pusher:
    """Clients with the Build's own Secrets: one that pushes, one that reads the box's image."""
    spec, images = commit.spec, tools.settings.images
    push = await read_keychain(
        commit, [spec.push_secret_ref] if spec.push_secret_ref else [], tools
    )
    if permit.needs_login and push.find(permit.target) is None:
        raise CommitFailure(
            CommitReason.AUTH_FAILED,
            f"the Secret of spec.image.pushSecretRef has no login for {permit.target.name}",
        )
    pull = await read_keychain(commit, spec.pull_secret_refs, tools)
    client, reader = [
        await stack.enter_async_context(
            RegistryClient(credentials=keychain, insecure=images.insecure_registries)
        )
        for keychain in (push, pull)
    ]
    return Pusher(
        client=client,
        reader=reader,
        runtime=tools.runtime,
        target=permit.target,
        base=_base_reference(spec, default_registry=images.default_registry),
    )


def _base_reference(spec: ImageCommitSpec, *, default_registry: str) -> Reference | None:
    try:
        return parse_reference(spec.base_image, default_registry=default_registry)
    except UserError:
        # An image loaded onto the node by hand has no such name, and its layers are on the node.
        return None


async def _measured(
    spec: ImageCommitSpec, box: Box, spool: Path, *, most: int
) -> tuple[UpperDir, Event]:
    """The upper directory, known to be small enough for the limits and the spool."""
    stop = Event()

    def measure() -> UpperDir:
        upper = UpperDir(
            box.upper,
            limits=Limits(apparent_bytes=spec.limits.apparent_bytes, entries=spec.limits.entries),
            excluded=spec.exclude_paths,
            residue=mount_residue(box.upper, lowers=box.lowers, mounts=box.mounts),
            stop=stop,
        )
        check_space(spool, upper.measure(), compression=spec.compression, most=most)
        return upper

    return await _in_thread(measure, stop), stop


async def _copied(
    commit: ImageCommit, box: Box, upper: UpperDir, path: Path, *, stop: Event, tools: Tools
) -> tuple[PlainLayer, Freeze]:
    """The changes in a file, copied while the box stood still, for `freeze_seconds` at most."""
    limit = tools.settings.freeze_seconds
    async with tools.runtime.frozen(box, commit=commit.uid) as freeze:
        try:
            async with asyncio.timeout(limit) as clock:
                plain = await _in_thread(lambda: write_layer(upper, path, stop=stop), stop)
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"copying the box's changes took longer than {limit:g} s, for which a box may stand still at most",
            ) from error
    return plain, freeze


async def _in_thread(work: Callable[[], T], stop: Event) -> T:
    """Run blocking work beside the loop. Cancelled, the thread is told to stop and not waited for."""
    try:
        return await asyncio.to_thread(work)
    except BaseException:
        stop.set()
        raise


async def _is_wanted(commit: ImageCommit, tools: Tools) -> bool:
    """Whether the build still stands behind its image: one cancelled meanwhile moves no tags."""
    owner = next(each for each in commit.metadata["ownerReferences"] if each.get("controller"))
    try:
        build = await patiently(
            lambda: tools.kube.get(BUILDS, namespace=commit.namespace, name=owner["name"]), tools
        )
    except NotFound:
        return False
    return build["metadata"]["uid"] == owner["uid"] and not build["spec"].get("cancel")


def _failed(error: SentinelError) -> ImageCommitStatus:
    if isinstance(error, CommitFailure):
        why = error.why
    else:
        why = _REASONS.get(error.reason or Reason.INTERNAL, CommitReason.RUNTIME_ERROR)
    refused = isinstance(error, CommitRefused)
    return ImageCommitStatus(
        phase=CommitPhase.REFUSED if refused else CommitPhase.FAILED,
        reason=why,
        message=error.message[:1024],
    )
