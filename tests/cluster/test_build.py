"""A Build on a real cluster: what its steps see, what it leaves, what kubectl shows."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

from tests.cluster.conftest import Builds, eventually, steps
from tests.kubectl import condition

from sentinel.plan.names import FINISHED_LABEL

PIPELINE = """\
box: {registry}/box/debian:12
services:
  - {registry}/service/redis:7
build:
  steps:
    - script:
        name: export
        code: |
          export COLOUR=green
          unexported=kept
          cd /
    - script:
        name: same shell
        code: |
          echo "$COLOUR $unexported $(pwd)"
          echo done > "$WERCKER_OUTPUT_DIR/result.txt"
    - script:
        name: redis
        code: |
          exec 3<>"/dev/tcp/$REDIS_PORT_6379_TCP_ADDR/$REDIS_PORT_6379_TCP_PORT"
          printf 'PING\\r\\n' >&3
          head -n 1 <&3
          exec 3<>/dev/tcp/redis/6379
    - script:
        name: environment
        code: |
          echo "CI=$CI WERCKER=$WERCKER BUILD=$BUILD"
          echo "branch=$WERCKER_GIT_BRANCH commit=$WERCKER_GIT_COMMIT"
          echo "id=$WERCKER_BUILD_ID by=$WERCKER_STARTED_BY"
          echo "literal=$PRICE chained=$CHAINED"
          echo "token=$TOKEN all=$PROJECT_KEY"
  after-steps:
    - script:
        name: notify
        code: echo "result=$WERCKER_RESULT colour=${{COLOUR:-gone}}"
