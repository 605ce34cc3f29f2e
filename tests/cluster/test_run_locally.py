"""`sentinel run` on the lab's Docker Engine, with boxkit out of our image, as a user has it.

All 22 pipelines of `pipelines.py` are in `make soak`; here are three of them.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from tests.cluster.pipelines import PIPELINES, Pipeline
from tests.conftest import Once
from tests.install import build_image
from tests.lab.state import Lab
from tests.locally import Local, difference, ended, interrupt, project, until

FEW = ("061", "111", "112")
"""A service with a command and ports, a failure, steps of a registry with options."""

PROJECT = """\
box:
  id: {box}
  env: {{GREETING: hello}}
services:
  - {redis}
build:
  steps:
    - script:
        name: look
        code: |
          echo "$GREETING $WHO, the token is $TOKEN, on $WERCKER_GIT_BRANCH"
          touch /mnt/wercker/x 2>&1 | sed 's/.*: //'
          ls "$WERCKER_CACHE_DIR"; echo kept > "$WERCKER_CACHE_DIR/kept"
          exec 3<>/dev/tcp/redis/6379; printf 'PING\\r\\n' >&3; read -r line <&3; echo "${{line%?}}"
          echo report > "$WERCKER_REPORT_ARTIFACTS_DIR/report.txt"
    - create-file:
        name: write
        filename: $WERCKER_OUTPUT_DIR/page
        content: made by $WHO
    - script:
        name: install
        code: |
          printf '#!/bin/sh\\necho installed\\n' > /usr/local/bin/app
          chmod +x /usr/local/bin/app
    - script: {{name: verdict, code: 'exit ${{VERDICT:-0}}'}}
    - script: {{name: last, code: echo last}}
  after-steps:
    - script: {{name: after, code: 'echo $WERCKER_RESULT: $WERCKER_FAILED_STEP_DISPLAY_NAME'}}
long:
  steps:
    - script: {{name: sleep, code: 'echo asleep; sleep 300'}}
  after-steps:
    - script: {{name: after, code: 'echo after, $WERCKER_RESULT'}}
stuck:
  steps:
    - script: {{name: sleep, code: 'echo asleep; sleep 300'}}
  after-steps:
    - script: {{name: after, code: 'echo after; sleep 300'}}
"""


@pytest.fixture
def local(lab: Lab, once: Once, tmp_path: Path) -> Local:
    """The lab's engine with our image in it; the cluster is not used."""
    once("image for sentinel run", lambda: build_image(lab))
    return Local.of(lab, tmp_path / "cache")


def test_a_project_is_built_with_all_that_it_uses(local: Local, tmp_path: Path) -> None:
    """One project: what runs, what is kept, what is left, whatever becomes of it."""
    root = project(
        tmp_path / "shop", local.text(PROJECT), {"ENVIRONMENT": "XXX_TOKEN=top-secret\n"}
    )
    image = f"local/{uuid.uuid4().hex[:8]}:1"
    env = tmp_path / "env"
    env.write_text("X_WHO=world\nXXX_TOKEN=top-secret\n")
    green = local.run(root, f"--env-file={env}", f"--commit={image}")
    assert (green.code, green.finished["message"]) == (0, "all 5 steps passed"), green.errors
    assert green.log("look") == (
        "hello world, the token is ****, on main\nRead-only file system\n+PONG\n"
    )
    assert green.log("after") == "passed:\n"
    assert (root / ".sentinel/output/page").read_text() == "made by world\n"
    assert [each.read_text() for each in root.glob(".sentinel/artifacts/*/report.txt")] == [
        "report\n"
    ]
    assert "top-secret" not in json.dumps(green.events) + green.errors
    assert not [each for each in root.glob(".sentinel/logs/*") if "top-secret" in each.read_text()]
    try:
        assert local.docker("run", "--rm", "--network=none", image, "app") == "installed\n"
        shape = "{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{json .Config.Env}}"
        config = local.docker("image", "inspect", "-f", shape, image)
        assert config.startswith('null ["bash"] ["PATH=')
        assert "top-secret" not in config
    finally:
        local.docker("image", "rm", "-f", image)

    (root / "ENVIRONMENT").write_text("X_WHO=me\nXXX_TOKEN=top-secret\nX_VERDICT=7\n")
    red = local.run(root)
    assert (red.code, red.finished["reason"]) == (1, "ExitCode")
    assert red.steps[3:] == [("verdict", "Failed"), ("last", "Skipped"), ("after", "Passed")]
    assert red.log("after") == "failed: verdict\n"
    # The cache of the green run was there, and uncommitted changes count.
    assert "hello me" in red.log("look")
    assert "kept\n" in red.log("look")
    assert not (root / ".sentinel/output").exists()
    part = local.run(root, "--step=last", "--step=after")
    assert (part.code, part.steps) == (0, [("last", "Passed"), ("after", "Passed")])
    for ran in (green, red, part):
        assert local.left(ran.events[0]["run"]) == []


def test_a_run_is_cancelled_stopped_and_killed(local: Local, tmp_path: Path) -> None:
    root = project(tmp_path / "shop", local.text(PROJECT), {})
    with local.start(root, "--pipeline=long") as process:
        before = until(process, "log", text="asleep\n")
        interrupt(process)
        cancelled = ended(process, before=before)
    assert (cancelled.code, cancelled.finished["reason"]) == (3, "Cancelled")
    assert cancelled.log("after") == "after, failed\n"

    with local.start(root, "--pipeline=long") as process:
        before = until(process, "log", text="asleep\n")
        process.kill()
        killed = ended(process, before=before).events[0]["run"]
    assert local.left(killed) != []

    with local.start(root, "--pipeline=stuck") as process:
        before = until(process, "log", text="asleep\n")
        # The run before was killed, and this one has removed what it left.
        assert local.left(killed) == []
        interrupt(process)
        # Without a long after-step the run might end before the second one arrives.
        before += until(process, "log", text="after\n")
        interrupt(process)
        stopped = ended(process, before=before)
    assert stopped.code == 130
    for ran in (cancelled, stopped):
        assert local.left(ran.events[0]["run"]) == []


@pytest.mark.parametrize("like", FEW)
def test_pipelines_give_what_they_give_on_a_cluster(
    like: str, local: Local, tmp_path: Path
) -> None:
    each: Pipeline = next(each for each in PIPELINES if each.like == like)
    assert difference(local, tmp_path / "project", each) is None


def test_mistakes_are_reported_before_anything_runs(local: Local, tmp_path: Path) -> None:
    root = project(tmp_path / "shop", local.text(PROJECT), {})
    found = local.run(root, "--pipeline=biuld")
    assert (found.code, found.finished["reason"]) == (1, "PipelineNotFound")
    (root / "wercker.yml").write_text(
        f"box: {local.registry}/box/nowhere:1\nbuild: {{steps: []}}\n"
    )
    found = local.run(root)
    assert (found.code, found.finished["reason"]) == (1, "ImageNotFound")
    assert "nowhere:1 cannot be pulled" in found.finished["message"]
    (root / "wercker.yml").unlink()
    found = local.run(root)
    assert (found.code, found.events) == (1, ())
    assert "sentinel detect" in found.errors
