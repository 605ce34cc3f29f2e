"""Why a pod does not start: kubernetes.md "Pods" as functions.

Each problem has its evidence and its grace. The caller remembers since when it has seen a reason, since the API
server does not tell; everything else follows from the pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sentinel.api.reasons import Reason, read_reason
from sentinel.plan.names import BOX, SOURCE
from sentinel.plan.observe import Ended, FetchFailure, PodView, Waiting
from sentinel.plan.refusals import FOREVER, user_remedy

IMAGE_PULL_GRACE = 30.0
CONTAINER_GRACE = 10.0
NODE_GRACE = 60.0

_UNTIL_PENDING_TIMEOUT = FOREVER
_EVENTS = {
    "FailedMount": Reason.VOLUME_UNAVAILABLE,
    "FailedAttachVolume": Reason.VOLUME_UNAVAILABLE,
    "FailedCreatePodSandBox": Reason.SANDBOX_FAILED,
}
_WAITING: dict[str, tuple[Reason, float]] = {
    "ErrImagePull": (Reason.IMAGE_PULL_FAILED, IMAGE_PULL_GRACE),
    "ImagePullBackOff": (Reason.IMAGE_PULL_FAILED, IMAGE_PULL_GRACE),
    "ImageInspectError": (Reason.IMAGE_PULL_FAILED, IMAGE_PULL_GRACE),
    "RegistryUnavailable": (Reason.IMAGE_PULL_FAILED, IMAGE_PULL_GRACE),
    "SignatureValidationFailed": (Reason.IMAGE_PULL_FAILED, IMAGE_PULL_GRACE),
    "InvalidImageName": (Reason.INVALID_IMAGE_NAME, 0.0),
    "ErrImageNeverPull": (Reason.INVALID_IMAGE_NAME, 0.0),
    "CreateContainerConfigError": (Reason.CONTAINER_CONFIG_INVALID, CONTAINER_GRACE),
    "CreateContainerError": (Reason.CONTAINER_CREATE_FAILED, CONTAINER_GRACE),
    "RunContainerError": (Reason.CONTAINER_CREATE_FAILED, CONTAINER_GRACE),
    "StartError": (Reason.CONTAINER_CREATE_FAILED, CONTAINER_GRACE),
}


@dataclass(frozen=True, kw_only=True)
class StartProblem:
    """Why the pod does not start. `fail`: give up now; `wait`: it may pass, until its grace or the pending timeout.

    `message` quotes the evidence. `grace` is in seconds from when the reason was first seen; infinite where only
    the pending timeout ends the wait.
    """

    reason: Reason
    message: str
    verdict: Literal["wait", "fail"]
    grace: float = 0.0


def why_not_started(
    view: PodView, *, now: float, since: Mapping[Reason, float]
) -> StartProblem | None:
    """What stands in the way of the box, or None where nothing does (it may be starting, or running).

    `since` says when each reason was first returned, on the clock of `now`; a reason that is not in it is new now.
    The pending timeout is the caller's: it ends every wait.
    """
    found = _find(view)
    if found is None:
        return None
    reason, message, grace = found
    waited = now - since.get(reason, now)
    verdict: Literal["wait", "fail"] = "fail" if waited >= grace else "wait"
    return StartProblem(reason=reason, message=message, verdict=verdict, grace=grace)


def waits_for_upload(view: PodView, *, size: int) -> StartProblem | None:
    """That the init container is there for a directory of `size` bytes to arrive; None where it is not."""
    if not size or not view.fetch_running:
        return None
    return StartProblem(
        reason=Reason.PENDING,
        message=f"waiting for the directory: {size} bytes, which `sentinel run --cluster` sends to pod {view.name}",
        verdict="wait",
        grace=_UNTIL_PENDING_TIMEOUT,
    )


def why_silent(view: PodView, *, now: float, since: Mapping[Reason, float]) -> StartProblem | None:
    """What keeps a box that ran from answering, or None where its pod shows nothing. As `why_not_started`."""
    if view.node_ready is not False:
        return None
    waited = now - since.get(Reason.NODE_LOST, now)
    return StartProblem(
        reason=Reason.NODE_LOST,
        message=f"node {view.node} is not ready, and the box does not answer",
        verdict="fail" if waited >= NODE_GRACE else "wait",
        grace=NODE_GRACE,
    )


def _find(view: PodView) -> tuple[Reason, str, float] | None:
    if view.fetch_failure is not None:
        return _from_fetch(view.fetch_failure)
    if view.node_ready is False:
        return Reason.NODE_LOST, f"node {view.node} is not ready", NODE_GRACE
    if view.box_running or view.box_ended is not None:
        return _never_ran(view.box_ended)
    for waiting in sorted(view.waiting, key=_gravity):
        if waiting.reason in _WAITING:
            return _from_waiting(waiting)
    if view.unschedulable:
        return Reason.UNSCHEDULABLE, view.unschedulable, _UNTIL_PENDING_TIMEOUT
    shown = (e for e in reversed(view.events) if e.reason in _EVENTS and not view.fetch_running)
    last = next(shown, None)
    return None if last is None else (_EVENTS[last.reason], last.message, _UNTIL_PENDING_TIMEOUT)


def _never_ran(box: Ended | None) -> tuple[Reason, str, float] | None:
    """A box that the runtime could not start ends at once: the pod is never restarted."""
    if box is None or box.reason not in ("StartError", "ContainerCannotRun"):
        return None
    return _create_failed("box", box.message or box.reason, 0.0)


def _gravity(waiting: Waiting) -> float:
    """What fails soonest first, so that the wait for one container does not hide the end of another."""
    return _WAITING.get(waiting.reason, (Reason.PENDING, _UNTIL_PENDING_TIMEOUT))[1]


def _from_waiting(waiting: Waiting) -> tuple[Reason, str, float]:
    reason, grace = _WAITING[waiting.reason]
    message = waiting.message or waiting.reason
    what = {BOX: "box", SOURCE: "init container source"}.get(
        waiting.container, f"container {waiting.container}"
    )
    if reason is Reason.CONTAINER_CREATE_FAILED:
        return _create_failed(what, message, grace)
    remedy = user_remedy(message, waiting.container)
    return reason, f"{what}: {message}{remedy and f'. {remedy}'}", grace


def _create_failed(what: str, message: str, grace: float) -> tuple[Reason, str, float]:
    if "exec format error" in message:
        text = f"{what}: the image is for another architecture than the node's: {message}"
        return Reason.ARCHITECTURE_MISMATCH, text, grace
    return Reason.CONTAINER_CREATE_FAILED, f"{what}: {message}", grace


def _from_fetch(failure: FetchFailure) -> tuple[Reason, str, float]:
    """fetch's own reason where it is one of the closed list: whose fault it is hangs on it."""
    known = read_reason(failure.reason)
    reason = known if isinstance(known, Reason) else Reason.FETCH_FAILED
    text = failure.message or f"fetching the source ended with exit code {failure.exit_code}"
    # Where it could not say why, its pod may: an eviction ends init containers too.
    return reason, text, 0.0 if failure.reason else CONTAINER_GRACE
