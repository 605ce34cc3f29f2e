"""`sentinel deploy`: a Build that goes on from another one."""

from __future__ import annotations

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.cli import wait, watch

SPEC = {
    "pipeline": "build",
    "source": {"upload": {"sha256": "d" * 64, "size": 7}},
    "config": "box: x",
    "cancel": False,
    "retries": {"afterStart": True},
    "env": [{"name": "A", "value": "1"}],
    "image": {"pullSecretRefs": [{"name": "r"}]},
}


def test_it_goes_on_from_the_build_with_its_variables_and_secrets(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.build(spec=SPEC, status=ended("Succeeded", "Passed"))
    done = sentinel("deploy", "hello", "--target", "production")
    assert (done.exit_code, done.stdout) == (0, "hello-deploy-1\n")
    assert done.stderr == "to follow its log: sentinel logs -f -n team hello-deploy-1\n"
    assert cluster.find("builds", "hello-deploy-1")["spec"] == {
        "parent": {"name": "hello"},
        "pipeline": "deploy",
        "deployTarget": "production",
        "env": SPEC["env"],
        "image": SPEC["image"],
    }
    assert sentinel("deploy", "hello").stdout == "hello-deploy-2\n"
    # While it runs: the operator lets the deploy wait.
    cluster.build("running", spec=SPEC)
    assert sentinel("deploy", "running", "--pipeline", "go Live").stdout == "running-go-live-1\n"
    assert cluster.find("builds", "running-go-live-1")["spec"]["pipeline"] == "go Live"


def test_a_build_that_did_not_succeed_is_not_deployed(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build(spec=SPEC, status=ended("Failed", "ExitCode"))
    done = sentinel("deploy", "hello")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Build hello ended as Failed" in done.stderr
    assert sentinel("deploy", "gone", "--watch").exit_code == 2
    assert cluster.created == []


def test_watch_ends_with_the_deploy_s_result(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "LOOK_EVERY", 0.0)

    async def print_logs(name: str, namespace: str, *, follow: bool) -> None:
        cluster.change("builds", name, status=ended("Failed", "ExitCode", "no"))

    monkeypatch.setattr(watch, "print_logs", print_logs)
    cluster.build(spec=SPEC, status=ended("Succeeded", "Passed"))
    done = sentinel("deploy", "hello", "--name", "live", "--watch")
    assert (done.exit_code, done.stdout) == (1, "live\n")
    assert "Build live: Failed in 42s: ExitCode: no" in done.stderr
