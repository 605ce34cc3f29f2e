"""`internal/docker-build`: the box packs the context, a pod of ours sends it to BuildKit, the image goes to the Build's
own repository.

Neither the box nor anything else of the tenant's reaches BuildKit. The pod's name is a function of the attempt and the
step, so that a restarted operator goes on with the one that runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import posixpath
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, TypeVar

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.builder import BUILD, CONTEXT, CONTEXT_DIR, make_builder, owned_by
from sentinel.engine.buildlog import BuildLog
from sentinel.engine.builtimage import built_reference
from sentinel.engine.dockerbuild import (
    ImageBuild,
    buildctl_words,
    login_config,
    read_build,
    source_policy,
)
from sentinel.engine.ourstep import Verdict, check_allowed, failed, secret_values, step_environment
from sentinel.engine.uploads import context_of
from sentinel.errors import InfrastructureError, NotYet, SentinelError, UserError
from sentinel.image.reference import Reference, is_digest
from sentinel.kube.errors import (
    AlreadyExists,
    ApiError,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Unavailable,
)
from sentinel.kube.resources import PODS, SECRETS
from sentinel.plan.keys import step_context
from sentinel.plan.model import PlanStep
from sentinel.plan.names import UID_LABEL
from sentinel.session.messages import Collect
from sentinel.session.records import CollectFailed

log = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]

STARTED_WITHIN = 600.0
"""Seconds for the pod to be scheduled, its images pulled and the context unpacked."""

PAUSE = 1.0
"""Seconds after a connection to the API server that broke."""

_UNREACHABLE = re.compile(r"connection error|failed to dial|no such host|i/o timeout|tls: |x509: ")
"""What buildctl reports where it cannot use the BuildKit at all."""

LOOK_AGAIN = 10.0
"""Seconds after which the pod is read although its watch has no news."""


async def build_image(attempt: Attempt, step: PlanStep) -> Verdict:
    """The image that the step's properties ask for, in the Build's repository."""
    try:
        environment = await step_environment(attempt, step)
        build = read_build(
            dict(step.properties), environment, secret_values=await secret_values(attempt)
        )
        target = built_reference(attempt, build.name)
        check_allowed(attempt, target, own_login=False)
        for number, text in enumerate(build.notes):
            await attempt.session.note(f"{step.ordinal}-note-{number}", text)
        digest, message = await _build(attempt, step, build=build, target=target)
    except (UserError, InfrastructureError) as e:
        return await failed(attempt, step, e.message)
    if not digest:
        return await failed(attempt, step, message)
    attempt.run.built[build.name] = digest
    message = f"built {build.name}: {target.name}@{digest}"
    await attempt.session.note(f"{step.ordinal}-end", message)
    return Verdict(0, message)


async def _build(
    attempt: Attempt,
    step: PlanStep,
    *,
    build: ImageBuild,
    target: Reference,
) -> tuple[str, str]:
    """The image's digest, or "" and why there is none."""
    settings, store, plan = attempt.tools.settings, attempt.tools.store, attempt.plan
    references = attempt.run.references
    assert store is not None  # noqa: S101 - engines.py refuses the step without one
    sha256 = await _packed(attempt, step, build)
    logins = await references.push_keychain() + build.logins + await references.keychain()
    key = step_context(plan.results_prefix, step.id)
    pod, secret = make_builder(
        plan,
        step,
        settings=settings,
        words=buildctl_words(
            build,
            target=target,
            context=CONTEXT_DIR,
            namespace=plan.namespace,
            insecure=target.registry in settings.images.insecure_registries,
        ),
        url=store.presign_get(key),
        sha256=sha256,
        login=login_config(logins, target=target),
        policy=source_policy(settings.images.allowed_registries),
    )
    made = await _create(attempt, pod, secret)
    try:
        return await _follow(attempt, step, made)
    except asyncio.CancelledError:
        state = attempt.session.state.steps.get(step.ordinal)
        if attempt.run.cancelled.is_set() or (state is not None and state.done):
            await forget_build(attempt, step)
        # Else the operator is stopped, and its successor goes on with this pod.
        raise


