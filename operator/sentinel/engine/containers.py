"""`internal/docker-run` and `internal/docker-kill`: ephemeral containers of the build's pod.

They share the box's network, as everything did on wercker's private one, and end with the pod at the latest. A name is
a function of the step, so that a restarted operator finds the container that it added before.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, suppress
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.board import Seen
from sentinel.engine.builtimage import find_built
from sentinel.engine.dockerrun import ContainerRun, make_container, read_run
from sentinel.engine.lookup import Lookup
from sentinel.engine.ourstep import (
    Verdict,
    exchanged,
    failed,
    secret_values,
    step_environment,
    step_login,
)
from sentinel.errors import InfrastructureError, NotYet, UserError
from sentinel.image.dockerconfig import Credential, docker_config, keychain_from_docker_config
from sentinel.kube.errors import ApiError, Forbidden, Invalid, NotFound
from sentinel.kube.resources import PODS
from sentinel.layout import BOXKIT
from sentinel.plan.model import ImageFacts, PlanStep
from sentinel.text import dns_label

Json = dict[str, Any]

STARTED_WITHIN = 300.0
"""Seconds for a container's image to be pulled and its program to be started."""

ENDED_WITHIN = 60.0
"""Seconds for a container that was killed to be reported as ended."""

_NEVER_STARTED = (126, 127)
"""Exit codes of `boxkit run` for a program that cannot be run."""

_PERMANENT = re.compile(
    r"ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull|Create\w+Error"
    r"|RunContainerError"
)


async def run_container(attempt: Attempt, step: PlanStep) -> Verdict:
    """The container that the step's properties ask for, running in the pod."""
    try:
        environment = await step_environment(attempt, step)
        run = read_run(
            step.display_name,
            dict(step.properties),
            environment,
            secret_values=await secret_values(attempt),
        )
        for number, text in enumerate(run.notes):
            await attempt.session.note(f"{step.ordinal}-note-{number}", text)
        login = await exchanged(attempt, run.login) if run.login is not None else None
        image = await _image(attempt, run, login)
        said = attempt.build.spec.pod.box
        container = make_container(run, image, ordinal=step.ordinal, said=said)
        async with AsyncExitStack() as stack:
            if login is not None:
                place = image.reference.partition("@")[0]
                await stack.enter_async_context(step_login(attempt, step, login=login, place=place))
            await _add(attempt, container)
            ended = await _started(attempt, container["name"])
    except (UserError, InfrastructureError) as e:
        return await failed(attempt, step, e.message)
    done = f"container {run.name} runs {image.reference}"
    if ended:
        done = f"container {run.name} of {image.reference} has ended already, with code {ended['exitCode']}"
    await attempt.session.note(f"{step.ordinal}-end", done)
    return Verdict(0, done)


async def kill_container(attempt: Attempt, step: PlanStep) -> Verdict:
    """The container of that name, ended. The name is not interpolated (wercker.md "Internal steps")."""
    try:
        pod = await _pod(attempt)
        name = _last_of(pod, step.display_name)
        if name is None:
            raise UserError(
                f"there is no container {step.display_name!r} that internal/docker-run started",
                reason=Reason.CONFIG_INVALID,
            )
        if "terminated" not in _state(pod, name):
            await _kill(attempt, name)
    except (UserError, InfrastructureError) as e:
        return await failed(attempt, step, e.message)
    done = f"container {step.display_name} has ended"
    await attempt.session.note(f"{step.ordinal}-end", done)
    return Verdict(0, done)


async def _image(attempt: Attempt, run: ContainerRun, login: Credential | None) -> ImageFacts:
    """The image that an earlier step built under that name, else one that is pulled."""
    if (built := await find_built(attempt, run.image)) is not None:
        return built
    references = attempt.run.references
    lookup = Lookup(build=attempt.build, tools=attempt.tools, references=references)
    (reference,) = lookup.check_registries([run.image])
    keys = await references.keychain()
    if login is not None:
        config = docker_config({reference.name: login})
        keys = (
            keychain_from_docker_config(config, source="username and password of the step") + keys
        )
    return await lookup.find_image(run.image, keys=keys, source=attempt.plan.source)


async def _pod(attempt: Attempt) -> Json:
    """The attempt's pod as the server has it now. Raises InfrastructureError where it is not ours any more."""
    try:
        raw = await attempt.tools.kube.get(
            PODS, namespace=attempt.id.namespace, name=attempt.id.pod
        )
    except NotFound:
        raw = {"metadata": {}}
    if raw["metadata"].get("uid") != attempt.run.pod_uid:
        raise InfrastructureError("the build's pod is gone", reason=Reason.POD_DELETED)
    return raw


