"""The environment of a build and of a deploy, whole: names, order and values, byte for byte; and where steps run."""

from __future__ import annotations

import io
import tarfile
from datetime import datetime
from typing import Any

from tests.cluster.conftest import Builds, steps
from tests.kubectl import condition

NASTY = (
    "-n 'one' \"two\" \\back\\\\slash $HOME ${HOME} $(id) $$ `id` \t* ? ! # ; & | < > ~ % ü€𝄞\n"
    "second $LINE\n\n"
)

PIPELINE = """\
box: {{id: {registry}/box/debian:12, env: {{lang: C.UTF-8, where: $WERCKER_ROOT/$PUBLIC}}}}
services:
  - {{id: {registry}/service/redis:7, name: my-db, env: {{mode: '$PUBLIC'}}}}
{pipeline}:
  steps:
    - script: {{name: a new shell follows, code: exit 0}}
    - script:
        name: dump
        key-id: "<$PUBLIC> ${{WERCKER_GIT_COMMIT:0:4}}"
        price: '"5" \\ `date`'
        lines: |-
          one
          two
        code: |
          cat "/proc/$$/environ" > "$WERCKER_OUTPUT_DIR/shell"
          env -0 > "$WERCKER_OUTPUT_DIR/step"
          echo "$NASTY|$HIDDEN|$ALL"
"""

