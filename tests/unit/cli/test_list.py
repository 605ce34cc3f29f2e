"""`sentinel list`: which Builds, in which order, and that names and messages cannot write to the terminal."""

from __future__ import annotations

import json

import pytest
import yaml
from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.kube.errors import Forbidden


@pytest.fixture
def builds(cluster: Cluster) -> Cluster:
    cluster.build("new", metadata={"creationTimestamp": "2026-11-28T12:00:00Z"})
    cluster.build(
        "old",
        metadata={"managedFields": [{"manager": "kubectl"}]},
        spec={"pipeline": "deploy"},
        status=ended(
            "Failed",
            "ExitCode",
            progress="2/3",
            source={"commit": "a" * 40, "shortCommit": "aaaaaaa", "subject": "evil \x1b[2J"},
        ),
    )
    cluster.build("other", metadata={"namespace": "elsewhere"}, status=ended("Succeeded", "Passed"))
    return cluster


def test_builds_of_the_context_s_namespace_are_listed_the_newest_last(
    builds: Cluster, sentinel: Sentinel
) -> None:
    done = sentinel("list")
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["NAME", "PIPELINE", "PHASE", "PROGRESS", "COMMIT", "AGE", "DURATION"]
    assert rows[1][:5] == ["old", "deploy", "Failed", "2/3", "aaaaaaa"]
    assert rows[1][6] == "42s"
    assert rows[2][:5] == ["new", "build", "Queued", "-", "-"]
    assert len(rows) == 3


def test_wide_adds_columns_that_cannot_write_to_the_terminal(
    builds: Cluster, sentinel: Sentinel
) -> None:
    done = sentinel("list", "-A", "-o", "wide", "--phase", "failed")
    assert done.stdout.splitlines()[0].split()[-3:] == ["REASON", "SUBJECT", "IMAGE"]
    assert "ExitCode  evil \ufffd[2J  -" in done.stdout
    assert "\x1b" not in done.stdout
    assert "other" not in done.stdout


def test_all_namespaces_are_named(builds: Cluster, sentinel: Sentinel) -> None:
    lines = sentinel("list", "-A").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["NAMESPACE", "NAME"],
        ["team", "old"],
        ["elsewhere", "other"],
        ["team", "new"],
    ]


def test_objects_for_programs(builds: Cluster, sentinel: Sentinel) -> None:
    as_json = sentinel("list", "-o", "json", "-n", "team").stdout
    as_yaml = sentinel("list", "-o", "yaml").stdout
    found = json.loads(as_json)
    assert yaml.safe_load(as_yaml) == found
    assert (found["kind"], [raw["metadata"]["name"] for raw in found["items"]]) == (
        "List",
        ["old", "new"],
    )
    assert "managedFields" not in found["items"][0]["metadata"]
    assert found["items"][0]["status"]["source"]["subject"] == "evil \x1b[2J"
    assert "\x1b" not in as_json + as_yaml
    assert sentinel("list", "-o", "name").stdout == (
        "build.sentinel.wercker.com/old\nbuild.sentinel.wercker.com/new\n"
    )


def test_no_builds(cluster: Cluster, sentinel: Sentinel) -> None:
    done = sentinel("list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "No Builds found in namespace team.\n"
    assert json.loads(sentinel("list", "-o", "json").stdout)["items"] == []


def test_a_strange_build_keeps_no_other_from_the_list(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build("strange", spec={"pipeline": 7}, status={"source": [], "startTime": "soon"})
    cluster.build("usual")
    done = sentinel("list", "-o", "wide")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "strange", "usual"]


def test_a_refusal_says_what_to_type(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.fail("list", "builds", Forbidden("list builds team: no", status=403))
    done = sentinel("list")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: list builds team: no\n`kubectl auth can-i --list`")