async def forget_build(attempt: Attempt, step: PlanStep) -> None:
    """Remove what the step needed, once its verdict is known: an operator that is restarted before does it again."""
    kube, namespace = attempt.tools.kube, attempt.tools.settings.pod_namespace
    try:
        if attempt.tools.store is not None:
            key = step_context(attempt.plan.results_prefix, step.id)
            await attempt.tools.store.delete_prefix(key)
        pod = await kube.get(PODS, namespace=namespace, name=attempt.id.image_build(step.ordinal))
        metadata = pod["metadata"]
        if (metadata.get("labels") or {}).get(UID_LABEL) == attempt.id.uid:
            await kube.delete(PODS, namespace=namespace, name=metadata["name"], uid=metadata["uid"])
    except NotFound:
        return
    except SentinelError as e:
        # The sweep deletes the pod, and the context is bounded.
        log.info("build %s: step %s left something behind: %s", attempt.name, step.id, e.message)


async def _packed(attempt: Attempt, step: PlanStep, build: ImageBuild) -> str:
    """The sha256 of the context, which is in the object store then."""
    what = context_of(step.ordinal)
    path = posixpath.normpath(posixpath.join(attempt.plan.base_path, build.context))
    most = attempt.tools.settings.engine.buildkit.context_mib
    await attempt.session.collect(Collect(what=what, path=path, limit=most * 1024**2, gzip=True))
    state = await attempt.session.wait_for(lambda state: what in state.collected)
    collected = state.collected[what]
    if isinstance(collected, CollectFailed):
        if collected.reason == "TooLarge":
            raise UserError(
                f"the build context {path} is over {most} MiB, packed: build in a directory of its own (context), "
                "or remove what the image does not need",
                reason=Reason.OUTPUT_TOO_LARGE,
            )
        if collected.reason == "Unreadable":
            raise UserError(
                f"the build context {path} cannot be read: {collected.text}",
                reason=Reason.OUTPUT_UNREADABLE,
            )
        raise InfrastructureError(
            f"the build context {path} was not stored: {collected.text}",
            reason=Reason.STORE_FAILED,
        )
    if collected.empty:
        raise UserError(
            f"the build context {path} is empty or missing", reason=Reason.CONFIG_INVALID
        )
    if collected.notice:
        await attempt.session.note(f"{step.ordinal}-context", f"build context: {collected.notice}")
    return collected.sha256


async def _create(attempt: Attempt, pod: Json, secret: Json) -> Json:
    """The pod, and the Secret that it waits for. Doing it again changes nothing."""
    kube, place = attempt.tools.kube, pod["metadata"]
    try:
        made = await kube.create(PODS, pod)
    except (Forbidden, Invalid) as e:
        raise InfrastructureError(
            f"the pod that builds the image was not accepted in namespace {place['namespace']}: {e.message}",
            reason=Reason.INTERNAL,
        ) from e
    except AlreadyExists:
        made = await kube.get(PODS, namespace=place["namespace"], name=place["name"])
        if (made["metadata"].get("labels") or {}).get(UID_LABEL) != place["labels"][UID_LABEL]:
            raise InfrastructureError(
                f"pod {place['namespace']}/{place['name']} belongs to another Build",
                reason=Reason.INTERNAL,
            ) from None
    # Where it exists it was made before the operator was restarted.
    with contextlib.suppress(AlreadyExists):
        await kube.create(SECRETS, owned_by(secret, made))
    return made


async def _follow(attempt: Attempt, step: PlanStep, pod: Json) -> tuple[str, str]:
    """Put the output into the step's log while it comes; the image's digest, or "" and why there is none."""
    seen: list[Json] = [pod]
    try:
        async with asyncio.timeout(STARTED_WITHIN):
            await _until(attempt, pod, _started, seen)
    except TimeoutError:
        raise InfrastructureError(
            f"the pod that builds the image did not start within {STARTED_WITHIN:.0f} s: {_why_not(seen[0])}",
            reason=Reason.INTERNAL,
        ) from None
    output = BuildLog(
        attempt.session, step.ordinal, limit=attempt.tools.settings.engine.buildkit.log_kib * 1024
    )
    metadata = pod["metadata"]
    while not output.complete:
        try:
            async with aclosing(
                attempt.tools.kube.follow(
                    namespace=metadata["namespace"], pod=metadata["name"], container=BUILD
                )
            ) as chunks:
                await output.take(chunks)
        except (NotYet, Unavailable):
            # What was noted is not noted again.
            await attempt.tools.clock.sleep(PAUSE)
        except ApiError as e:
            log.info("build %s: the output of step %s cannot be read: %s", attempt.name, step.id, e)
            break
    ended = await _until(attempt, pod, _ended, seen)
    if ended["exitCode"] == 0:
        return _digest(str(ended.get("message") or "")), ""
    if ended.get("reason") == "OOMKilled":
        return "", "buildctl ran out of memory (setting engine.buildkit.resources)"
    error = output.error() or f"buildctl exited with code {ended['exitCode']}"
    if not output.solving and _UNREACHABLE.search(error):
        address = attempt.tools.settings.engine.buildkit.address
        return "", f"BuildKit at {address} cannot be used (setting engine.buildkit): {error}"
    return "", error


