"""Why a box ended, by what its pod says."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.api.reasons import Blame, Reason
from sentinel.plan.ending import Ending, why_ended
from sentinel.plan.observe import observe


def pod(
    *, box: dict[str, Any] | None = None, deleting: bool = False, **status: Any
) -> dict[str, Any]:
    """A pod on node n-1 whose box is in that state: `terminated`, or else running."""
    state = {"terminated": box} if box is not None else {"running": {}}
    return {
        "metadata": {
            "name": "b-1",
            **({"deletionTimestamp": "2026-11-28T10:00:00Z"} if deleting else {}),
        },
        "spec": {"nodeName": "n-1"},
        "status": {"containerStatuses": [{"name": "box", "state": state}], **status},
    }


def disrupted(reason: str, message: str) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"conditions": [condition]}


FAILED = {"phase": "Failed"}
TERM = {"exitCode": 143, "reason": "Error", "message": "--- sentinel step=1 offset=0 id=a name=x"}
KILL = {"exitCode": 137, "reason": "Error"}


def evicted(message: str) -> dict[str, Any]:
    return {**FAILED, "reason": "Evicted", "message": message}


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (
            "Pod ephemeral local storage usage exceeds the total limit of containers 64Mi. ",
            "Raise spec.pod.box.resources.limits.ephemeral-storage, or write less",
        ),
        (
            'Container box exceeded its local ephemeral storage limit "64Mi". ',
            "Raise spec.pod.box.resources.limits.ephemeral-storage, or write less",
        ),
        (
            'Container service-1 exceeded its local ephemeral storage limit "64Mi". ',
            "Raise spec.pod.services.redis.resources.limits.ephemeral-storage, or write less",
        ),
        (
            'Usage of EmptyDir volume "pipeline" exceeds the limit "1Gi". ',
            "Raise the sizeLimit of volume pipeline, or write less",
        ),
    ],
)
def test_a_limit_of_the_pod_s_own_is_the_user_s_with_limit_and_remedy(
    message: str, remedy: str
) -> None:
    view = observe(pod(box=KILL, **evicted(message)))
    assert why_ended(view, aliases={"service-1": "redis"}) == Ending(
        reason=Reason.STORAGE_LIMIT_EXCEEDED, message=f"Evicted: {message.strip()[:-1]}. {remedy}"
    )
    assert Reason.STORAGE_LIMIT_EXCEEDED.blame is Blame.USER


@pytest.mark.parametrize(
    ("raw", "evidence"),
    [
        (
            pod(box=KILL, **evicted("The node was low on resource: memory. ")),
            "Evicted: The node was low on resource: memory",
        ),
        (
            pod(
                box=TERM,
                **FAILED,
                reason="Terminated",
                message="Pod was terminated in response to imminent node shutdown.",
            ),
            "Terminated: Pod was terminated in response to imminent node shutdown",
        ),
        # The eviction API: the pod itself says nothing, and the box still runs in its grace.
        (
            pod(
                deleting=True,
                **disrupted("EvictionByEvictionAPI", "Eviction API: evicting"),
            ),
            "EvictionByEvictionAPI: Eviction API: evicting",
        ),
        (
            pod(**disrupted("PreemptionByScheduler", "default-scheduler: preempting")),
            "PreemptionByScheduler: default-scheduler: preempting",
        ),
        (pod(box=KILL, **FAILED, reason="Preempting"), "no reason given"),
    ],
)
def test_pressure_shutdown_preemption_and_drains_are_evictions(
    raw: dict[str, Any], evidence: str
) -> None:
    assert why_ended(observe(raw)) == Ending(
        reason=Reason.POD_EVICTED, message=f"pod b-1 was evicted: {evidence}"
    )


def test_a_pod_that_is_collected_with_its_node_was_on_a_lost_node() -> None:
    raw = pod(deleting=True, **disrupted("DeletionByPodGC", "PodGC: node no longer exists"))
    found = why_ended(observe(raw), gone=True)
    assert found is not None and found.reason is Reason.NODE_LOST
    assert "node no longer exists" in found.message


@pytest.mark.parametrize("gone", [True, False])
def test_a_deleted_pod_is_not_an_eviction(gone: bool) -> None:
    found = why_ended(observe(pod(box=TERM, deleting=not gone)), gone=gone)
    assert found == Ending(
        reason=Reason.POD_DELETED, message="pod b-1 was deleted while the build ran"
    )


def test_a_box_killed_for_its_memory_limit_is_reported_even_if_its_pod_is_deleted_after() -> None:
    found = why_ended(observe(pod(box={"exitCode": 137, "reason": "OOMKilled"}, deleting=True)))
    assert found is not None and (found.reason, found.final) == (Reason.OUT_OF_MEMORY, True)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (TERM, "a step stopped process 1 (`kill 1`)"),
        (KILL, "the box was killed while the build ran: exit code 137"),
        (
            {**KILL, "reason": "ContainerStatusUnknown", "message": "could not be located"},
            "the box was killed while the build ran: exit code 137, ContainerStatusUnknown: could not be located",
        ),
        (
            {"exitCode": 2, "reason": "Error", "message": "panic: x\n--- sentinel step=2 id=y\n"},
            "the box ended while the build ran: exit code 2; its last output: panic: x",
        ),
    ],
)
def test_any_other_end_is_the_box_s_own_and_final_once_the_pod_is_over(
    box: dict[str, Any], message: str
) -> None:
    running, over = why_ended(observe(pod(box=box))), why_ended(observe(pod(box=box, **FAILED)))
    assert running is not None and over is not None
    assert (running.reason, running.final, over.final) == (Reason.BOX_TERMINATED, False, True)
    assert message in over.message
    assert "--- sentinel" not in over.message


def test_a_pod_that_its_node_rejects_may_do_better_elsewhere() -> None:
    raw = pod(**FAILED, reason="OutOfcpu", message="Node didn't have enough resource: cpu")
    raw["status"]["containerStatuses"] = []
    found = why_ended(observe(raw))
    assert found is not None and found.reason is Reason.POD_EVICTED
    assert found.message == (
        "pod b-1 was rejected by node n-1: OutOfcpu: Node didn't have enough resource: cpu"
    )


@pytest.mark.parametrize(
    "raw",
    [
        pod(phase="Running"),
        pod(box={"exitCode": 128, "reason": "StartError"}, **FAILED),
        pod(**disrupted("EvictionByEvictionAPI", "")) | {"status": {"phase": "Pending"}},
    ],
)
def test_nothing_is_made_of_a_pod_that_runs_or_never_ran(raw: dict[str, Any]) -> None:
    assert why_ended(observe(raw)) is None
