"""A pod that is seen, and why one does not start: each row of the table, by what the cluster says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sentinel.api.reasons import Reason
from sentinel.plan.observe import Ended, FetchFailure, PodEvent, PodView, Waiting, observe
from sentinel.plan.start import (
    StartProblem,
    why_not_started,
    why_silent,
)

FOREVER = float("inf")


def status(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


def pod(**said: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "uid": "u", "creationTimestamp": "2026-11-23T09:00:00Z"},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Pending", **said},
    }


def waiting(name: str, reason: str, message: str = "") -> dict[str, Any]:
    return status(name, waiting={"reason": reason, "message": message})


def box_waits(reason: str, message: str = "") -> PodView:
    return observe(pod(containerStatuses=[waiting("box", reason, message)]))


def test_a_running_pod_seen_whole() -> None:
    raw = pod(
        phase="Running",
        conditions=[
            {"type": "PodScheduled", "status": "True"},
            {"type": "Initialized", "status": "True"},
        ],
        initContainerStatuses=[
            status("source", terminated={"exitCode": 0, "reason": "Completed", "finishedAt": "t1"})
        ],
        containerStatuses=[
            {**status("box", running={"startedAt": "t2"}), "containerID": "containerd://abc"},
            status(
                "service-1-redis",
                terminated={"exitCode": 1, "reason": "Error", "message": "bad config\n"},
            ),
        ],
    )

    assert observe(raw) == PodView(
        name="p",
        uid="u",
        node="node-1",
        phase="Running",
        created="2026-11-23T09:00:00Z",
        initialized=True,
        box_id="containerd://abc",
        box_running=True,
        fetch_ended=Ended(exit_code=0, reason="Completed", finished="t1"),
        services_ended=(
            ("service-1-redis", Ended(exit_code=1, reason="Error", message="bad config")),
        ),
    )


def test_a_pod_without_a_status_is_seen_as_nothing_yet() -> None:
    view = observe({"metadata": {"name": "p"}})

    assert view == PodView(name="p")
    assert not view.bound
    assert why_not_started(view, now=0.0, since={}) is None


@pytest.mark.parametrize(
    "said",
    [
        {"phase": "Failed", "reason": "Evicted", "message": "low on resource: ephemeral-storage"},
        {
            "conditions": [
                {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
            ]
        },
    ],
)
def test_an_evicted_pod_is_seen_as_such(said: dict[str, Any]) -> None:
    assert observe(pod(**said)).evicted
    assert not observe(pod()).evicted


def test_a_box_that_ran_out_of_memory_is_seen_as_such() -> None:
    ended = observe(
        pod(containerStatuses=[status("box", terminated={"exitCode": 137, "reason": "OOMKilled"})])
    ).box_ended

    assert ended == Ended(exit_code=137, reason="OOMKilled")
    assert ended.out_of_memory


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        (
            json.dumps({"reason": "SourceAuthFailed", "message": "user?"}),
            FetchFailure(exit_code=2, reason="SourceAuthFailed", message="user?"),
        ),
        (
            'fatal: x\n{"reason": "SourceNotFound", "message": "gone"}\n',
            FetchFailure(exit_code=2, reason="SourceNotFound", message="gone"),
        ),
        (
            "Traceback\nKeyError",
            FetchFailure(exit_code=2, reason="", message="Traceback\nKeyError"),
        ),
        ("", FetchFailure(exit_code=2, reason="", message="Error")),
    ],
)
def test_a_failed_fetch_tells_its_own_reason_where_it_can(
    message: str, failure: FetchFailure
) -> None:
    terminated = {"exitCode": 2, "reason": "Error", "message": message}

    view = observe(pod(initContainerStatuses=[status("source", terminated=terminated)]))

    assert view.fetch_failure == failure


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        (
            observe(
                pod(
                    conditions=[
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": "0/1 nodes are available: 1 Insufficient memory.",
                        }
                    ]
                )
            ),
            (Reason.UNSCHEDULABLE, "0/1 nodes are available: 1 Insufficient memory.", FOREVER),
        ),
        (
            box_waits("ImagePullBackOff", "Back-off pulling image"),
            (Reason.IMAGE_PULL_FAILED, "box: Back-off pulling image", 30.0),
        ),
        (
            box_waits("InvalidImageName", 'couldn\'t parse image "A"'),
            (Reason.INVALID_IMAGE_NAME, 'box: couldn\'t parse image "A"', 0.0),
        ),
        (
            box_waits("CreateContainerConfigError", 'secret "x" not found'),
            (Reason.CONTAINER_CONFIG_INVALID, 'box: secret "x" not found', 10.0),
        ),
        (
            box_waits("CreateContainerError"),
            (Reason.CONTAINER_CREATE_FAILED, "box: CreateContainerError", 10.0),
        ),
        (
            observe(
                pod(initContainerStatuses=[waiting("source", "ErrImagePull", "not found")]),
            ),
            (Reason.IMAGE_PULL_FAILED, "init container source: not found", 30.0),
        ),
        (
            observe(
                pod(
                    containerStatuses=[
                        status(
                            "box",
                            terminated={
                                "exitCode": 128,
                                "reason": "StartError",
                                "message": "exec: no such file",
                            },
                        )
                    ]
                )
            ),
            (Reason.CONTAINER_CREATE_FAILED, "box: exec: no such file", 0.0),
        ),
        (
            box_waits("RunContainerError", "exec /run/sentinel/kit/boxkit: exec format error"),
            (
                Reason.ARCHITECTURE_MISMATCH,
                "box: the image is for another architecture than the node's: "
                "exec /run/sentinel/kit/boxkit: exec format error",
                10.0,
            ),
        ),
        (
            observe(
                pod(),
                events=[
                    {"reason": "Scheduled", "message": "assigned"},
                    {"reason": "FailedMount", "message": 'secret "git" not found'},
                ],
            ),
            (Reason.VOLUME_UNAVAILABLE, 'secret "git" not found', FOREVER),
        ),
        (
            observe(pod(), events=[{"reason": "FailedCreatePodSandBox", "note": "no network"}]),
            (Reason.SANDBOX_FAILED, "no network", FOREVER),
        ),
        (
            PodView(
                fetch_failure=FetchFailure(exit_code=1, reason="SourceAuthFailed", message="user?")
            ),
            (Reason.SOURCE_AUTH_FAILED, "user?", 0.0),
        ),
        (
            PodView(fetch_failure=FetchFailure(exit_code=139, reason="", message="")),
            (Reason.FETCH_FAILED, "fetching the source ended with exit code 139", 10.0),
        ),
        (
            observe(
                pod(phase="Running", containerStatuses=[status("box", running={})]),
                node={"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
            ),
            (Reason.NODE_LOST, "node node-1 is not ready", 60.0),
        ),
    ],
)
def test_each_reason_is_reported_with_its_evidence_and_fails_after_its_grace(
    view: PodView, problem: tuple[Reason, str, float]
) -> None:
    reason, message, grace = problem

    def at(now: float) -> StartProblem:
        return StartProblem(
            reason=reason,
            message=message,
            grace=grace,
            verdict="fail" if now - 100.0 >= grace else "wait",
        )

    since = {reason: 100.0}
    for now in (100.0, 109.9, 110.0, 130.0, 160.0, 1e9):
        assert why_not_started(view, now=now, since=since) == at(now)
    assert why_not_started(view, now=1e9, since={}) == at(100.0)


def test_what_fails_soonest_is_reported_first() -> None:
    view = observe(
        pod(
            containerStatuses=[
                waiting("box", "ImagePullBackOff", "slow"),
                waiting("service-1-redis", "InvalidImageName", "bad"),
                waiting("service-2-x", "ContainerCreating"),
            ]
        )
    )

    assert why_not_started(view, now=0.0, since={}) == StartProblem(
        reason=Reason.INVALID_IMAGE_NAME,
        message="container service-1-redis: bad",
        verdict="fail",
        grace=0.0,
    )


@pytest.mark.parametrize(
    "view",
    [
        observe(pod(containerStatuses=[waiting("box", "PodInitializing")])),
        observe(pod(containerStatuses=[status("box", running={})])),
        # An old event about a mount that has come by now.
        observe(
            pod(initContainerStatuses=[status("source", running={})]),
            events=[{"reason": "FailedMount", "message": "x"}],
        ),
        PodView(
            box_ended=Ended(exit_code=137, reason="OOMKilled"),
            waiting=(Waiting(container="x", reason="ErrImagePull"),),
        ),
        PodView(events=(PodEvent(reason="Pulling", message="pulling"),)),
    ],
)
def test_a_pod_that_is_on_its_way_has_no_problem(view: PodView) -> None:
    assert why_not_started(view, now=1e9, since={}) is None


def test_a_running_box_whose_node_is_silent_is_lost_after_a_minute() -> None:
    raw = pod(phase="Running", containerStatuses=[status("box", running={})])
    away = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}

    assert why_silent(observe(raw, node=ready), now=0.0, since={}) is None
    assert why_silent(observe(raw), now=0.0, since={}) is None
    waiting_ = why_silent(observe(raw, node=away), now=59.0, since={Reason.NODE_LOST: 0.0})
    assert waiting_ is not None
    assert waiting_.verdict == "wait"
    lost = why_silent(observe(raw, node=away), now=60.0, since={Reason.NODE_LOST: 0.0})
    assert lost is not None
    assert (lost.reason, lost.verdict) == (Reason.NODE_LOST, "fail")
    assert "node-1" in lost.message
