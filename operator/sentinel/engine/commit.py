"""Stage 9: the box becomes an image. We create an ImageCommit; the agent on the box's node does the work.

The ImageCommit's name is a function of the attempt, so asking twice is asking once. What the agent reports is read
back from the registry before it counts.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sentinel.api import API_VERSION
from sentinel.api.build import ImageStatus, StepImage
from sentinel.api.imagecommit import (
    ACTIVE,
    ACTIVE_LABEL,
    ACTIVE_SCRATCH,
    NODE_LABEL,
    CommitPhase,
    ImageCommit,
    ImageCommitStatus,
    ImageConfig,
)
from sentinel.api.reasons import PUSH_REASONS, CommitReason, Reason
from sentinel.clock import rfc3339
from sentinel.engine.attempt import Attempt
from sentinel.engine.board import Seen, key_of
from sentinel.engine.create import create
from sentinel.engine.grants import let_agent_read, pull_secrets
from sentinel.engine.look import until
from sentinel.engine.readback import Problem, read_back
from sentinel.engine.rollout import agents_roll_out
from sentinel.engine.run import Outcome
from sentinel.engine.stepnotes import ended_with, latest_digest, note_image, without_image
from sentinel.errors import (
    CancelledByUser,
    InfrastructureError,
    NotVerified,
    SentinelError,
    UserError,
)
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import IMAGE_COMMITS
from sentinel.plan.model import PlanStep
from sentinel.plan.names import BOX, BRANCH_LABEL, instance_label
from sentinel.plan.pod import owner_reference
from sentinel.source.address import without_query
from sentinel.text import count_of

log = logging.getLogger(__name__)

TIMEOUT = timedelta(minutes=30)
"""How long a commit with its push may take, from the moment an agent claims it."""

QUEUED = timedelta(minutes=30)
"""How long a commit may wait for others on its node."""

REPORTED_WITHIN = 60.0
"""Seconds in which the kubelet must have named the container of a box that we talk to."""

UNCLAIMED = 60.0
"""Seconds until an ImageCommit that no agent took means that there is none on the node."""

ROLLOUT = timedelta(minutes=15)
"""How long an ImageCommit waits for an agent while the agents are being replaced."""

_REASONS: dict[str, Reason] = {
    Reason.AGENT_UNAVAILABLE: Reason.AGENT_UNAVAILABLE,
    CommitReason.TOO_BIG: Reason.IMAGE_TOO_LARGE,
    CommitReason.UNSUPPORTED: Reason.COMMIT_UNSUPPORTED,
    **dict.fromkeys(PUSH_REASONS, Reason.PUSH_FAILED),
}
"""A Build's reason for each of an ImageCommit's; the others are CommitFailed."""


@dataclass(frozen=True, kw_only=True)
class CommitRequest:
    """One commit of the box. `name` is the ImageCommit's; `step` the ordinal of the step that asks, 0 for the end.

    `scratch_from` are directories, of which the first that is not empty is pushed without the rest of the box.
    `previous` is the digest of the image that an earlier commit made of the box, which this one may stand on;
    `remember`: there will be another one.
    """

    name: str
    repository: str
    tags: tuple[str, ...]
    push_secret: str = ""
    config: ImageConfig = field(default_factory=ImageConfig)
    exclude_paths: tuple[str, ...] = ()
    scratch_from: tuple[str, ...] = ()
    step: int = 0
    previous: str = ""
    remember: bool = False


async def commit(attempt: Attempt, outcome: Outcome) -> Outcome:
    """The outcome after the box was committed and pushed: unchanged, or failed where a green build has no image."""
    image = attempt.plan.image
    if image.commit == "never" or (image.commit == "onFailure" and outcome.succeeded):
        return outcome
    step = ended_with(attempt) if image.commit != "end" else None
    each = image.commit == "eachStep"
    request = CommitRequest(
        name=attempt.id.commit,
        repository=attempt.plan.image.repository,
        tags=tuple(tags_of(attempt, outcome, step=step if each else None)),
        push_secret=attempt.plan.image.push_secret,
        config=image_labels(attempt, passed=outcome.succeeded),
        exclude_paths=attempt.plan.image.exclude_paths,
        previous=latest_digest(attempt, but=step) if each else "",
    )
    ended = await commit_box(attempt, request)
    if not isinstance(ended, ImageCommit):
        if step is not None:
            note_image(attempt, step, without_image(*ended))
        return _unless_red(outcome, *ended)
    status = ended.status
    if step is not None:
        made = StepImage(digest=status.digest, layer_bytes=status.layer_bytes)
        note_image(attempt, step, made)
    tags = [tag.name for tag in status.tags if tag.pushed]
    attempt.writer.change(
        image=ImageStatus(repository=attempt.plan.image.repository, digest=status.digest, tags=tags)
    )
    attempt.report.image_pushed(
        repository=attempt.plan.image.repository, digest=status.digest, tags=tags
    )
    if absent := not_in_image(status):
        attempt.report.noticed(message=absent)
    missing = [f"{tag.name} ({tag.message})" for tag in status.tags if not tag.pushed]
    if missing:
        return replace(
            outcome, message=f"{outcome.message}; tags not written: {', '.join(missing)}"
        )
    return outcome


async def commit_box(attempt: Attempt, request: CommitRequest) -> ImageCommit | Problem:
    """The ImageCommit that pushed the box as it was asked for, or why there is no image.

    Asking again is asking once.
    """
    pod = await _pod_with_container(attempt)
    if pod is None:
        return Reason.COMMIT_FAILED, "the box's container is gone"
    try:
        asked = await _ask(attempt, request, pod=pod)
        await let_agent_read(
            attempt,
            [request.push_secret, *pull_secrets(attempt)],
            commit=asked,
            within=attempt.plan.pending_timeout,
        )
    except (CancelledByUser, UserError, InfrastructureError) as e:
        return e.reason or Reason.INTERNAL, f"the box was not committed: {e.message}"
    ended = await _wait(attempt, asked)
    problem = _failure(request, ended.status) or await read_back(
        attempt,
        ended,
        wanted_by="the step's username and password"
        if request.step
        else "spec.image.pushSecretRef",
    )
    return ended if problem is None else problem


def _failure(request: CommitRequest, status: ImageCommitStatus) -> Problem | None:
    """Why there is no image, as the Build has it."""
    if status.phase is CommitPhase.SUCCEEDED:
        return None
    reason = _REASONS.get(status.reason, Reason.COMMIT_FAILED)
    return (
        reason,
        f"the box was not pushed to {request.repository}: {status.reason}: {status.message}",
    )


def not_in_image(status: ImageCommitStatus) -> str:
    """What the agent left out of an image, for the Build's events: an entry of excludePaths that matched nothing is
    the one to look at. "" where nothing was."""
    parts = [
        f"{each.path} ({count_of(each.entries, 'entry', 'entries')})"
        if each.entries
        else f"{each.path} (matched nothing)"
        for each in status.excluded
    ]
    found = [f"excludePaths left out of the image: {', '.join(parts)}"] if parts else []
    if status.left_out:
        found.append(f"not in the image: {', '.join(status.left_out)}")
    return "; ".join(found)


def tags_of(attempt: Attempt, outcome: Outcome, *, step: PlanStep | None = None) -> list[str]:
    """The build's own tag and that of the `step` whose image it is too, then the ones that move: `green` or `red`, and
    `latest` as the operator set it."""
    colour = "green" if outcome.succeeded else "red"
    latest = ["latest"] if outcome.succeeded or attempt.plan.image.latest == "every" else []
    own = [attempt.id.uid] if step is None else [attempt.id.uid, attempt.id.step_tag(step.ordinal)]
    return [*own, colour, *latest]


def _unless_red(outcome: Outcome, reason: Reason, message: str) -> Outcome:
    """A build that failed already keeps its own reason."""
    if not outcome.succeeded:
        return replace(outcome, message=f"{outcome.message}; {message}")
    return Outcome.failed(reason, message)


async def _pod_with_container(attempt: Attempt) -> dict[str, Any] | None:
    """The pod once its status names the box's container, None if it is gone.

    The kubelet reports a container up to a second after it runs: quick steps are over before that.
    """

    def look(seen: Seen | None) -> dict[str, Any] | bool | None:
        if seen is None or seen.deleted or not attempt.run.owns(seen):
            return False
        return seen.raw if _container_id(seen.raw) else None

    try:
        async with asyncio.timeout(REPORTED_WITHIN):
            found = await attempt.until(look)
    except TimeoutError:
        return None
    return found if isinstance(found, dict) else None


def _container_id(pod: dict[str, Any]) -> str:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next(
        (str(each.get("containerID") or "") for each in statuses if each["name"] == BOX), ""
    )


async def _ask(attempt: Attempt, request: CommitRequest, *, pod: dict[str, Any]) -> dict[str, Any]:
    name = request.name
    node = pod["spec"]["nodeName"]
    body = {
        "apiVersion": API_VERSION,
        "kind": "ImageCommit",
        "metadata": {
            "name": name,
            "namespace": attempt.plan.namespace,
            "labels": {
                **attempt.id.labels,
                NODE_LABEL: node,
                ACTIVE_LABEL: ACTIVE_SCRATCH if request.scratch_from else ACTIVE,
                **instance_label(attempt.tools.settings.instance),
            },
            "ownerReferences": [owner_reference(attempt.build)],
        },
        "spec": {
            "nodeName": node,
            "podName": pod["metadata"]["name"],
            "podUid": pod["metadata"]["uid"],
            "containerName": BOX,
            "containerId": _container_id(pod),
            "repository": request.repository,
            "tags": list(request.tags),
            "step": request.step,
            "config": request.config.model_dump(by_alias=True, exclude_defaults=True),
            "baseImage": attempt.plan.box.reference,
            "pullSecretRefs": [{"name": secret} for secret in pull_secrets(attempt)],
            "excludePaths": list(request.exclude_paths),
            "scratchFrom": list(request.scratch_from),
            **({"previous": request.previous} if request.previous else {}),
            **({"remember": True} if request.remember else {}),
            "deadline": rfc3339(attempt.tools.clock.now() + QUEUED),
            "timeoutSeconds": round(TIMEOUT.total_seconds()),
            **({"pushSecretRef": {"name": request.push_secret}} if request.push_secret else {}),
        },
    }
    try:
        return await create(attempt.run, IMAGE_COMMITS, body, within=attempt.plan.pending_timeout)
    except AlreadyExists:
        there = await attempt.tools.kube.get(
            IMAGE_COMMITS, namespace=attempt.plan.namespace, name=name
        )
        _check_request(there, body)
        return there


def _check_request(there: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise NotVerified where the ImageCommit of that name asks for something else than we do.

    Its spec cannot be changed, so one that asks for the same is as good as ours.
    """
    asked, wanted = there["spec"], ours["spec"]
    other = [
        field
        for field, value in wanted.items()
        # The server leaves defaults beside what we set, and an earlier try had an earlier deadline.
        if field not in ("deadline", "config") and (asked.get(field) or None) != (value or None)
    ]
    config = {key: (asked.get("config") or {}).get(key) for key in wanted["config"]}
    if "labels" in config and BRANCH_LABEL not in (config["labels"] or {}):
        # Of an operator before an upgrade, which did not write it yet.
        labels = {k: v for k, v in wanted["config"]["labels"].items() if k != BRANCH_LABEL}
        wanted = {**wanted, "config": {**wanted["config"], "labels": labels}}
    if other or config != wanted["config"]:
        raise NotVerified(
            f"ImageCommit {there['metadata']['name']} is not the operator's: it asks for another "
            f"{', '.join(other or ['config'])}. Delete it, and submit the Build again",
            reason=Reason.NOT_VERIFIED,
        )


