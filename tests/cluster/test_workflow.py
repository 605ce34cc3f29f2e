"""A workflow as one object: fan-out, fan-in, an operator that dies in its middle, a failure, and a retry."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.conftest import API_VERSION, Builds
from tests.cluster.test_recovery import operator_pod
from tests.install import NAMESPACE
from tests.kubectl import condition, finished, until

YML = """\
box: {box}
build:
  steps:
    - script: {{code: 'echo "built in $FLAVOUR" > "$WERCKER_OUTPUT_DIR/built"; echo image > /etc/made'}}
test:
  steps:
    - script:
        name: test
        code: |
          cat built /etc/made
          test "$MODE" = good
          cp built "$WERCKER_OUTPUT_DIR/$PART"
deploy:
  steps: []
  production:
    - script: {{name: deploy, code: 'cat unit/one system/two; echo "$WERCKER_DEPLOYTARGET_NAME $WERCKER_GIT_BRANCH"'}}
workflows:
  - name: release
    pipelines:
      - name: build
        envFile: ENVIRONMENT
      - name: unit
        pipelineName: test
        requires: [build]
        envFile: unit.env
      - name: system
        pipelineName: test
        requires: [build]
        envFile: system.env
      - name: deploy
        requires: [unit, system]
"""


def kill_operator(builds: Builds) -> None:
    name = operator_pod(builds)["metadata"]["name"]
    builds.kubectl("delete", "pod", name, "-n", NAMESPACE, "--grace-period=0", "--force")


@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_a_workflow_of_four_pipelines(builds: Builds) -> None:
    kubectl, namespace = builds.kubectl, builds.namespace
    box = f"{builds.lab.registry}/box/debian:12"
    files = {
        "ENVIRONMENT": "X_FLAVOUR=blue\n",
        "unit.env": "X_PART=one\n",
        "system.env": "X_PART=two\n",
    }
    url = builds.project(YML.format(box=box), **files)

    def mode(value: str) -> None:
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "mode", "namespace": namespace},
                "data": {"MODE": value},
            }
        )

    def run(holds: Any) -> dict[str, Any]:
        return kubectl.wait_for("workflowrun", "r", namespace=namespace, until=holds, timeout=400)

    mode("bad")
    kubectl.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "WorkflowRun",
            "metadata": {"name": "r", "namespace": namespace},
            "spec": {
                "source": {"git": {"url": url}},
                "envFrom": [{"configMapRef": {"name": "mode"}}],
                "deployTargets": {"deploy": "production"},
            },
        }
    )
    run(lambda raw: raw.get("status", {}).get("progress", "0/").partition("/")[0] != "0")
    kill_operator(builds)
    failed = run(finished)
    assert failed["status"]["phase"] == "Failed"
    assert [each["phase"] for each in failed["status"]["pipelines"]] == [
        *("Succeeded", "Failed", "Failed", "Skipped")
    ]
    assert failed["status"]["progress"] == "4/4"
    assert condition(failed, "Succeeded")["reason"] == "ExitCode"
    made = {each["metadata"]["name"] for each in kubectl.list("builds", namespace=namespace)}
    assert made == {"r-1-build", "r-2-unit", "r-3-system"}
    line = kubectl("get", "workflowrun", "r", "-n", namespace).splitlines()[1].split()
    assert line[:4] == ["r", "release", "Failed", "4/4"]

    mode("good")
    kubectl("patch", "wfr", "r", "-n", namespace, "--type=merge", "-p", '{"spec":{"retry":1}}')
    run(lambda raw: raw["status"]["pipelines"][1].get("build") == "r-2-unit-r1")
    kill_operator(builds)
    passed = run(finished)
    assert passed["status"]["phase"] == "Succeeded", passed["status"]
    assert [each["build"] for each in passed["status"]["pipelines"]] == [
        *("r-1-build", "r-2-unit-r1", "r-3-system-r1", "r-4-deploy-r1")
    ]
    deploy = builds.get("r-4-deploy-r1")
    assert builds.log(deploy, "deploy") == "built in blue\nbuilt in blue\nproduction main\n"
    assert deploy["status"]["source"] == passed["status"]["source"]
    unit = builds.get("r-2-unit-r1")
    assert builds.log(unit, "test") == "built in blue\nimage\n"

    patch = '{"spec":{"ttlAfterFinished":"1s"}}'
    kubectl("patch", "wfr", "r", "-n", namespace, "--type=merge", "-p", patch)
    # The first resync of a new leader is its start; the Builds go with the run. This one hands its Lease over.
    old = operator_pod(builds)["metadata"]["name"]
    kubectl("delete", "pod", old, "-n", NAMESPACE, "--wait=false")
    until(
        lambda: not kubectl.list("workflowruns,builds", namespace=namespace),
        what="the run and its Builds are deleted",
        timeout=400,
    )
