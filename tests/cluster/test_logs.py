"""`sentinel logs`: live while the build runs, from the store when it is over, byte for byte."""

from __future__ import annotations

import subprocess
import sys

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


def logs(builds: Builds, *args: str, store: bool = True) -> subprocess.CompletedProcess[str]:
    lab = builds.lab
    access = {
        "SENTINEL_STORE__BUCKET": lab.s3_bucket,
        "SENTINEL_STORE__ENDPOINT": lab.s3_endpoint,
        "SENTINEL_STORE__ACCESS_KEY_ID": lab.s3_access_key,
        "SENTINEL_STORE__SECRET_ACCESS_KEY": lab.s3_secret_key,
    }
    return subprocess.run(
        [sys.executable, "-m", "sentinel", "logs", "b", "-n", builds.namespace, *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
        env={**environ(lab), **(access if store else {})},
    )


def test_a_build_followed_from_its_creation_and_read_again_after_its_end(builds: Builds) -> None:
    builds.apply("b", url=builds.project(TEXT.format(registry=builds.lab.registry)))
    live = logs(builds, "-f")
    assert (live.returncode, live.stdout) == (0, WHOLE), live.stderr
    assert builds.get("b")["status"]["phase"] == "Succeeded"
    assert logs(builds).stdout == WHOLE
    assert logs(builds, "--step", "first").stdout == "one"


def test_a_step_that_the_build_does_not_have(builds: Builds) -> None:
    builds.run(url=builds.project(TEXT.format(registry=builds.lab.registry)))
    done = logs(builds, "--step", "nope")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: Build b has no step 'nope'; its steps are: first, silent, last\n"
    )


def test_a_log_that_is_missing_hides_no_other(builds: Builds) -> None:
    raw = builds.run(url=builds.project(TEXT.format(registry=builds.lab.registry)))
    first = raw["status"]["steps"][0]["id"]
    builds.remove(raw, f"step/{first}/log.txt")
    done = logs(builds)
    assert done.returncode == 1
    assert done.stdout == WHOLE[WHOLE.index("▶ silent") :]
    assert done.stderr == "Error: no log in the store for: first\n"


def test_without_access_to_the_store_it_says_where_the_logs_lie(builds: Builds) -> None:
    raw = builds.run(url=builds.script("true"))
    said = logs(builds, store=False)
    assert said.returncode == 1
    assert raw["status"]["results"]["prefix"] in said.stderr
    assert "SENTINEL_STORE__BUCKET" in said.stderr


def test_a_build_that_is_not_there(builds: Builds) -> None:
    said = logs(builds)
    assert said.returncode == 1
    assert f"there is no Build 'b' in namespace '{builds.namespace}'" in said.stderr