async def _until(
    attempt: Attempt, pod: Json, look: Callable[[Json], T | None], seen: list[Json]
) -> T:
    """What `look` finds in the pod, as soon as it finds something. `seen[0]` is the pod as it was last."""
    metadata = pod["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    while True:
        try:
            seen[0] = await attempt.tools.kube.get(PODS, namespace=namespace, name=name)
        except NotFound:
            seen[0] = {}
        if seen[0].get("metadata", {}).get("uid") != metadata["uid"]:
            raise InfrastructureError(
                "the pod that built the image was deleted before it was done",
                reason=Reason.POD_DELETED,
            )
        if (found := look(seen[0])) is not None:
            return found
        try:
            async with (
                asyncio.timeout(LOOK_AGAIN),
                aclosing(
                    attempt.tools.kube.watch(
                        PODS,
                        namespace=namespace,
                        fields=f"metadata.name={name}",
                        resource_version=seen[0]["metadata"]["resourceVersion"],
                    )
                ) as events,
            ):
                async for kind, raw in events:
                    if kind in ("BOOKMARK", "DELETED"):
                        break
                    seen[0] = raw
                    if (found := look(raw)) is not None:
                        return found
        except TimeoutError:
            continue
        except (Expired, Unavailable):
            await attempt.tools.clock.sleep(PAUSE)


def _status(pod: Json, container: str) -> Json:
    status = pod.get("status") or {}
    every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return next((each for each in every if each["name"] == container), {})


def _started(pod: Json) -> bool | None:
    """Whether buildctl runs or has run. Raises where it never will."""
    state = _status(pod, BUILD).get("state") or {}
    if "running" in state or "terminated" in state:
        return True
    context = (_status(pod, CONTEXT).get("state") or {}).get("terminated")
    if context is not None and context["exitCode"] != 0:
        raise _unpacking_failed(context)
    _check_alive(pod)
    return None


def _ended(pod: Json) -> Json | None:
    """How buildctl ended."""
    ended: Json | None = (_status(pod, BUILD).get("state") or {}).get("terminated")
    if ended is None:
        _check_alive(pod)
    return ended


def _check_alive(pod: Json) -> None:
    status = pod.get("status") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        raise InfrastructureError(
            f"the pod that built the image was ended: {status.get('reason') or status['phase']}: "
            f"{status.get('message') or 'no message'}",
            reason=Reason.POD_EVICTED,
        )


def _unpacking_failed(ended: Json) -> UserError | InfrastructureError:
    text = str(ended.get("message") or ended.get("reason") or "no message").strip()
    with contextlib.suppress(ValueError, LookupError, TypeError):
        text = json.loads(text.splitlines()[-1])["message"]
    kind = UserError if ended["exitCode"] == 1 else InfrastructureError
    return kind(f"the build context cannot be unpacked: {text}", reason=Reason.SOURCE_INVALID)


def _why_not(pod: Json) -> str:
    """What a pod that does not start waits for."""
    for container in (CONTEXT, BUILD):
        waiting = (_status(pod, container).get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "PodInitializing"):
            return f"container {container}: {waiting['reason']}: {waiting.get('message') or ''}"
    conditions = (pod.get("status") or {}).get("conditions") or ()
    scheduled: Json = next((c for c in conditions if c["type"] == "PodScheduled"), {})
    return str(scheduled.get("message") or "no reason is known")


def _digest(message: str) -> str:
    """The digest in what buildctl wrote of the image. Raises InfrastructureError."""
    try:
        digest = str(json.loads(message)["containerimage.digest"])
    except (ValueError, LookupError, TypeError):
        digest = ""
    if not is_digest(digest):
        raise InfrastructureError(
            "buildctl did not report the digest of the image", reason=Reason.INTERNAL
        )
    return digest