"""


def test_a_green_build_from_source_to_finished(builds: Builds) -> None:
    builds.secret("tokens", api="v3ry-s3cret-value")
    builds.secret("project", PROJECT_KEY="an0ther-s3cret")
    url = builds.project(PIPELINE.format(registry=builds.lab.registry))
    raw = builds.run(
        url=url,
        ref="main",
        startedBy="somebody",
        env=[
            {"name": "PRICE", "value": "$5 & `more`"},
            {"name": "CHAINED", "value": "<$(PRICE)>"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "api"}}},
        ],
        envFrom=[{"secretRef": {"name": "project"}}],
    )
    status = raw["status"]
    assert steps(raw) == [
        ("export", "Passed", "Passed"),
        ("same shell", "Passed", "Passed"),
        ("redis", "Passed", "Passed"),
        ("environment", "Passed", "Passed"),
        ("notify", "Passed", "Passed"),
    ]
    assert (status["phase"], status["progress"]) == ("Succeeded", "5/5")
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Accepted": ("True", "Valid"),
        "PodReady": ("True", "Ready"),
        "Succeeded": ("True", "Passed"),
        "Finished": ("True", "Completed"),
    }
    builds.kubectl.wait_for(
        "build",
        "b",
        namespace=builds.namespace,
        until=lambda raw: raw["metadata"].get("labels", {}).get(FINISHED_LABEL) == "true",
    )
    assert builds.log(raw, "same shell") == "green kept /pipeline/source\n"
    assert builds.log(raw, "redis") == "+PONG\r\n"
    commit = status["source"]["commit"]
    assert builds.log(raw, "environment").splitlines() == [
        "CI=true WERCKER=true BUILD=true",
        f"branch=main commit={commit}",
        f"id={raw['metadata']['uid']} by=somebody",
        "literal=$5 & `more` chained=<$5 & `more`>",
        "token=**** all=****",
    ]
    assert builds.log(raw, "notify") == "result=passed colour=gone\n"
    assert output_files(builds, raw) == {"output/result.txt": b"done\n"}


def output_files(builds: Builds, raw: dict[str, Any]) -> dict[str, bytes]:
    """The files of a build's stored output."""
    data = builds.stored(raw, "output.tar")
    assert raw["status"]["results"]["output"]["sizeBytes"] == len(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = [each for each in archive if each.isfile()]
        return {each.name: archive.extractfile(each).read() for each in files}  # type: ignore[union-attr]


def test_no_secret_stands_in_the_pod_or_in_the_build(builds: Builds) -> None:
    builds.secret("tokens", api="v3ry-s3cret-value")
    token = {"secretKeyRef": {"name": "tokens", "key": "api"}}
    builds.apply(
        "b",
        url=builds.script('echo "$TOKEN"; sleep 1000 & wait'),
        env=[{"name": "TOKEN", "valueFrom": token}],
    )
    builds.kubectl.wait_for(
        "build",
        "b",
        namespace=builds.namespace,
        until=lambda raw: raw.get("status", {}).get("phase") == "Running",
    )
    pods = json.dumps(builds.pods("b"))
    build = json.dumps(builds.get("b"))
    assert "v3ry-s3cret-value" not in pods + build
    assert "X-Amz-Signature" not in pods + build
    builds.kubectl(
        "patch",
        "build",
        "b",
        "-n",
        builds.namespace,
        "--type=merge",
        "-p",
        '{"spec":{"cancel":true}}',
    )
    raw = builds.finish("b")
    assert raw["status"]["phase"] == "Cancelled"
    assert condition(raw, "Succeeded")["reason"] == "Cancelled"


def test_the_pod_is_gone_when_the_build_has_finished(builds: Builds) -> None:
    raw = builds.run(url=builds.script("true"))
    assert raw["status"]["phase"] == "Succeeded"
    alive = [p for p in builds.pods("b") if "deletionTimestamp" not in p["metadata"]]
    assert alive == []


def test_busybox_ash_is_a_box_too(builds: Builds) -> None:
    url = builds.script(
        'info "from ash"; echo "$0"', box=f"{builds.lab.registry}/box/busybox:1", name="ash"
    )
    raw = builds.run(url=url)
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    assert "from ash" in builds.log(raw, "ash")


def test_configuration_may_come_with_the_build(builds: Builds) -> None:
    url = builds.project(None)
    config = (
        f"box: {builds.lab.registry}/box/debian:12\nship:\n  steps:\n    - script: {{code: ls}}\n"
    )
    raw = builds.run(url=url, config=config, pipeline="ship")
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    assert builds.log(raw, "script") == "README.md\n"


def test_a_private_repository_is_fetched_with_its_secret(builds: Builds) -> None:
    lab = builds.lab
    builds.secret(
        "git", type_="kubernetes.io/basic-auth", username=lab.git_user, password=lab.git_password
    )
    text = (
        f"box: {lab.registry}/box/debian:12\nbuild:\n  steps:\n"
        "    - script: {name: look, code: 'git log --format=%H -1; cat .git/config'}\n"
    )
    url = builds.project(text, private=True)
    raw = builds.run(url=url, git={"secretRef": {"name": "git"}})
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    log = builds.log(raw, "look")
    assert log.startswith(raw["status"]["source"]["commit"])
    assert lab.git_password not in log


def test_kubectl_shows_a_build_as_a_person_reads_it(builds: Builds) -> None:
    builds.run("hello-42", url=builds.script("exit 3", name="break"))
    table = builds.kubectl("get", "builds", "-n", builds.namespace).splitlines()
    assert table[0].split() == [
        "NAME",
        "PHASE",
        "PROGRESS",
        "STEP",
        "COMMIT",
        "STARTED",
        "FINISHED",
    ]
    assert table[1].split()[:3] == ["hello-42", "Failed", "1/1"]
    described = builds.kubectl("describe", "build", "hello-42", "-n", builds.namespace)
    assert "step 'break' failed: exited with code 3" in described
    reasons = {"Accepted", "Started", "StepFailed", "Finished"}
    eventually(lambda: reasons <= {each["reason"] for each in builds.events()})
    described = builds.kubectl("describe", "build", "hello-42", "-n", builds.namespace)
    for reason in reasons:
        assert reason in described.partition("Events:")[2]
