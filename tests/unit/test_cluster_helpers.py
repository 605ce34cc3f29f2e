"""What the cluster tests lean on: when an installation counts as done, and what a failed test shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests import install
from tests.cluster import diagnosis
from tests.kubectl import Kubectl
from tests.lab.state import Lab

LAB = Lab(**{name: "" for name in Lab.__dataclass_fields__})


def kubectl_that(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., str]) -> Kubectl:
    monkeypatch.setattr(Kubectl, "__call__", lambda self, *words, **_: answer(*words))
    return Kubectl(LAB)


def deployment(**status: int) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "sentinel-operator", "generation": 2},
        "spec": {"replicas": 1},
        "status": status,
    }


def daemon_set(*, available: int) -> dict[str, Any]:
    counts = {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1}
    return {
        "kind": "DaemonSet",
        "metadata": {"name": "sentinel-agent", "generation": 1},
        "status": {"observedGeneration": 1, "numberAvailable": available, **counts},
    }


def pod(name: str, component: str = "operator", **metadata: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, **metadata},
        "status": {"phase": "Running"},
    }


DONE = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


@pytest.mark.parametrize(
    "too_early",
    [
        # The controller has not seen the upgrade.
        [deployment(**DONE | {"observedGeneration": 1}), pod("old")],
        # The new pod is ready, and the old one, which leads, is not marked for deletion yet: helm returns here.
        [deployment(**DONE | {"replicas": 2, "availableReplicas": 2}), pod("old"), pod("new")],
        [deployment(**DONE), pod("old", deletionTimestamp="now"), pod("new")],
        # Another one leads, which nobody knows.
        [deployment(**DONE), pod("newer")],
        [deployment(**DONE), pod("old"), pod("away", "reporter", deletionTimestamp="now")],
        [deployment(**DONE), pod("old"), pod("away", "results", deletionTimestamp="now")],
        # For the agent of one node helm does not wait.
        [deployment(**DONE), daemon_set(available=0), pod("old")],
    ],
)
def test_an_installation_is_done_when_no_old_operator_can_take_a_build(
    monkeypatch: pytest.MonkeyPatch, too_early: list[dict[str, Any]]
) -> None:
    ended = [
        *(deployment(**DONE), daemon_set(available=1), pod("new")),
        pod("a", "agent", deletionTimestamp="now"),
    ]
    looks = iter([(too_early, "old"), (ended, "new")])
    holder = ""

    def answer(*words: str) -> str:
        nonlocal holder
        if words[1] == "lease":
            return json.dumps({"spec": {"holderIdentity": holder}})
        items, holder = next(looks)
        return json.dumps({"items": items})

    monkeypatch.setattr(install.time, "sleep", lambda _: None)
    install.await_leader(kubectl_that(monkeypatch, answer))
    assert next(looks, None) is None


def test_a_failed_test_shows_its_builds_pods_and_events(monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {"name": "b", "creationTimestamp": "2026-01-01T00:00:00Z"}
    conditions = [{"type": "Succeeded", "status": "False", "reason": "ExitCode", "message": "x\ny"}]
    steps = [{"name": "script", "state": "Failed", "reason": "ExitCode"}]
    state = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    objects: dict[str, list[dict[str, Any]]] = {
        "builds.sentinel.wercker.com": [
            {
                "metadata": meta,
                "status": {"phase": "Failed", "steps": steps, "conditions": conditions},
            }
        ],
        "pods": [
            {
                "metadata": meta,
                "status": {
                    "phase": "Running",
                    "containerStatuses": [{"name": "box", "state": state, "restartCount": 1}],
                },
            }
        ],
        "events": [
            {
                "metadata": meta,
                "lastTimestamp": f"2026-01-01T00:00:{n:02}Z",
                "involvedObject": {"kind": "Pod", "name": "b"},
                "reason": f"R{n}",
                "message": "m" * 1000,
            }
            for n in reversed(range(40))
        ],
    }

    def answer(*words: str) -> str:
        if words[0] == "logs":
            return "INFO build test-1/b: ended\nINFO build other/b: ended\nx ERROR y"
        if words[1] not in objects:
            raise RuntimeError("no answer")
        return json.dumps({"items": objects[words[1]]})

    fixtures = {"kubectl": kubectl_that(monkeypatch, answer), "namespace": "test-1"}
    found = dict(diagnosis.sections(fixtures))

    assert found["builds at the end"] == (
        "b: Failed, script=Failed/ExitCode\n  Succeeded=False ExitCode: x y"
    )
    assert found["commits at the end"] == "cannot be read: RuntimeError: no answer"
    assert found["pods at the end"] == "b: Running, box=OOMKilled(137) (1 restarts)"
    assert found["the operator's log at the end"] == "INFO build test-1/b: ended\nx ERROR y"
    assert " R39: mmm" in found["events at the end"].splitlines()[-1]
    assert all(len(text) <= diagnosis.MOST_CHARACTERS for text in found.values())
    assert diagnosis.sections({}) == []
