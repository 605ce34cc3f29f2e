"""Whether a commit may be done at all: the checks before the runtime is touched, in this order, failing closed.

Whatever the pod or the Build has too is compared with them (images.md). What the runtime knows is checked
by the runtime's `locate`. Not here: doing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sentinel.agent.failures import CommitRefused
from sentinel.agent.runtimes.base import Identity
from sentinel.api import GROUP
from sentinel.api.imagecommit import ACTIVE_LABEL, ACTIVE_SCRATCH, ImageCommit
from sentinel.api.reasons import CommitReason
from sentinel.clock import Clock, parse_rfc3339
from sentinel.errors import UserError
from sentinel.image.reference import Reference, parse_repository
from sentinel.kube.client import Kube
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import BUILDS, PODS
from sentinel.plan.names import AttemptId
from sentinel.registry import Pushing, allowed_places, may_push
from sentinel.settings import Settings

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Permit:
    """A commit that may be done: of which container, into which repository, for how many seconds.

    `needs_login`: the push Secret must have a login for the target (`registry.pushing`).
    """

    identity: Identity
    target: Reference
    seconds: float
    needs_login: bool = False


async def authorise(commit: ImageCommit, *, kube: Kube, settings: Settings, clock: Clock) -> Permit:
    """Check one commit. Raises CommitRefused with PodGone, NotOwned, RepositoryNotAllowed, Unsupported or Deadline."""
    spec = commit.spec
    if spec.node_name != settings.node_name:
        raise _not_ours(f"it is for node {spec.node_name!r}, we are on {settings.node_name!r}")
    pod = await _get_pod(commit, kube)
    if pod["metadata"]["uid"] != spec.pod_uid:
        raise CommitRefused(
            CommitReason.POD_GONE,
            f"pod {spec.pod_name} was replaced: it is not the one to be committed",
        )
    if pod["spec"].get("nodeName") != settings.node_name:
        raise _not_ours(f"pod {spec.pod_name} is not on node {settings.node_name!r}")
    build = await _get_build(commit, pod, kube)
    for complaint in _contradictions(commit, pod, build):
        raise _not_ours(complaint)
    target, needs_login = _target(commit, settings)
    trouble = _privilege(pod, spec.container_name)
    if trouble:
        raise CommitRefused(
            CommitReason.UNSUPPORTED, f"pod {spec.pod_name} {trouble}: such boxes are not committed"
        )
    if (
        not spec.scratch_from
        and commit.metadata.get("labels", {}).get(ACTIVE_LABEL) == ACTIVE_SCRATCH
    ):
        # The API server drops fields that its CRD does not have; without this one the whole box would be pushed.
        raise CommitRefused(
            CommitReason.UNSUPPORTED,
            "it is labelled as an image from scratch, and its spec has no scratchFrom: the CRD imagecommits is older "
            "than the operator. Apply the CRDs of the operator's version",
        )
    if spec.scratch_from and (spec.previous or spec.remember):
        raise CommitRefused(
            CommitReason.UNSUPPORTED,
            "an image of spec.scratchFrom has a part of the box: it cannot be combined with previous or remember",
        )
    seconds = _seconds(commit, clock)
    identity = Identity(
        namespace=commit.namespace,
        pod_name=spec.pod_name,
        pod_uid=spec.pod_uid,
        container_name=spec.container_name,
        container_id=spec.container_id,
    )
    return Permit(identity=identity, target=target, seconds=seconds, needs_login=needs_login)


def _seconds(commit: ImageCommit, clock: Clock) -> float:
    """What is left of the timeout, which counts from the first claim. Raises CommitRefused(Deadline)."""
    timeout = float(commit.spec.timeout_seconds)
    if not commit.status.start_time:
        if clock.now() > parse_rfc3339(commit.spec.deadline):
            raise CommitRefused(
                CommitReason.DEADLINE,
                f"it was not started before its deadline {commit.spec.deadline}: the node's agent was busy or not "
                "running",
            )
        return timeout
    left = timeout - (clock.now() - parse_rfc3339(commit.status.start_time)).total_seconds()
    if left <= 0:
        raise CommitRefused(
            CommitReason.DEADLINE,
            f"it was started at {commit.status.start_time} and did not end within {timeout:g} s",
        )
    return min(left, timeout)


async def _get_pod(commit: ImageCommit, kube: Kube) -> Json:
    try:
        return await kube.get(PODS, namespace=commit.namespace, name=commit.spec.pod_name)
    except NotFound as error:
        raise CommitRefused(
            CommitReason.POD_GONE, f"pod {commit.spec.pod_name} not found"
        ) from error


async def _get_build(commit: ImageCommit, pod: Json, kube: Kube) -> Json:
    """The Build that controls both the pod and the commit."""
    of_pod, of_commit = _owner(pod["metadata"]), _owner(commit.metadata)
    if of_pod is None or of_commit is None or of_pod.get("uid") != of_commit.get("uid"):
        raise _not_ours(f"pod {commit.spec.pod_name} and the commit do not belong to one Build")
    name = str(of_pod["name"])
    try:
        build = await kube.get(BUILDS, namespace=commit.namespace, name=name)
    except NotFound as error:
        raise _not_ours(f"Build {name} not found") from error
    if build["metadata"]["uid"] != of_pod["uid"] or build["metadata"].get("deletionTimestamp"):
        raise _not_ours(f"Build {name} was deleted")
    return build


def _owner(metadata: Json) -> Json | None:
    return next(
        (
            owner
            for owner in metadata.get("ownerReferences") or ()
            if owner.get("controller")
            and owner.get("kind") == "Build"
            and str(owner.get("apiVersion", "")).startswith(f"{GROUP}/")
        ),
        None,
    )


def _contradictions(commit: ImageCommit, pod: Json, build: Json) -> Iterator[str]:
    """Where the commit says something else than the pod or the Build."""
    spec = commit.spec
    statuses = pod.get("status", {}).get("containerStatuses") or []
    ids = {str(each["name"]): str(each.get("containerID", "")) for each in statuses}
    running = ids.get(spec.container_name) or "not there"
    if running != spec.container_id:
        yield (
            f"container {spec.container_name!r} of pod {spec.pod_name} is {running}, not {spec.container_id}: "
            "it was restarted"
        )
    image = build["spec"].get("image") or {}
    wanted = str(image.get("repository") or "").lower()
    if wanted and wanted != spec.repository and not spec.step:
        yield f"the Build is pushed to {wanted}, not to {spec.repository}"
    meta = build["metadata"]
    own = AttemptId(commit.namespace, meta["name"], meta["uid"], 0)
    push = {(image.get("pushSecretRef") or {}).get("name")} - {None}
    if spec.step:
        # The operator's own, of the login that the step has in wercker.yml.
        push.add(own.push_secret(spec.step))
    pull = {ref["name"] for ref in image.get("pullSecretRefs") or ()}
    pull |= {ref["name"] for ref in (build["spec"].get("pod") or {}).get("imagePullSecrets") or ()}
    # The operator's own, of the logins in wercker.yml.
    pull.add(own.pull_secret)
    if spec.push_secret_ref and spec.push_secret_ref.name not in push:
        yield f"the Build does not name Secret {spec.push_secret_ref.name!r} to push with"
    foreign = {ref.name for ref in spec.pull_secret_refs} - pull
    if foreign:
        yield f"the Build does not name Secret {min(foreign)!r} to pull with"


def _target(commit: ImageCommit, settings: Settings) -> tuple[Reference, bool]:
    """Where it is pushed, and whether only with a login. Raises CommitRefused."""
    images = settings.images
    try:
        target = parse_repository(commit.spec.repository, default_registry=images.default_registry)
    except UserError as error:
        raise CommitRefused(CommitReason.REPOSITORY_NOT_ALLOWED, error.message) from error
    decision = may_push(target, images=images, namespace=commit.namespace)
    needs_login = decision is Pushing.WITH_LOGIN
    if decision is Pushing.DENIED or (needs_login and commit.spec.push_secret_ref is None):
        raise CommitRefused(
            CommitReason.REPOSITORY_NOT_ALLOWED,
            f"builds of namespace {commit.namespace} may not push to {target.name}; allowed are "
            + allowed_places(images, namespace=commit.namespace),
        )
    return target, needs_login


def _privilege(pod: Json, container: str) -> str:
    spec = pod["spec"]
    for field in ("hostPID", "hostIPC", "hostNetwork"):
        if spec.get(field):
            return f"has {field}"
    security = next(
        (
            each.get("securityContext") or {}
            for each in spec["containers"]
            if each["name"] == container
        ),
        {},
    )
    return "is privileged" if security.get("privileged") else ""


def _not_ours(why: str) -> CommitRefused:
    return CommitRefused(CommitReason.NOT_OWNED, why)
