"""`sentinel logs` without the rights or settings that it needs. What it prints is tested on a cluster."""

from __future__ import annotations

from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.kube.errors import Forbidden


def test_following_without_a_right_to_exec_is_an_error(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.build(status={"phase": "Running", "pod": {"name": "hello-1"}})
    cluster.fail("exec", "hello-1", Forbidden("exec pods team/hello-1: no", status=403))
    done = sentinel("logs", "-f", "hello")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: exec pods team/hello-1: no\n`kubectl auth can-i --list`")


def test_a_finished_build_without_access_to_the_store(cluster: Cluster, sentinel: Sentinel) -> None:
    steps = [{"id": "a-1", "name": "a", "startTime": "2026-11-28T10:00:10Z"}]
    cluster.build(status=ended("Failed", "ExitCode", steps=steps, results={"prefix": "ci/x/"}))
    done = sentinel("logs", "hello")
    assert done.exit_code == 1
    assert "its logs are below ci/x/ in the operator's store" in done.stderr
    assert "SENTINEL_STORE__BUCKET" in done.stderr
    missing = sentinel("logs", "nope")
    assert missing.stderr == "Error: there is no Build 'nope' in namespace 'team'\n"
