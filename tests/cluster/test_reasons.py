"""Reasons that only a cluster can cause: each test makes the state or event that is named, and reads the Build."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.conftest import Builds, eventually, open_gate, steps
from tests.install import environ
from tests.kubectl import condition

until = eventually


def verdict(raw: dict[str, Any]) -> tuple[str, str]:
    """(phase, reason of Succeeded)."""
    return raw["status"]["phase"], condition(raw, "Succeeded")["reason"]


def shows(reason: str) -> Callable[[dict[str, Any]], bool]:
    """Whether PodReady says, meanwhile, why the pod does not start."""
    return lambda raw: condition(raw, "PodReady").get("reason") == reason


def running(step: str) -> Callable[[dict[str, Any]], bool]:
    return lambda raw: raw.get("status", {}).get("currentStep") == step


def wait(builds: Builds, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The Build `b` once that holds."""
    return builds.kubectl.wait_for("build", "b", namespace=builds.namespace, until=until)


def in_node(builds: Builds, script: str) -> str:
    """Run shell commands in the node's container, as its root."""
    node = f"{builds.lab.cluster}-control-plane"
    done = subprocess.run(
        ["docker", "exec", node, "sh", "-c", script],
        env=environ(builds.lab),
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return done.stdout


def test_quota_exceeded_is_waited_for_and_shown(builds: Builds) -> None:
    """A ResourceQuota of no pods, that is lifted while the build waits."""
    quota: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": builds.namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    builds.kubectl.apply(quota)
    builds.kubectl.wait_for(
        "resourcequota",
        "none",
        namespace=builds.namespace,
        until=lambda raw: "pods" in raw.get("status", {}).get("hard", {}),
    )
    builds.apply("b", url=builds.script("true"))
    raw = wait(builds, shows("QuotaExceeded"))
    assert "exceeded quota" in condition(raw, "PodReady")["message"]
    builds.kubectl("delete", "resourcequota", "none", "-n", builds.namespace)
    assert verdict(builds.finish("b")) == ("Succeeded", "Passed")


def test_quota_exceeded_ends_the_build_at_its_pending_timeout(builds: Builds) -> None:
    """A ResourceQuota of no pods, that stays."""
    builds.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": builds.namespace},
            "spec": {"hard": {"pods": "0"}},
        }
    )
    builds.kubectl.wait_for(
        "resourcequota",
        "none",
        namespace=builds.namespace,
        until=lambda raw: "pods" in raw.get("status", {}).get("hard", {}),
    )
    raw = builds.run(url=builds.script("true"), timeouts={"pending": "3s"})
    assert verdict(raw) == ("Errored", "QuotaExceeded")
    assert builds.pods("b") == []


def test_service_account_missing(builds: Builds) -> None:
    """spec.pod.serviceAccountName names an account that nobody made."""
    raw = builds.run(url=builds.script("true"), pod={"serviceAccountName": "nobody"})
    assert verdict(raw) == ("Failed", "ServiceAccountMissing")
    assert "nobody" in condition(raw, "Succeeded")["message"]


def test_volume_unavailable_is_shown_until_the_volume_is_there(builds: Builds, gate: str) -> None:
    """The Secret that the pod mounts is gone when the kubelet wants it: FailedMount."""
    lab = builds.lab
    login = {"username": lab.git_user, "password": lab.git_password}
    builds.secret("git", type_="kubernetes.io/basic-auth", **login)
    text = f"box: {lab.registry}/box/debian:12\nbuild:\n  steps:\n    - script: {{code: 'true'}}\n"
    builds.apply(
        "b",
        url=builds.project(text, private=True),
        git={"secretRef": {"name": "git"}},
        pod={"nodeSelector": {gate: "open"}},
    )
    wait(builds, shows("Unschedulable"))
    builds.kubectl("delete", "secret", "git", "-n", builds.namespace)
    open_gate(builds, gate)
    raw = wait(builds, shows("VolumeUnavailable"))
    assert '"git"' in condition(raw, "PodReady")["message"]
    builds.secret("git", type_="kubernetes.io/basic-auth", **login)
    # The kubelet tries again after two minutes at the latest.
    assert verdict(builds.finish("b", timeout=360)) == ("Succeeded", "Passed")


def test_pod_evicted_after_a_step_began_ends_the_build(builds: Builds) -> None:
    """The eviction API, while a step runs."""
    builds.apply("b", url=builds.script("sleep 1000", name="deploy"))
    wait(builds, running("deploy"))
    builds.evict("b")
    raw = builds.finish("b")
    assert verdict(raw) == ("Errored", "PodEvicted")
    assert steps(raw) == [("deploy", "Failed", "PodEvicted")]
    assert raw["status"]["pod"]["attempt"] == 1