INJECTED = {
    # By the runtime, the image and Kubernetes, before anything of ours.
    *("PATH", "HOSTNAME", "HOME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
    *("KUBERNETES_SERVICE_PORT_HTTPS", "KUBERNETES_PORT", "KUBERNETES_PORT_443_TCP"),
    *("KUBERNETES_PORT_443_TCP_PROTO", "KUBERNETES_PORT_443_TCP_PORT"),
    "KUBERNETES_PORT_443_TCP_ADDR",
}
SHELLS_OWN = {"PWD", "OLDPWD", "SHLVL", "_"}

LAB_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LINKS = """\
MY_DB_NAME=/wercker-pipeline-{uid}/my-db
MY_DB_PORT=tcp://127.0.0.1:6379
MY_DB_PORT_6379_TCP=tcp://127.0.0.1:6379
MY_DB_PORT_6379_TCP_ADDR=127.0.0.1
MY_DB_PORT_6379_TCP_PORT=6379
MY_DB_PORT_6379_TCP_PROTO=tcp
MY_DB_ENV_PATH={path}
MY_DB_ENV_MODE=hello
"""
COMMON = """\
WERCKER=true
WERCKER_ROOT=/pipeline/source
WERCKER_SOURCE_DIR=/pipeline/source
WERCKER_CACHE_DIR=/pipeline/cache
WERCKER_OUTPUT_DIR=/pipeline/output
WERCKER_PIPELINE_DIR=/pipeline
WERCKER_REPORT_DIR=/report
WERCKER_APPLICATION_ID=app-1
WERCKER_APPLICATION_NAME={repository}
WERCKER_APPLICATION_OWNER_NAME=acme
WERCKER_APPLICATION_URL=https://example.com/app-1
TERM=xterm-256color
"""
BUILD = """\
BUILD=true
CI=true
WERCKER_BUILD_ID={uid}
WERCKER_BUILD_URL=https://app.wercker.com/acme/{repository}/runs/build/{uid}
"""
DEPLOY = """\
DEPLOY=true
WERCKER_DEPLOY_ID={uid}
WERCKER_DEPLOY_URL=https://app.wercker.com/acme/{repository}/runs/deploy/{uid}
WERCKER_DEPLOYTARGET_NAME=production
"""
REST = """\
WERCKER_RUN_ID={uid}
WERCKER_RUN_URL=https://app.wercker.com/acme/{repository}/runs/{pipeline}/{uid}
WERCKER_GIT_DOMAIN=git.lab
WERCKER_GIT_OWNER=public
WERCKER_GIT_REPOSITORY={repository}
WERCKER_GIT_BRANCH=main
WERCKER_GIT_TAG=
WERCKER_GIT_COMMIT={commit}
WERCKER_STARTED_BY=somebody
WERCKER_MAIN_PIPELINE_STARTED={started}
BUILD_ID={uid}
BUILD_DIR=/pipeline
WERCKER_DIR=/mnt/wercker
GIT_URL={git_url}
OUTPUT_DIR=/pipeline/output
LANG=C.UTF-8
WHERE=/pipeline/source/hello
"""
STEP = """\
WERCKER_STEP_ROOT=/pipeline/{id}
WERCKER_STEP_ID={id}
WERCKER_STEP_OWNER=wercker
WERCKER_STEP_NAME=script
WERCKER_STEP_TEMP=/run/sentinel/session/tmp/{id}
WERCKER_REPORT_NUMBERS_FILE=/report/{id}/numbers.ini
WERCKER_REPORT_MESSAGE_FILE=/report/{id}/message.txt
WERCKER_REPORT_ARTIFACTS_DIR=/report/{id}/artifacts
"""


def test_the_environments_of_a_build_and_of_a_deploy_whole(builds: Builds) -> None:
    builds.secret("tokens", nasty=NASTY)
    builds.secret("project", B_ALL="from the secret", A_FIRST=NASTY)
    urls = {}
    for pipeline in ("build", "deploy"):
        text = PIPELINE.format(registry=builds.lab.registry, pipeline=pipeline)
        urls[pipeline] = builds.project(text)
        builds.apply(
            pipeline,
            url=urls[pipeline],
            ref="main",
            pipeline=pipeline,
            startedBy="somebody",
            application={"id": "app-1", "owner": "acme", "url": "https://example.com/app-1"},
            env=[
                {"name": "PUBLIC", "value": "hello"},
                # $$( is the only escape, and only needed there.
                {"name": "NASTY", "value": NASTY.replace("$(", "$$(")},
                {
                    "name": "HIDDEN",
                    "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "nasty"}},
                },
                {"name": "CHAINED", "value": "<$(HIDDEN)>$PUBLIC"},
                {"name": "TERM", "value": "dumb"},
            ],
            envFrom=[{"secretRef": {"name": "project"}, "prefix": "X_"}],
            **({"deployTarget": "production"} if pipeline == "deploy" else {}),
        )
    for pipeline, verb in (("build", BUILD), ("deploy", DEPLOY)):
        raw = builds.finish(pipeline)
        assert raw["status"]["phase"] == "Succeeded", raw["status"]
        facts = facts_of(raw, urls[pipeline], pipeline)
        ours = [
            *pairs((LINKS + COMMON + verb + REST).format(**facts)),
            ("X_A_FIRST", NASTY),
            ("X_B_ALL", "from the secret"),
            ("PUBLIC", "hello"),
            ("NASTY", NASTY),
            ("HIDDEN", NASTY),
            ("CHAINED", f"<{NASTY}>$PUBLIC"),
        ]
        # A variable that is set again keeps its place and has the last value.
        ours = [(name, "dumb" if name == "TERM" else value) for name, value in ours]
        shell, step = dumped(builds, raw)
        assert shell[-len(ours) :] == ours
        assert {name for name, _ in shell[: -len(ours)]} == INJECTED
        id_ = raw["status"]["steps"][1]["id"]
        expected = (
            dict(shell)
            | dict(pairs(STEP.format(id=id_)))
            | {
                "WERCKER_SCRIPT_KEY_ID": f"<hello> {facts['commit'][:4]}",
                "WERCKER_SCRIPT_PRICE": '"5" \\ `date`',
                "WERCKER_SCRIPT_LINES": "one\ntwo",
            }
        )
        assert {name: text for name, text in step if name not in SHELLS_OWN} == expected
        log = builds.log(raw, "dump")
        assert "second $LINE" not in log and "from the secret" not in log
        target = "pipeline deploy has no target 'production', so its steps are run"
        assert (target in condition(raw, "Accepted")["message"]) == (pipeline == "deploy")


def facts_of(raw: dict[str, Any], url: str, pipeline: str) -> dict[str, str]:
    started = datetime.fromisoformat(raw["status"]["startTime"])
    return {
        "uid": raw["metadata"]["uid"],
        "commit": raw["status"]["source"]["commit"],
        "repository": url.rpartition("/")[2].removesuffix(".git"),
        "git_url": url.partition("://")[2],
        "started": str(int(started.timestamp())),
        "path": LAB_PATH,
        "pipeline": pipeline,
    }


def pairs(text: str) -> list[tuple[str, str]]:
    """NAME=value lines as pairs."""
    return [(name, value) for name, _, value in (line.partition("=") for line in text.splitlines())]


def dumped(builds: Builds, raw: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """The files `shell` and `step` of the output: what execve gave the shell, and what a step's program got."""
    with tarfile.open(fileobj=io.BytesIO(builds.stored(raw, "output.tar"))) as archive:
        texts = [archive.extractfile(f"output/{name}").read() for name in ("shell", "step")]  # type: ignore[union-attr]
    return [
        [
            (name, value)
            for name, _, value in (
                each.partition("=") for each in text.decode().split("\0") if each
            )
        ]
        for text in texts
    ]


PLACES = """\
box: {registry}/box/debian:12
source-dir: app
ignore-file: left-out
build:
  base-path: /go/src/example.com/x
  steps:
    - script:
        name: where
        code: |
          pwd
          echo "$WERCKER_ROOT $WERCKER_SOURCE_DIR"
          cd .. && find . -path ./.git -prune -o -type f -print | sort
    - script:
        name: cwd
        cwd: $WERCKER_ROOT/${{DEEP}}
        code: pwd
    - script:
        name: the diagram
        code: |
          cp -r $WERCKER_DIR/source $BUILD_DIR/
          cd $BUILD_DIR/source
          cp README.md $OUTPUT_DIR
"""


def test_where_steps_run_and_what_the_box_gets_of_the_source(builds: Builds) -> None:
    url = builds.project(
        PLACES.format(registry=builds.lab.registry),
        **{
            "left-out": "*.log\n/app/tmp/\n!keep.log\n",
            "app/main.c": "x",
            "app/deep er/y": "x",
            "app/tmp/z": "x",
            "a.log": "x",
            "keep.log": "x",
        },
    )
    raw = builds.run(url=url, env=[{"name": "DEEP", "value": "app/deep er"}])
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    base = "/go/src/example.com/x"
    assert builds.log(raw, "where").splitlines() == [
        f"{base}/app",
        f"{base} {base}/app",
        *(f"./{name}" for name in ("README.md", "app/deep er/y", "app/main.c", "keep.log")),
        "./left-out",
        "./wercker.yml",
    ]
    assert builds.log(raw, "cwd") == f"{base}/app/deep er\n"
    with tarfile.open(fileobj=io.BytesIO(builds.stored(raw, "output.tar"))) as archive:
        assert [each.name for each in archive if each.isfile()] == ["output/README.md"]


REPORTS = """\
box: {registry}/box/debian:12
build:
  steps:
    - script:
        name: good
        code: |
          echo '<xml/>' > "$WERCKER_REPORT_ARTIFACTS_DIR/junit.xml"
          echo 'x = 1' > "$WERCKER_REPORT_NUMBERS_FILE"
          setMessage "all good"
    - script: {{name: nothing, code: "true"}}
    - script:
        name: bad
        code: |
          mkdir "$WERCKER_REPORT_ARTIFACTS_DIR/deep"
          echo boom > "$WERCKER_REPORT_ARTIFACTS_DIR/deep/core"
          fail "it broke"
  after-steps:
    - script:
        name: tell
        code: |
          echo "$WERCKER_RESULT|$WERCKER_FAILED_STEP_DISPLAY_NAME|$WERCKER_FAILED_STEP_MESSAGE"
          echo told > "$WERCKER_REPORT_ARTIFACTS_DIR/told"
"""


def test_report_artifacts_of_every_step_are_stored_passed_or_not(builds: Builds) -> None:
    raw = builds.run(url=builds.project(REPORTS.format(registry=builds.lab.registry)))
    assert steps(raw) == [
        ("good", "Passed", "Passed"),
        ("nothing", "Passed", "Passed"),
        ("bad", "Failed", "ExitCode"),
        ("tell", "Passed", "Passed"),
    ]
    told = [step.get("message", "") for step in raw["status"]["steps"]]
    assert told == ["all good", "", "it broke", ""]
    message = condition(raw, "Succeeded")["message"]
    assert message == "step 'bad' failed: exited with code 1: it broke"
    assert builds.log(raw, "tell") == "failed|bad|it broke\n"
    ids = {step["displayName"]: step["id"] for step in raw["status"]["steps"]}
    found = {}
    for name in ("good", "bad", "tell"):
        data = builds.stored(raw, f"step/{ids[name]}/artifacts.tar")
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            found[name] = {
                each.name: archive.extractfile(each).read()  # type: ignore[union-attr]
                for each in archive
                if each.isfile()
            }
    assert found == {
        "good": {"artifacts/junit.xml": b"<xml/>\n"},
        "bad": {"artifacts/deep/core": b"boom\n"},
        "tell": {"artifacts/told": b"told\n"},
    }
