"""Why a pod's box ended: the counterpart of `start.py` for pods that ran.

The kubelet reports a container's end before it reports why, and some ends it does not explain at all. So an answer is
`final` or not: one that is not final may still be replaced by what the pod's status says some seconds later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sentinel.api.reasons import Reason
from sentinel.plan.names import BOX
from sentinel.plan.observe import Ended, PodView

TERM, KILL = 128 + 15, 128 + 9

NEVER_RAN = ("StartError", "ContainerCannotRun")
"""Reasons of a container that the runtime could not start: `start.py` explains them."""

# Messages of the kubelet's eviction manager (pkg/kubelet/eviction) about limits of the pod itself.
_POD_LIMIT = re.compile(
    r"ephemeral local storage usage exceeds the total limit of containers (\S+)"
)
_CONTAINER_LIMIT = re.compile(r"Container (\S+) exceeded its local ephemeral storage limit")
_VOLUME_LIMIT = re.compile(r'Usage of EmptyDir volume "([^"]+)" exceeds the limit')


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Why the box ended. `final`: nothing that the pod's status may still say would change it."""

    reason: Reason
    message: str
    final: bool = True


def why_ended(
    view: PodView, *, gone: bool = False, aliases: Mapping[str, str] | None = None
) -> Ending | None:
    """Why the box of the pod ended or is about to, None while nothing says that it is.

    `gone`: the pod has been deleted and `view` is its last state. `aliases` has the alias of each service container.
    """
    ended = view.box_ended
    if view.evicted:
        return _evicted(view, aliases or {})
    if ended is not None and ended.out_of_memory:
        return Ending(
            reason=Reason.OUT_OF_MEMORY,
            message="the box ran out of memory and was killed as a whole: raise "
            "spec.pod.box.resources.limits.memory",
        )
    if gone or view.deleting:
        text = f"pod {view.name} was deleted while the build ran"
        return Ending(reason=Reason.POD_DELETED, message=text)
    if ended is None:
        return _rejected(view)
    if ended.reason in NEVER_RAN:
        return None
    return Ending(reason=Reason.BOX_TERMINATED, message=_terminated(view, ended), final=view.over)


def _evicted(view: PodView, aliases: Mapping[str, str]) -> Ending:
    evidence = _evidence(view)
    remedy = _own_limit(evidence, aliases)
    if remedy:
        return Ending(reason=Reason.STORAGE_LIMIT_EXCEEDED, message=f"{evidence}. {remedy}")
    if view.disruption == "DeletionByPodGC":
        return Ending(reason=Reason.NODE_LOST, message=f"node {view.node}: {evidence}")
    return Ending(reason=Reason.POD_EVICTED, message=f"pod {view.name} was evicted: {evidence}")


def _rejected(view: PodView) -> Ending | None:
    """The kubelet does not take a pod for which its node has no room any more: a race with the scheduler."""
    if view.phase != "Failed" or view.fetch_ended is not None:
        return None
    if view.reason in ("", "DeadlineExceeded"):
        return None
    text = f"pod {view.name} was rejected by node {view.node}: {_evidence(view)}"
    return Ending(reason=Reason.POD_EVICTED, message=text)


def _evidence(view: PodView) -> str:
    """What the pod says: the kubelet's words, or the condition's where an API client evicted it."""
    words = (view.reason, view.message) if view.message else (view.disruption, view.disruption_text)
    return (
        ": ".join(word.strip().rstrip(".") for word in words if word.strip()) or "no reason given"
    )


def _own_limit(evidence: str, aliases: Mapping[str, str]) -> str:
    """What to do about a limit of the pod's own, empty where it was evicted for another reason."""
    if _POD_LIMIT.search(evidence):
        return f"Raise {_limit_of(BOX, aliases)}, or write less"
    if found := _CONTAINER_LIMIT.search(evidence):
        return f"Raise {_limit_of(found[1], aliases)}, or write less"
    if found := _VOLUME_LIMIT.search(evidence):
        return f"Raise the sizeLimit of volume {found[1]}, or write less"
    return ""


def _limit_of(container: str, aliases: Mapping[str, str]) -> str:
    place = "box" if container == BOX else f"services.{aliases.get(container, container)}"
    return f"spec.pod.{place}.resources.limits.ephemeral-storage"


def _terminated(view: PodView, ended: Ended) -> str:
    if view.reason:
        return f"the pod ended while the build ran: {_evidence(view)}"
    if ended.exit_code == TERM:
        return (
            "the box got SIGTERM while the build ran, and its pod was neither evicted nor deleted: a step stopped "
            "process 1 (`kill 1`), or the node's container runtime did"
        )
    how = "was killed" if ended.exit_code == KILL else "ended"
    text = f"the box {how} while the build ran: exit code {ended.exit_code}"
    if ended.reason not in ("", "Error", "Completed"):
        return f"{text}, {ended.reason}: {ended.message}".rstrip(": ")
    # The kubelet's message is the end of the output, which has our own header lines in it.
    lines = [line for line in ended.message.splitlines() if not line.startswith("--- sentinel ")]
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    known = ended.exit_code in (0, KILL) or not last
    return text if known else f"{text}; its last output: {last[:200]}"