@pytest.mark.parametrize("how", ["evict", "delete"])
def test_a_pod_lost_before_any_step_is_replaced(builds: Builds, gate: str, how: str) -> None:
    """The eviction API, or a deletion, while the pod waits for a node."""
    builds.apply("b", url=builds.script("true"), pod={"nodeSelector": {gate: "open"}})
    wait(builds, shows("Unschedulable"))
    if how == "evict":
        builds.evict("b")
    else:
        pod = builds.pods("b")[0]["metadata"]["name"]
        builds.kubectl("delete", "pod", pod, "-n", builds.namespace)
    wait(builds, lambda raw: raw["status"]["pod"]["attempt"] == 2)
    open_gate(builds, gate)
    raw = builds.finish("b")
    assert verdict(raw) == ("Succeeded", "Passed")
    assert raw["status"]["pod"]["attempt"] == 2
    assert raw["status"]["pod"]["name"].endswith("-2")


def test_a_build_that_may_run_steps_twice_gets_another_pod(builds: Builds) -> None:
    """retries.afterStart, and a pod that is deleted while a step of the first attempt runs."""
    nap: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "nap", "namespace": builds.namespace},
        "data": {"NAP": "1000"},
    }
    builds.kubectl.apply(nap)
    url = builds.script("sleep $NAP", name="nap")
    retries = {"infrastructure": 1, "afterStart": True}
    builds.apply("b", url=url, retries=retries, envFrom=[{"configMapRef": {"name": "nap"}}])
    wait(builds, running("nap"))
    builds.kubectl.apply({**nap, "data": {"NAP": "0"}})
    pod = builds.pods("b")[0]["metadata"]["name"]
    builds.kubectl("delete", "pod", pod, "-n", builds.namespace, "--grace-period=1")
    raw = builds.finish("b")
    assert verdict(raw) == ("Succeeded", "Passed")
    assert raw["status"]["pod"]["attempt"] == 2


def test_out_of_memory_of_one_process(builds: Builds) -> None:
    """The kernel kills a process of the step for the box's limit; the step itself ends well."""
    limit = {"box": {"resources": {"limits": {"memory": "96Mi"}}}}
    code = "head -c 400M /dev/zero | tail -c 300M >/dev/null || true\necho went on"
    raw = builds.run(url=builds.script(code, name="greedy"), pod=limit)
    assert verdict(raw) == ("Failed", "OutOfMemory")
    assert steps(raw) == [("greedy", "Failed", "OutOfMemory")]
    assert "went on" in builds.log(raw, "greedy")


BOXKIT = """
for p in /proc/[0-9]*; do
  grep -q POD $p/cgroup 2>/dev/null || continue
  tr '\\0' ' ' <$p/cmdline | grep -q 'boxkit init' && kill -KILL ${p#/proc/} && exit 0
done
exit 1
"""
"""Kills the main process of a pod's box from the node. POD is its uid as control groups spell it."""


@pytest.mark.parametrize(
    ("starved", "reason", "phase"),
    [(True, "OutOfMemory", "Failed"), (False, "BoxTerminated", "Errored")],
)
def test_a_box_that_is_killed_as_a_whole(
    builds: Builds, starved: bool, reason: str, phase: str
) -> None:
    """Simulated: PID 1 is killed from the node. With memory.oom.group (cgroup v2) the kernel does it by itself.

    Whether the kubelet calls it OOMKilled hangs on what the kernel reported of the container before.
    """
    limit = {"box": {"resources": {"limits": {"memory": "96Mi"}}}}
    hunger = "head -c 400M /dev/zero | tail -c 300M >/dev/null || true\n" if starved else ""
    builds.apply("b", url=builds.script(f"{hunger}echo now\nsleep 1000", name="last"), pod=limit)
    wait(builds, running("last"))
    uid = builds.pods("b")[0]["metadata"]["uid"]
    eventually(lambda: "now\n" in builds.printed("b"))
    in_node(builds, BOXKIT.replace("POD", uid.replace("-", ".")))
    raw = builds.finish("b")
    assert verdict(raw) == (phase, reason)
    assert steps(raw) == [("last", "Failed", reason)]
    assert raw["status"]["pod"]["attempt"] == 1
    printed = builds.log(raw, "last").splitlines()
    assert printed[-2:] == [
        "now",
        "--- sentinel: the box ended before this log was stored; this is what the node had of it",
    ]
    eventually(lambda: builds.pods("b") == [])
