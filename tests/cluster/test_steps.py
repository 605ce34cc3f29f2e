"""The ten steps of tests/steps in builds on a cluster, from a registry that `sentinel steps serve` is.

Every test that needs this registry is here: the operator is restarted twice, not twice for each module.
"""

from __future__ import annotations

import json

import pytest
from tests.cluster.conftest import Builds, steps
from tests.cluster.pipelines import PIPELINES, Pipeline
from tests.cluster.test_reasons import shows, verdict, wait
from tests.cluster.test_refusals import quota
from tests.kubectl import condition

PIPELINE = """\
box: {box}
build:
  steps:
    - lab/write-file@1.2.0:
        filename: deps.txt
        content: |-
          one
          two
    - lab/fetch-deps
    - lab/fetch-deps:
        name: fetch again
        into: again
    - lab/make-temp:
        envvar: MY_FILE
    - lab/make-temp@1.0.0:
        name: the old one
        envvar: OTHER
    - lab/only-on:
        branches: ^release
        text: never
    - lab/greet:
        whom: ${{WERCKER_GIT_BRANCH}}
        times: 2
    - lab/setup-workspace
    - script:
        name: what is left
        code: |
          workspace_say "$workspace_since"
          test -f "$MY_FILE" && test -f "$OTHER" && test -d "$WORKSPACE_PACKAGE"
          echo 'echo installed' > tool.sh
          echo 'on ${{WERCKER_GIT_BRANCH}}' > page.template
    - lab/install-program:
        program: my-tool
        script: tool.sh
    - lab/render:
        template: page.template
        output: $WERCKER_OUTPUT_DIR/page
    - mine "file://./steps/mine":
        who: project
    - script:
        name: both
        code: my-tool; cat $WERCKER_OUTPUT_DIR/page
    - lab/count-lines:
        path: again
        most: {most}
  after-steps:
    - lab/notify:
        room: /pipeline/room
        notify_on: always
    - script:
        name: the room
        code: cat /pipeline/room
"""
MINE = {
    "steps/mine/run.sh": 'echo "mine: $WERCKER_MINE_WHO, $WERCKER_MINE_MOOD"\n',
    "steps/mine/step.yml": "properties:\n  - name: who\n  - name: mood\n    default: cheerful\n",
}


def project(builds: Builds, *, most: int) -> str:
    box = f"{builds.lab.registry}/box/debian:12"
    return builds.project(PIPELINE.format(box=box, most=most), **MINE)


def test_ten_steps_and_one_of_the_project_s_own_build_a_project(
    step_registry: str, builds: Builds
) -> None:
    raw = builds.run(url=project(builds, most=5))

    assert condition(raw, "Succeeded")["status"] == "True", condition(raw, "Succeeded")
    assert {state for _, state, _ in steps(raw)} == {"Passed"}
    found = {each["name"]: each for each in raw["status"]["steps"]}
    assert found["greet"]["version"] == "0.0.9"
    assert [each["version"] for each in raw["status"]["steps"] if each["name"] == "make-temp"] == [
        "1.1.0",
        "1.0.0",
    ]
    assert all(
        len(each["digest"]) == 64 for each in raw["status"]["steps"] if each["name"] != "script"
    )
    assert builds.log(raw, "fetch-deps") == "one: downloaded\ntwo: downloaded\n"
    assert builds.log(raw, "fetch again") == "one: from the cache\ntwo: from the cache\n"
    assert "never" not in builds.log(raw, "only-on")
    assert builds.log(raw, "greet") == "hello main!\nhello main!\n"
    assert builds.log(raw, "what is left").startswith("workspace: 1")
    assert builds.log(raw, "mine") == "mine: project, cheerful\n"
    assert builds.log(raw, "both") == "installed\non main\n"
    assert builds.log(raw, "count-lines") == "lines: 2\n"
    assert found["count-lines"]["message"] == "2 lines"
    printed = json.loads(builds.log(raw, "the room"))
    assert (printed["result"], printed["text"].endswith("(main) passed")) == ("passed", True)


def test_a_step_that_fails_is_what_the_notifier_tells(step_registry: str, builds: Builds) -> None:
    raw = builds.run(url=project(builds, most=1))

    assert condition(raw, "Succeeded")["status"] == "False"
    printed = json.loads(builds.log(raw, "the room"))
    assert printed["result"] == "failed"
    assert printed["text"].endswith("failed at count-lines: 2 lines, and only 1 are allowed")


def test_all_that_is_missing_is_named_and_no_pod_starts(step_registry: str, builds: Builds) -> None:
    text = (
        f"box: {builds.lab.registry}/box/debian:12\nservices: [{builds.lab.registry}/service/nothing:1]\n"
        "build:\n  steps:\n    - lab/greet\n    - lab/greeet\n"
        "    - lab/greet@7.0.0:\n        whom: x\n  after-steps:\n    - lab/notify-all\n"
    )
    raw = builds.run(url=builds.project(text))

    accepted = condition(raw, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "ImageNotFound")
    for words in (
        "service/nothing:1",
        "3 steps cannot be used",
        f"lab/greeet is not in the step registry {step_registry}. Did you mean lab/greet?",
        "lab/greet@7.0.0: ",
        "It has 0.0.9",
        "lab/notify-all is not in",
    ):
        assert words in accepted["message"]
    assert "pod" not in raw["status"]


@pytest.mark.usefixtures("step_registry")
def test_a_quota_on_config_maps_is_waited_for(builds: Builds) -> None:
    # The cluster's own, which every pod mounts; a controller makes it some time after the namespace.
    builds.kubectl.wait_for(
        "configmap", "kube-root-ca.crt", namespace=builds.namespace, until=lambda raw: True
    )
    quota(builds, {"count/configmaps": "1"})
    builds.kubectl.wait_for(
        "resourcequota",
        "few",
        namespace=builds.namespace,
        until=lambda raw: raw["status"].get("used", {}).get("count/configmaps") == "1",
    )
    registry = builds.lab.registry
    url = builds.project(
        f"box: {registry}/box/debian:12\nbuild:\n  steps:\n    - lab/setup-workspace\n"
    )
    builds.apply("b", url=url)
    wait(builds, shows("QuotaExceeded"))
    assert "ConfigMap b-" in condition(builds.get("b"), "PodReady")["message"]
    quota(builds, {"count/configmaps": "9"})
    assert verdict(builds.finish("b")) == ("Succeeded", "Passed")


def text_of(builds: Builds, each: Pipeline) -> str:
    registry = builds.lab.registry
    return each.text.format(
        box=f"{registry}/box/debian:12", redis=f"{registry}/service/redis:7", registry=registry
    )


@pytest.mark.timeout(1200)
def test_pipelines_like_real_ones_do_what_they_did(step_registry: str, builds: Builds) -> None:
    for each in PIPELINES:
        url = builds.project(text_of(builds, each), **each.files)
        builds.apply(f"like-{each.like}", url=url, **each.spec)

    wrong: dict[str, object] = {}
    for each in PIPELINES:
        raw = builds.finish(f"like-{each.like}", timeout=900)
        states = {name: state for name, state, _ in steps(raw)}
        printed = condition(raw, "Succeeded")["message"]
        logs = [(name, builds.log(raw, name)) for name, _ in each.says if states[name] != "Skipped"]
        found = (raw["status"]["phase"], logs, each.states and tuple(states.values()))
        if found != (each.phase, list(each.says), each.states) or each.message not in printed:
            wrong[each.like] = (printed, found)
    assert wrong == {}
    assert len({each.like for each in PIPELINES}) >= 20
