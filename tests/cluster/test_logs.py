"""`sentinel logs`: live while the build runs, from the results API when it is over, byte for byte."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cluster.conftest import Builds
from tests.install import environ

TEXT = """\
box: {registry}/box/debian:12
build:
  steps:
    - script: {{name: first, code: 'printf one'}}
    - script: {{name: silent, code: 'true'}}
    - script: {{name: last, code: 'for n in 1 2 3 4; do echo "line $n"; sleep 0.5; done; printf "no newline"'}}
"""
WHOLE = "▶ first\none\n▶ silent\n▶ last\nline 1\nline 2\nline 3\nline 4\nno newline"


def logs(builds: Builds, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sentinel", "logs", "b", "-n", builds.namespace, *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
        env=environ(builds.lab),
    )


@pytest.mark.timeout(900)
def test_a_build_followed_from_its_creation_and_read_again_after_its_end(builds: Builds) -> None:
    builds.apply("b", url=builds.project(TEXT.format(registry=builds.lab.registry)))
    live = logs(builds, "-f")
    assert (live.returncode, live.stdout) == (0, WHOLE), live.stderr
    raw = builds.get("b")
    assert raw["status"]["phase"] == "Succeeded"
    assert logs(builds).stdout == WHOLE
    assert logs(builds, "--step", "first").stdout == "one"

    no_such_step = logs(builds, "--step", "nope")
    assert (no_such_step.returncode, no_such_step.stdout) == (1, "")
    assert no_such_step.stderr == (
        "Error: Build b has no step 'nope'; its steps are: first, silent, last\n"
    )

    # A log that is missing hides no other.
    first = raw["status"]["steps"][0]["id"]
    builds.remove(raw, f"step/{first}/log.txt")
    partly = logs(builds)
    assert partly.returncode == 1
    assert partly.stdout == WHOLE[WHOLE.index("▶ silent") :]
    assert partly.stderr == "Error: no log in the store for: first\n"


def test_a_build_that_does_not_exist(builds: Builds) -> None:
    said = logs(builds)
    assert said.returncode == 1
    assert f"there is no Build 'b' in namespace '{builds.namespace}'" in said.stderr
