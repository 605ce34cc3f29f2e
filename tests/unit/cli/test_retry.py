"""`sentinel retry`: the same spec at the same commit, and nothing of what belongs to the old Build alone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.cli import wait, watch
from sentinel.errors import GoneError

GIT = {"url": "https://x/y.git", "ref": "main", "secretRef": {"name": "login"}}
COMMIT = "3f2c1ab" + "0" * 33


def test_the_retry_is_of_the_same_commit_and_has_no_owner(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    old = cluster.build(
        metadata={
            "labels": {
                "team": "shop",
                "sentinel.wercker.com/finished": "true",
                "sentinel.wercker.com/workflowrun": "run",
                "app.kubernetes.io/managed-by": "Helm",
                "argocd.argoproj.io/instance": "shop",
            },
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "finalizers": ["sentinel.wercker.com/x"],
            "ownerReferences": [{"kind": "WorkflowRun", "name": "run", "uid": "1"}],
        },
        spec={"pipeline": "test", "source": {"git": GIT}, "cancel": True, "env": [{"name": "A"}]},
        status=ended("Cancelled", "Cancelled", source={"commit": COMMIT, "branch": "main"}),
    )
    done = sentinel("retry", "hello")
    assert (done.exit_code, done.stdout) == (0, "hello-retry-1\n")
    assert done.stderr == (
        "Build hello-retry-1 created at commit 3f2c1ab00000\n"
        "to follow its log: sentinel logs -f -n team hello-retry-1\n"
    )
    assert cluster.find("builds", "hello-retry-1") == {
        "apiVersion": "sentinel.wercker.com/v1alpha1",
        "kind": "Build",
        "metadata": {
            "name": "hello-retry-1",
            "namespace": "team",
            "labels": {"team": "shop"},
            "uid": "uid-hello-retry-1",
            "resourceVersion": "101",
        },
        "spec": {
            "pipeline": "test",
            "source": {"git": {**GIT, "commit": COMMIT}},
            "env": [{"name": "A"}],
        },
    }
    assert old["spec"]["source"] == {"git": GIT}


@pytest.mark.parametrize(
    ("spec", "source", "expected", "said"),
    [
        (
            {"source": {"git": {"url": "u", "ref": "v1"}}},
            {"commit": COMMIT, "tag": "v1"},
            {"git": {"url": "u", "ref": "refs/tags/v1", "commit": COMMIT}},
            "at commit 3f2c1ab00000",
        ),
        (
            {"source": {"git": {"url": "u", "ref": "pull/1/head"}}},
            {"commit": COMMIT},
            {"git": {"url": "u", "ref": "pull/1/head", "commit": COMMIT}},
            "at commit 3f2c1ab00000",
        ),
        (
            {"source": {"archive": {"url": "u"}}},
            {"digest": "sha256:" + "d" * 64},
            {"archive": {"url": "u", "sha256": "d" * 64}},
            "of the archive sha256:dddddddddddd",
        ),
        (
            {"source": {"git": {"url": "u"}}},
            None,
            {"git": {"url": "u"}},
            "at no fixed commit: hello had not resolved one",
        ),
        ({"parent": {"name": "p"}}, {"commit": COMMIT}, None, "with the same parent as hello"),
    ],
)
def test_every_kind_of_source(
    cluster: Cluster,
    sentinel: Sentinel,
    spec: dict[str, Any],
    source: dict[str, Any] | None,
    expected: dict[str, Any] | None,
    said: str,
) -> None:
    cluster.build(spec=spec, status=ended("Failed", "ExitCode", source=source))
    done = sentinel("retry", "hello", "--name", "mine")
    assert done.stdout == "mine\n"
    assert done.stderr.splitlines()[0] == f"Build mine created {said}"
    assert cluster.find("builds", "mine")["spec"].get("source") == expected


def test_names_count_on(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build(status=ended("Failed", "ExitCode"))
    assert sentinel("retry", "hello").stdout == "hello-retry-1\n"
    assert sentinel("retry", "hello").stdout == "hello-retry-2\n"
    cluster.change("builds", "hello-retry-2", status=ended("Failed", "ExitCode"))
    assert sentinel("retry", "hello-retry-2").stdout == "hello-retry-3\n"
    cluster.build("x" * 253, status=ended("Failed", "ExitCode"))
    assert sentinel("retry", "x" * 253).stdout == "x" * 245 + "-retry-1\n"


def test_what_cannot_be_retried(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build(status={"phase": "Running"})
    running = sentinel("retry", "hello")
    assert running.exit_code == 1
    assert running.stderr == (
        "Error: Build hello has not finished; `sentinel cancel -n team hello` stops it\n"
    )
    cluster.build("done", status=ended("Failed", "ExitCode"))
    taken = sentinel("retry", "done", "--name", "hello")
    assert (taken.exit_code, taken.stdout) == (1, "")
    assert "already exists" in taken.stderr
    assert len(cluster.objects["builds"]) == 2


def test_watch_follows_and_ends_with_the_result(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "LOOK_EVERY", 0.0)

    async def print_logs(name: str, namespace: str, *, follow: bool) -> None:
        assert (name, namespace, follow) == ("hello-retry-1", "team", True)
        cluster.change("builds", name, status=ended("Failed", "ExitCode", "no"))
        raise GoneError("its logs are in the store")

    monkeypatch.setattr(watch, "print_logs", print_logs)
    cluster.build(status=ended("Failed", "ExitCode"))
    done = sentinel("retry", "hello", "--watch")
    assert (done.exit_code, done.stdout) == (1, "hello-retry-1\n")
    assert done.stderr.splitlines()[1:3] == [
        "its logs are in the store",
        "Build hello-retry-1: Failed in 42s: ExitCode: no",
    ]
    assert sentinel("retry", "gone", "--watch").exit_code == 2
