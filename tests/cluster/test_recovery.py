"""What happens to builds when something dies. The pod knows what happened; a new operator only asks."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.conftest import WAITS, Builds, eventually, steps
from tests.install import NAMESPACE, OPERATOR, leader
from tests.kubectl import condition


def running(step: str) -> Any:
    """Whether that step runs."""
    return lambda raw: raw.get("status", {}).get("currentStep") == step


def operator_pod(builds: Builds) -> dict[str, Any]:
    """The pod of the operator that leads."""
    name = leader(builds.kubectl)
    pods = builds.kubectl.list("pods", namespace=NAMESPACE, selector=OPERATOR)
    return next(pod for pod in pods if pod["metadata"]["name"] == name)


@pytest.mark.alone
def test_a_killed_operator_s_successor_goes_on_and_no_step_runs_twice(builds: Builds) -> None:
    builds.secret("tokens", api="v3ry-s3cret-value")
    codes = {n: f"echo {n} >> /count; {WAITS if n == 2 else 'sleep 1'}" for n in range(1, 7)}
    text = (
        f"box: {builds.lab.registry}/box/debian:12\nbuild:\n  steps:\n"
        + "".join(
            f"    - script: {{name: count {n}, code: '{code}'}}\n" for n, code in codes.items()
        )
        + "    - script: {name: show, code: 'echo $(cat /count) \"$TOKEN\"'}\n"
    )
    token = {"secretKeyRef": {"name": "tokens", "key": "api"}}
    builds.apply("b", url=builds.project(text), env=[{"name": "TOKEN", "valueFrom": token}])
    builds.kubectl.wait_for("build", "b", namespace=builds.namespace, until=running("count 2"))
    name = operator_pod(builds)["metadata"]["name"]
    builds.kubectl("delete", "pod", name, "-n", NAMESPACE, "--grace-period=0", "--force")
    # Steps end and begin while no operator is there.
    builds.release("b")
    # What it was started with does not matter any more: the plan is in the pod, the values are in the box.
    builds.kubectl("delete", "secret", "tokens", "-n", builds.namespace)
    raw = builds.finish("b")
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    assert {state for _, state, _ in steps(raw)} == {"Passed"}
    assert builds.log(raw, "show") == "1 2 3 4 5 6 ****\n"
    assert raw["status"]["pod"]["attempt"] == 1


def test_a_pod_deleted_after_a_step_began_is_not_replaced(builds: Builds) -> None:
    builds.apply("b", url=builds.script("sleep 1000", name="deploy"))
    builds.kubectl.wait_for("build", "b", namespace=builds.namespace, until=running("deploy"))
    pod = builds.pods("b")[0]["metadata"]["name"]
    builds.kubectl("delete", "pod", pod, "-n", builds.namespace, "--grace-period=1")
    raw = builds.finish("b")
    assert raw["status"]["phase"] == "Errored"
    assert condition(raw, "Succeeded")["reason"] in ("PodDeleted", "BoxTerminated")
    assert raw["status"]["pod"]["attempt"] == 1


def test_a_cancel_ends_the_running_step_and_skips_the_rest(builds: Builds) -> None:
    text = (
        f"box: {builds.lab.registry}/box/debian:12\nbuild:\n  steps:\n"
        "    - script: {name: long, code: 'echo begun; sleep 1000'}\n"
        "    - script: {name: never, code: 'true'}\n"
    )
    builds.apply("b", url=builds.project(text))
    builds.kubectl.wait_for("build", "b", namespace=builds.namespace, until=running("long"))
    eventually(lambda: "begun\n" in builds.printed("b"))
    patch = '{"spec":{"cancel":true}}'
    builds.kubectl("patch", "build", "b", "-n", builds.namespace, "--type=merge", "-p", patch)
    raw = builds.finish("b")
    assert raw["status"]["phase"] == "Cancelled"
    assert steps(raw) == [
        ("long", "Failed", "Cancelled"),
        ("never", "Skipped", "Cancelled"),
    ]
    assert builds.log(raw, "long") == "begun\n"


def test_a_deleted_build_leaves_no_pod(builds: Builds) -> None:
    builds.apply("b", url=builds.script("sleep 1000", name="long"))
    builds.kubectl.wait_for("build", "b", namespace=builds.namespace, until=running("long"))
    pod = builds.pods("b")[0]["metadata"]["name"]
    builds.kubectl("delete", "build", "b", "-n", builds.namespace)
    builds.kubectl("wait", "pod", pod, "-n", builds.namespace, "--for=delete", "--timeout=240s")
    assert builds.pods("b") == []