async def _add(attempt: Attempt, container: Json) -> None:
    """Add the container to the pod, unless it is there. It cannot be taken away again, only ended."""
    pod = await _pod(attempt)
    there = pod["spec"].get("ephemeralContainers") or []
    if any(each["name"] == container["name"] for each in there):
        return
    path = "/spec/ephemeralContainers"
    add = (
        {"op": "add", "path": f"{path}/-", "value": container}
        if there
        else {"op": "add", "path": path, "value": [container]}
    )
    test = {"op": "test", "path": "/metadata/uid", "value": attempt.run.pod_uid}
    try:
        await attempt.tools.kube.patch(
            PODS,
            namespace=attempt.id.namespace,
            name=attempt.id.pod,
            subresource="ephemeralcontainers",
            body=[test, add],
            kind="json",
        )
    except NotFound as e:
        raise InfrastructureError("the build's pod is gone", reason=Reason.POD_DELETED) from e
    except (Forbidden, Invalid) as e:
        # Pod security of the namespace among others.
        raise UserError(
            f"the container was not accepted: {e.message}", reason=Reason.CONTAINER_CONFIG_INVALID
        ) from e


async def _started(attempt: Attempt, name: str) -> Json:
    """Wait until the container's program runs; how it ended where it has run. Raises UserError, InfrastructureError."""

    def look(seen: Seen | None) -> Json | None:
        if seen is None or seen.deleted or not attempt.run.owns(seen):
            raise InfrastructureError("the build's pod is gone", reason=Reason.POD_DELETED)
        state = _state(seen.raw, name)
        waiting = state.get("waiting") or {}
        permanent = _PERMANENT.fullmatch(str(waiting.get("reason") or ""))
        return state if permanent or "running" in state or "terminated" in state else None

    try:
        async with asyncio.timeout(STARTED_WITHIN):
            state = await attempt.until(look)
    except TimeoutError:
        raise InfrastructureError(
            f"the container did not start within {STARTED_WITHIN:.0f} s", reason=Reason.INTERNAL
        ) from None
    if waiting := state.get("waiting"):
        raise UserError(
            f"the container cannot be started: {waiting['reason']}: {waiting.get('message') or 'no message'}",
            reason=Reason.CONTAINER_CONFIG_INVALID,
        )
    ended: Json = state.get("terminated") or {}
    if ended.get("exitCode") in _NEVER_STARTED:
        raise UserError(
            f"the container's program cannot be run: {str(ended.get('message') or '').strip()}",
            reason=Reason.CONTAINER_CONFIG_INVALID,
        )
    return ended


async def _kill(attempt: Attempt, name: str) -> None:
    with suppress(NotYet, ApiError, TimeoutError):
        # What this answers does not matter: its container ends while it does.
        stream = await attempt.tools.kube.exec(
            namespace=attempt.id.namespace,
            pod=attempt.id.pod,
            container=name,
            command=[BOXKIT, "kill"],
        )
        try:
            async with asyncio.timeout(ENDED_WITHIN):
                while await stream.read():
                    pass
        finally:
            await stream.close()

    def look(seen: Seen | None) -> bool | None:
        gone = seen is None or seen.deleted or not attempt.run.owns(seen)
        return True if gone or "terminated" in _state(seen.raw, name) else None  # type: ignore[union-attr]

    try:
        async with asyncio.timeout(ENDED_WITHIN):
            await attempt.until(look, every=2.0)
    except TimeoutError:
        raise InfrastructureError(
            f"container {name} did not end within {ENDED_WITHIN:.0f} s", reason=Reason.INTERNAL
        ) from None


def _last_of(pod: Json, name: str) -> str | None:
    """The container that was started last under that name."""
    wanted = re.compile(rf"run-([0-9]+)-{re.escape(dns_label(name, limit=40))}")
    found = [
        (int(match[1]), each["name"])
        for each in pod["spec"].get("ephemeralContainers") or []
        if (match := wanted.fullmatch(each["name"]))
    ]
    return max(found)[1] if found else None


def _state(pod: Json, name: str) -> Json:
    statuses = (pod.get("status") or {}).get("ephemeralContainerStatuses") or ()
    state: Json = next((each.get("state") or {} for each in statuses if each["name"] == name), {})
    return state
