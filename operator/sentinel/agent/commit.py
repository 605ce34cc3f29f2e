"""One commit, from the object that asks for it to its last status.

`run_commit` reads top to bottom. The box is frozen only while its changes are copied into the spool: before, the
login is tried and the base image's layers are brought over; after, the copy is compressed and pushed. Boxes are read
one at a time; everything else of several commits runs side by side.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial

from sentinel.agent.authorise import Permit, authorise
from sentinel.agent.boxindex import IndexWriter
from sentinel.agent.changes import copied, measured
from sentinel.agent.failures import CommitFailure, CommitRefused, RuntimeFailure
from sentinel.agent.image import build_image, check_layers, scratch_base
from sentinel.agent.indexes import LARGEST
from sentinel.agent.layer import PlainLayer, compress_layer, packed_at_most
from sentinel.agent.previous import find_previous
from sentinel.agent.push import Pusher
from sentinel.agent.secrets import read_keychain
from sentinel.agent.status import CommitStatus
from sentinel.agent.tally import gib
from sentinel.agent.tools import Tools, retry_api, status_of
from sentinel.agent.upperdir import UpperDir
from sentinel.api.imagecommit import (
    CommitPhase,
    ExcludedPath,
    ImageCommit,
    ImageCommitSpec,
    ImageCommitStatus,
    PushedTag,
)
from sentinel.api.reasons import CommitReason, Reason
from sentinel.backoff import Backoff
from sentinel.errors import GoneError, SentinelError, UserError
from sentinel.image.reference import Reference, parse_reference
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import BUILDS, IMAGE_COMMITS
from sentinel.registry import RegistryClient
from sentinel.retry import retry
from sentinel.text import count_of

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""A commit that was started so often and never ended probably crashes the agent."""

_SLACK = 16 * 1024 * 1024
"""What a box may write between being measured and being frozen, besides an eighth of what was there."""

_LOCATED = Backoff(first=0.2, longest=5.0, tries=10)
"""Half a minute: a runtime that is restarted must not cost a build its image."""

_REASONS = {
    Reason.IMAGE_AUTH_FAILED: CommitReason.AUTH_FAILED,
    Reason.REGISTRY_UNAVAILABLE: CommitReason.REGISTRY_UNAVAILABLE,
    Reason.PUSH_FAILED: CommitReason.PUSH_REFUSED,
    Reason.IMAGE_NOT_FOUND: CommitReason.UNSUPPORTED,
    Reason.REGISTRY_NOT_ALLOWED: CommitReason.REPOSITORY_NOT_ALLOWED,
}


async def run_commit(*, namespace: str, name: str, tools: Tools) -> None:
    """Do one commit, if it is there and has not ended. Its end, good or bad, is in its status.

    Cancelled (the agent is stopped), it thaws the box and leaves the object claimed: the next run starts over.
    """
    try:
        raw = await retry_api(
            lambda: tools.kube.get(IMAGE_COMMITS, namespace=namespace, name=name), tools
        )
    except NotFound:
        return
    status = status_of(raw, tools)
    if status.commit.status.phase is not None and status.commit.status.phase.ended:
        await status.retire()
        return
    log.info("commit %s/%s started", namespace, name)
    try:
        outcome = await _outcome(status, tools)
        await status.end(outcome)
        log.info("commit %s/%s: %s: %s", namespace, name, outcome.phase, outcome.message)
    except GoneError as error:
        log.info("commit %s/%s was dropped: %s", namespace, name, error)


async def _outcome(status: CommitStatus, tools: Tools) -> ImageCommitStatus:
    """The last status: what was pushed, or why nothing was."""
    commit = status.commit
    try:
        permit = await retry_api(
            lambda: authorise(commit, kube=tools.kube, settings=tools.settings, clock=tools.clock),
            tools,
        )
        if status.attempts >= MAX_ATTEMPTS:
            raise CommitFailure(
                CommitReason.RUNTIME_ERROR,
                f"it was started {status.attempts} times and the agent ended each time; see the agent's log",
            )
        await status.claim()
        try:
            async with asyncio.timeout(permit.seconds):
                return await _commit(permit, status, tools)
        except TimeoutError as error:
            raise CommitFailure(
                CommitReason.DEADLINE,
                f"it did not end within {commit.spec.timeout_seconds} s, push included",
            ) from error
    except GoneError:
        raise
    except SentinelError as error:
        return _failed(error)
    except Exception as error:
        log.exception("commit %s/%s failed", commit.namespace, commit.name)
        return ImageCommitStatus(
            phase=CommitPhase.FAILED,
            reason=CommitReason.RUNTIME_ERROR,
            message=f"the agent failed: {type(error).__name__}; see its log",
        )