def image_labels(attempt: Attempt, *, passed: bool) -> ImageConfig:
    """What an image of a box says of its build."""
    plan = attempt.plan
    labels = {
        "org.opencontainers.image.revision": plan.source.revision,
        "org.opencontainers.image.source": without_query(plan.source.url),
        "com.wercker.build": plan.uid,
        "com.wercker.pipeline": plan.pipeline,
        "com.wercker.result": "passed" if passed else "failed",
        **({BRANCH_LABEL: plan.source.branch} if plan.source.branch else {}),
    }
    return ImageConfig(labels=labels)


async def _wait(attempt: Attempt, raw: dict[str, Any]) -> ImageCommit:
    """The ImageCommit as it ended; still Pending if no agent took it in time."""
    board, key = attempt.tools.commits, key_of(raw)
    board.offer(raw)

    def state(seen: Seen | None) -> ImageCommit | None:
        if seen is None:
            return None
        found = ImageCommit.model_validate(seen.raw)
        # One that has ended leaves our watch, which looks like a deletion.
        if seen.deleted and not has_ended(found):
            raise InfrastructureError(
                f"ImageCommit {key[1]} was deleted before it ended", reason=Reason.COMMIT_FAILED
            )
        return found

    def taken(seen: Seen | None) -> ImageCommit | None:
        # Pending is written by an agent too: it has others to do first.
        found = state(seen)
        return None if found is None or found.status.phase is None else found

    def claimed(seen: Seen | None) -> ImageCommit | None:
        found = state(seen)
        waits = found is None or found.status.phase in (None, CommitPhase.PENDING)
        return None if waits else found

    def ended(seen: Seen | None) -> ImageCommit | None:
        found = state(seen)
        return found if found is not None and has_ended(found) else None

    node = raw["spec"]["nodeName"]
    waits = (
        (
            taken,
            UNCLAIMED,
            Reason.AGENT_UNAVAILABLE,
            f"no agent on node {node!r} took it within {UNCLAIMED:.0f} s: is the agent's DaemonSet running there"
            + (", in the operator's version?" if raw["spec"].get("scratchFrom") else "?"),
        ),
        (
            claimed,
            QUEUED.total_seconds() + UNCLAIMED,
            CommitReason.DEADLINE,
            f"it waited {QUEUED.total_seconds() / 60:.0f} minutes for other commits on node {node!r}",
        ),
        (
            ended,
            TIMEOUT.total_seconds() + UNCLAIMED,
            CommitReason.DEADLINE,
            f"the agent on node {node!r} did not finish it within {TIMEOUT.total_seconds() / 60:.0f} minutes",
        ),
    )
    found = ImageCommit.model_validate(raw)
    try:
        for look, seconds, reason, message in waits:
            most = ROLLOUT.total_seconds() if look is taken else seconds
            waited = 0.0
            while waited < most:
                try:
                    async with asyncio.timeout(seconds):
                        found = await until(attempt.tools.kube, IMAGE_COMMITS, board, key, look)
                    break
                except TimeoutError:
                    waited += seconds
                    if waited < most and not await agents_roll_out(attempt.tools):
                        waited = most
            else:
                await _withdraw(attempt, raw)
                return _given_up(raw, reason, message)
    finally:
        board.forget(key)
    return found


def has_ended(commit: ImageCommit) -> bool:
    """Whether its agent has written its last status."""
    return commit.status.phase is not None and commit.status.phase.ended


async def _withdraw(attempt: Attempt, raw: dict[str, Any]) -> None:
    """Delete an ImageCommit that is not waited for any more: an agent that comes late must not push."""
    namespace, name = key_of(raw)
    try:
        await attempt.tools.kube.delete(
            IMAGE_COMMITS, namespace=namespace, name=name, uid=raw["metadata"]["uid"]
        )
    except SentinelError as e:
        log.warning("imagecommit %s/%s is not withdrawn: %s", namespace, name, e.message)


def _given_up(raw: dict[str, Any], reason: str, message: str) -> ImageCommit:
    status = {"phase": CommitPhase.FAILED, "reason": reason, "message": message}
    return ImageCommit.model_validate({**raw, "status": status})
