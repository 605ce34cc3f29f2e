"""`sentinel top`: builds that have not ended, with what the metrics API says of their pods."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.kube.errors import NotFound

COLUMNS = ["NAME", "PHASE", "PROGRESS", "STEP", "FOR", "CPU", "MEMORY"]


def metrics(name: str, *usages: dict[str, str], namespace: str = "team") -> Any:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "sentinel"},
        },
        "containers": [{"usage": usage} for usage in usages],
    }


@pytest.fixture
def running(cluster: Cluster) -> Cluster:
    cluster.build(
        "hello",
        status={
            "phase": "Running",
            "progress": "1/3",
            "currentStep": "npm\x1b[2J test",
            "pod": {"name": "hello-1"},
        },
    )
    cluster.build("waiting")
    cluster.build("over", status=ended("Succeeded", "Passed"))
    return cluster


def rows(shown: str) -> list[list[str]]:
    return [line.split("  ") for line in shown.splitlines()]


def test_running_builds_with_what_their_pods_use(running: Cluster, sentinel: Sentinel) -> None:
    usages = ({"cpu": "250m", "memory": "65536Ki"}, {"cpu": "1500000n", "memory": "1Mi"})
    running.add("pods", metrics("hello-1", *usages))
    done = sentinel("top")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [[cell.strip() for cell in row if cell.strip()] for row in rows(done.stdout)]
    assert lines == [
        COLUMNS,
        ["hello", "Running", "1/3", "npm\ufffd[2J test", "-", "251m", "65.0 MiB"],
        ["waiting", "Queued", "-", "-", "-", "-", "-"],
    ]


def test_without_a_metrics_api_the_rest_is_shown(running: Cluster, sentinel: Sentinel) -> None:
    running.fail("list", "pods", NotFound("list pods team: 404 page not found", status=404))
    done = sentinel("top")
    assert done.exit_code == 0
    assert "hello" in done.stdout
    assert "CPU and memory are not known: list pods team: 404 page not found" in done.stderr


def test_nothing_runs(cluster: Cluster, sentinel: Sentinel) -> None:
    done = sentinel("top")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "No Builds run in namespace team.\n"
