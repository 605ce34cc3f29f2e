"""Boxes that are ended under a running build, each in its own way: whose fault it is, and what is left."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cluster.conftest import Builds, eventually, steps
from tests.kubectl import condition

AFTER = "  after-steps:\n    - script: {name: tell, code: 'echo told'}\n"
PARTIAL = "this is what the node had of it\n"
FILL = "for i in $(seq 400); do head -c 1000000 /dev/zero >>/pipeline/big; echo written $i; sleep 0.05; done; sleep 100"


def project(builds: Builds, code: str, *, after: bool) -> str:
    text = (
        f"box: {builds.lab.registry}/box/debian:12\nbuild:\n  steps:\n"
        f"    - script: {{name: one, code: {json.dumps(code)}}}\n"
    )
    return builds.project(text + (AFTER if after else ""))


def end(raw: dict[str, Any]) -> tuple[str, str]:
    return raw["status"]["phase"], condition(raw, "Succeeded")["reason"]


def gone(builds: Builds, name: str) -> None:
    """Wait until the build's pod is gone: it was deleted before, and its kubelet takes its time."""
    eventually(lambda: builds.pods(name) == [])


@pytest.mark.parametrize("again", [False, True])
def test_a_pod_over_its_own_storage_limit_fails_with_the_limit_and_a_remedy(
    builds: Builds, again: bool
) -> None:
    limits = {"box": {"resources": {"limits": {"ephemeral-storage": "64Mi"}}}}
    retries = {"infrastructure": 1, "afterStart": again}
    url = project(builds, FILL, after=not again)
    # The kubelet leaves the box one second to store its log: see the next test.
    for name in ("one", "two", "three"):
        builds.apply(name, url=url, pod=limits, retries=retries)
        raw = builds.finish(name)
        assert end(raw) == ("Failed", "StorageLimitExceeded")
        message = condition(raw, "Succeeded")["message"]
        assert "exceeds the total limit of containers 64Mi" in message or '"64Mi"' in message
        assert "Raise spec.pod.box.resources.limits.ephemeral-storage, or write less" in message
        assert raw["status"]["pod"]["attempt"] == 1
        assert steps(raw)[0][:2] == ("one", "Failed")
        if not again:
            assert steps(raw)[1] == ("tell", "Skipped", "Skipped")
        gone(builds, name)
        log = builds.log(raw, "one")
        if "written 60\n" in log:
            return
        assert log.endswith(PARTIAL)
    pytest.fail("three builds lost their output")


@pytest.mark.alone
def test_the_log_of_a_step_that_ignores_term_is_kept_as_far_as_its_node_had_it(
    builds: Builds,
) -> None:
    """The kubelet leaves the box one second, then deletes its output: on a busy node one build may lose that race.

    What holds for every build is that its log says that it is partial; of three builds one must have the output too.
    """
    limits = {"box": {"resources": {"limits": {"ephemeral-storage": "64Mi"}}}}
    url = project(builds, f"trap '' TERM; {FILL}", after=False)
    for name in ("one", "two", "three"):
        builds.apply(name, url=url, pod=limits)
        raw = builds.finish(name)
        assert end(raw) == ("Failed", "StorageLimitExceeded")
        log = builds.log(raw, "one")
        assert log.endswith(PARTIAL)
        gone(builds, name)
        if "written 60\n" in log:
            return
    pytest.fail("three builds lost their output")


@pytest.mark.parametrize("after", [False, True])
def test_kill_1_is_a_box_that_was_terminated(builds: Builds, after: bool) -> None:
    builds.apply("b", url=project(builds, "echo begun; sleep 1; kill 1; sleep 30", after=after))
    raw = builds.finish("b")
    assert end(raw) == ("Errored", "BoxTerminated")
    message = condition(raw, "Succeeded")["message"]
    assert "kill 1" in message
    assert "--- sentinel" not in message and "boxkit" not in message
    assert steps(raw)[0][:2] == ("one", "Failed")
    assert builds.log(raw, "one").startswith("begun\n")
    gone(builds, "b")


def test_a_drained_build_says_who_evicted_it_and_runs_again_where_it_may(builds: Builds) -> None:
    code = "test -e /pipeline/source/wercker.yml; echo begun; sleep $NAP"
    nap: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "nap", "namespace": builds.namespace},
        "data": {"NAP": "1000"},
    }
    builds.kubectl.apply(nap)
    builds.apply(
        "b",
        url=project(builds, code, after=True),
        envFrom=[{"configMapRef": {"name": "nap"}}],
        retries={"infrastructure": 1, "afterStart": True},
    )
    builds.kubectl.wait_for(
        "build",
        "b",
        namespace=builds.namespace,
        until=lambda raw: raw.get("status", {}).get("currentStep") == "one",
    )
    builds.kubectl.apply({**nap, "data": {"NAP": "0"}})
    builds.evict("b")
    raw = builds.finish("b")
    assert end(raw) == ("Succeeded", "Passed")
    assert raw["status"]["pod"]["attempt"] == 2
    lost = eventually(
        lambda: [each["note"] for each in builds.events() if each["reason"] == "AttemptLost"]
    )
    assert "PodEvicted" in lost[0]
    assert "EvictionByEvictionAPI: Eviction API: evicting" in lost[0]
