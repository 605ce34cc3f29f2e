"""A pod as the API server gives it → what the engine needs to know of it.

The counterpart of `pod.py`: whatever a restarted operator must learn about an attempt stands in what is read here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.plan.names import BOX, SOURCE

_EVICTED = ("Evicted", "Preempting", "Shutdown", "Terminated", "NodeShutdown")
"""Reasons of a pod that its kubelet ended or would not take."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a container ended. `reason` is the kubelet's word: Completed, Error, OOMKilled, ContainerStatusUnknown…"""

    exit_code: int
    reason: str = ""
    message: str = ""
    finished: str = ""

    @property
    def out_of_memory(self) -> bool:
        """The kernel killed it for its memory limit."""
        return self.reason == "OOMKilled"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A container that has not started, and the kubelet's word for why."""

    container: str
    reason: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class FetchFailure:
    """The init container failed. `reason` and `message` are its own, where it could still say them."""

    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class PodEvent:
    """The part of an event that says why a pod does not start."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class PodView:
    """What a pod says of itself. Times are RFC 3339 texts, empty where there is none.

    `box_id` is the container's id with its scheme, as an ImageCommit wants it. `evicted` tells the kubelet's or a
    drain's eviction; `reason` and `message` are the pod's own, `disruption` and `disruption_text` those of its
    condition DisruptionTarget, which alone explains an eviction by an API client. `initialized`: the init containers
    are done, which the kubelet reports just before it starts the others. `node_ready` is None where it was not read.
    """

    name: str = ""
    uid: str = ""
    node: str = ""
    phase: str = ""
    reason: str = ""
    message: str = ""
    created: str = ""
    deleting: bool = False
    evicted: bool = False
    disruption: str = ""
    disruption_text: str = ""
    unschedulable: str = ""
    initialized: bool = False
    box_id: str = ""
    box_running: bool = False
    box_ended: Ended | None = None
    fetch_running: bool = False
    fetch_ended: Ended | None = None
    fetch_failure: FetchFailure | None = None
    waiting: tuple[Waiting, ...] = ()
    services_ended: tuple[tuple[str, Ended], ...] = ()
    events: tuple[PodEvent, ...] = ()
    node_ready: bool | None = None

    @property
    def bound(self) -> bool:
        """A node has it."""
        return bool(self.node)

    @property
    def over(self) -> bool:
        """Nothing in it will run any more."""
        return self.phase in ("Succeeded", "Failed")


def observe(
    pod: Mapping[str, Any],
    *,
    events: Iterable[Mapping[str, Any]] = (),
    node: Mapping[str, Any] | None = None,
) -> PodView:
    """The view of `pod`. `events` are those about it, oldest first; `node` is its Node, where it was read."""
    metadata = pod.get("metadata") or {}
    status = pod.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    containers = {c.get("name"): c for c in status.get("containerStatuses") or ()}
    inits = {c.get("name"): c for c in status.get("initContainerStatuses") or ()}
    box, fetch = containers.get(BOX) or {}, inits.get(SOURCE) or {}
    fetch_ended = _ended(fetch)
    disruption = conditions.get("DisruptionTarget") or {}
    if disruption.get("status") != "True":
        disruption = {}
    return PodView(
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        node=str((pod.get("spec") or {}).get("nodeName") or ""),
        phase=str(status.get("phase", "")),
        reason=str(status.get("reason") or ""),
        message=str(status.get("message") or ""),
        created=str(metadata.get("creationTimestamp") or ""),
        deleting=bool(metadata.get("deletionTimestamp")),
        evicted=status.get("reason") in _EVICTED or bool(disruption),
        disruption=str(disruption.get("reason") or ""),
        disruption_text=str(disruption.get("message") or ""),
        unschedulable=_unschedulable(conditions),
        initialized=(conditions.get("Initialized") or {}).get("status") == "True",
        box_id=str(box.get("containerID") or ""),
        box_running="running" in (box.get("state") or {}),
        box_ended=_ended(box),
        fetch_running="running" in (fetch.get("state") or {}),
        fetch_ended=fetch_ended,
        fetch_failure=_fetch_failure(fetch_ended),
        waiting=tuple(
            waiting
            for status_ in (*inits.values(), *containers.values())
            if (waiting := _waiting(status_)) is not None
        ),
        services_ended=tuple(
            (str(name), ended)
            for name, each in containers.items()
            if name != BOX and (ended := _ended(each)) is not None
        ),
        events=tuple(
            PodEvent(
                reason=str(e.get("reason") or ""),
                message=str(e.get("message") or e.get("note") or ""),
            )
            for e in events
        ),
        node_ready=None if node is None else _node_ready(node),
    )


def _ended(container: Mapping[str, Any]) -> Ended | None:
    state = (container.get("state") or {}).get("terminated")
    if state is None:
        return None
    return Ended(
        exit_code=int(state.get("exitCode", -1)),
        reason=str(state.get("reason") or ""),
        message=str(state.get("message") or "").strip(),
        finished=str(state.get("finishedAt") or ""),
    )


def _waiting(container: Mapping[str, Any]) -> Waiting | None:
    state = (container.get("state") or {}).get("waiting")
    if state is None:
        return None
    return Waiting(
        container=str(container.get("name", "")),
        reason=str(state.get("reason") or ""),
        message=str(state.get("message") or ""),
    )


def _fetch_failure(ended: Ended | None) -> FetchFailure | None:
    """fetch writes `{"reason": …, "message": …}` as its termination message; anything else is its last output."""
    if ended is None or ended.exit_code == 0:
        return None
    for line in reversed(ended.message.splitlines()):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and "reason" in said:
            return FetchFailure(
                exit_code=ended.exit_code,
                reason=str(said["reason"]),
                message=str(said.get("message") or ""),
            )
    return FetchFailure(
        exit_code=ended.exit_code,
        reason="",
        message=ended.message or ended.reason or "it left no message",
    )


def _unschedulable(conditions: Mapping[Any, Mapping[str, Any]]) -> str:
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") != "False":
        return ""
    return str(scheduled.get("message") or scheduled.get("reason") or "no node was found")


def _node_ready(node: Mapping[str, Any]) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