async def _commit(permit: Permit, status: CommitStatus, tools: Tools) -> ImageCommitStatus:
    commit, spec = status.commit, status.commit.spec
    box = await retry(
        partial(tools.runtime.locate, permit.identity),
        clock=tools.clock,
        backoff=_LOCATED,
        what=f"finding the box of commit {commit.namespace}/{commit.name}",
        passing=RuntimeFailure,
    )
    async with AsyncExitStack() as stack:
        pusher = await _pusher(stack, commit, permit, tools)
        base = box.base or await pusher.read_base(box)
        if spec.scratch_from:
            base = scratch_base(base)
        check_layers(base.manifest)
        previous = await find_previous(stack, box, spec, pusher=pusher, indexes=tools.indexes)
        upper, size, stop = await measured(spec, box, tools)
        await pusher.push_base(base)
        tar = size.tar_bytes + size.tar_bytes // 8 + _SLACK
        gzip = spec.compression == "gzip"
        indexed = min(LARGEST, tar - size.apparent_bytes) if spec.remember else 0
        needed = tar + (packed_at_most(tar) if gzip else 0) + indexed
        tools.indexes.make_room(needed)
        if not tools.spool.fits(needed, owner=commit.namespace):
            waiting = f"waiting for {gib(needed)} of disk space in the node's spool, which other commits use"
            await status.write(ImageCommitStatus(phase=CommitPhase.CLAIMED, message=waiting))
        space = await stack.enter_async_context(
            tools.spool.reserved(needed, owner=commit.namespace)
        )
        index = None
        if spec.remember:
            index = IndexWriter(space.folder / "index", most=indexed)
            stack.callback(index.close)
        plain, freeze = await copied(
            commit,
            box,
            upper,
            space.folder / "layer.tar",
            most=tar,
            stop=stop,
            tools=tools,
            since=previous.index if previous else None,
            index=index,
        )
        if previous and plain.incremental:
            base = previous.image
        space.shrink(plain.size + (packed_at_most(plain.size) if gzip else 0) + indexed)
        await status.write(
            ImageCommitStatus(
                phase=CommitPhase.PUSHING, frozen_milliseconds=round(freeze.seconds * 1000)
            )
        )
        layer = await tools.threads.run(
            lambda: compress_layer(
                plain, space.folder / "layer.gz", compression=spec.compression, stop=stop
            ),
            stop,
        )
        if layer.path != plain.path:
            plain.path.unlink()
            space.shrink(layer.size + indexed)
        image = build_image(
            base_config=base.config,
            base=base.manifest,
            layer=layer,
            overlay=spec.config,
            created=tools.clock.now(),
            created_by=f"sentinel: pod {commit.namespace}/{spec.pod_name}",
        )
        digest = await pusher.push_image(image, layer, tag=spec.tags[0])
        if index is not None:
            index.close()
        if index is not None and index.complete:
            tools.indexes.keep(box.id, digest, index.path)
        elif spec.previous or spec.remember:
            tools.indexes.forget(box.id)
        tags = [PushedTag(name=spec.tags[0], pushed=True)]
        moving = spec.tags[1:]
        if moving and not await is_wanted(commit, tools):
            message = "the build was cancelled, or ended before its image was pushed"
            tags += [PushedTag(name=tag, pushed=False, message=message) for tag in moving]
        else:
            tags += [await pusher.move_tag(image, tag) for tag in moving]
    return ImageCommitStatus(
        phase=CommitPhase.SUCCEEDED,
        reason=CommitReason.COMMITTED,
        message=_summary(plain, upper, size=layer.size),
        layer_bytes=layer.size,
        layer_digest=layer.digest,
        digest=digest,
        onto=spec.previous if plain.incremental else "",
        tags=tags,
        excluded=[
            ExcludedPath(path=path, entries=entries) for path, entries in upper.excluded.items()
        ],
        left_out=[str(each) for each in plain.dropped],
    )


def _summary(plain: PlainLayer, upper: UpperDir, *, size: int) -> str:
    since = " since the last commit" if plain.incremental else ""
    parts = [f"{count_of(plain.entries, 'change')}{since} in a layer of {gib(size)}"]
    if plain.dropped:
        parts.append("left out: " + ", ".join(str(each) for each in plain.dropped))
    if upper.excluded:
        counts = (f"{path} ({count})" for path, count in upper.excluded.items())
        parts.append(f"entries left out by excludePaths: {', '.join(counts)}")
    return "; ".join(parts)


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
            RegistryClient(
                credentials=keychain,
                insecure=images.insecure_registries,
                policy=tools.settings.registry_policy(),
                ca=tools.settings.ca,
            )
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


async def is_wanted(commit: ImageCommit, tools: Tools) -> bool:
    """Whether the Build still waits for its image: one that was deleted, cancelled or given up moves no tags."""
    owner = next(each for each in commit.metadata["ownerReferences"] if each.get("controller"))
    try:
        build = await retry_api(
            lambda: tools.kube.get(BUILDS, namespace=commit.namespace, name=owner["name"]), tools
        )
    except NotFound:
        return False
    conditions = (build.get("status") or {}).get("conditions") or []
    finished = any(each["type"] == "Finished" and each["status"] == "True" for each in conditions)
    same = build["metadata"]["uid"] == owner["uid"]
    return same and not finished and not build["spec"].get("cancel")


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
