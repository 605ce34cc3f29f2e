"""Which finished Builds and WorkflowRuns go: by their time, by how many there are, and never while they are needed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.clocks import START

from sentinel.clock import rfc3339
from sentinel.plan.history import BUILD, RUN, History, Limits, read_entry

Json = dict[str, Any]


def raw(
    name: str,
    *,
    ago: float | None = 60,
    succeeded: bool = True,
    namespace: str = "team",
    app: str = "shop",
    ttl: str = "168h",
    run: str = "",
    **spec: Any,
) -> Json:
    """A Build that ended an hour and `ago` seconds ago, or has not ended."""
    status: Json = {}
    if ago is not None:
        result = "True" if succeeded else "False"
        status = {
            "completionTime": rfc3339(START - timedelta(seconds=3600 + ago)),
            "conditions": [
                {"type": "Succeeded", "status": result},
                {"type": "Finished", "status": "True"},
            ],
        }
    owners = [{"kind": "WorkflowRun", "controller": True, "uid": f"uid-{run}"}] if run else []
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-{name}",
            "ownerReferences": owners,
        },
        "spec": {
            "ttlAfterFinished": ttl,
            "source": {"git": {"url": f"https://example.com/acme/{app}.git"}} if app else {},
            **spec,
        },
        "status": status,
    }


def gone(*builds: Json, runs: tuple[Json, ...] = (), kind: str = BUILD, **limits: int) -> list[str]:
    """The names of what goes."""
    history = History(Limits(**limits))
    for each in builds:
        history.add(read_entry(each))
    for each in runs:
        history.add(read_entry(each, kind=RUN))
    return [each.entry.name for each in history.removals(kind=kind, now=START)]


@pytest.mark.parametrize(
    ("ttl", "over"),
    [("3659s", True), ("3661s", False), ("0s", False), ("99999999999h", False), ("soon", False)],
)
def test_a_finished_build_stays_for_its_ttl(ttl: str, over: bool) -> None:
    assert gone(raw("b", ttl=ttl)) == (["b"] if over else [])


def test_the_last_ones_of_an_application_stay_by_result() -> None:
    passed = [raw(f"p{n}", ago=100 - n) for n in range(4)]
    failed = [raw(f"f{n}", ago=100 - n, succeeded=False) for n in range(3)]
    assert gone(*passed, *failed, succeeded=2, failed=1) == ["f0", "p0", "f1", "p1"]
    assert gone(*passed, *failed, succeeded=2) == ["p0", "p1"]
    assert gone(*passed, *failed, failed=0) == ["f0", "f1", "f2"]
    assert gone(*passed, *failed) == []


def test_applications_and_namespaces_have_a_history_each() -> None:
    builds = [
        raw("one", app="shop"),
        raw("two", app="blog"),
        raw("three", namespace="other"),
        raw("four", application={"id": "of its own"}),
    ]
    assert gone(*builds, succeeded=1) == []


def test_what_the_operator_wrote_names_the_application_before_the_spec_does() -> None:
    planned = raw("planned", ago=90, application={"name": "another"})
    planned["status"]["results"] = {"prefix": "ci/team/project-artifacts/shop/u/1/"}
    assert gone(planned, raw("later"), succeeded=1) == ["planned"]


def test_an_archive_and_a_child_have_applications_too() -> None:
    archive = {"archive": {"url": "https://example.com/files/shop.tar.gz?x=1"}}
    assert gone(raw("a", ago=90, source=archive), raw("b"), succeeded=1) == ["a"]
    child = raw("child", ago=30, app="", parent={"name": "b"})
    assert gone(raw("a", ago=90), raw("b"), child, succeeded=1) == ["a", "b"]
    lost = raw("lost", ago=30, app="", parent={"name": "gone"})
    assert gone(raw("b"), lost, succeeded=1) == []


def test_a_build_that_stays_until_it_is_deleted_neither_counts_nor_goes() -> None:
    assert gone(raw("kept", ttl="0s", ago=90), raw("a", ago=80), raw("b"), succeeded=1) == ["a"]


@pytest.mark.parametrize(
    "child",
    [
        {"parent": {"name": "old"}},
        {"parent": {"name": "new"}, "inputs": [{"name": "old"}, {"name": "new"}]},
        {"parent": {"name": "between"}},
    ],
    ids=["parent", "input", "grandparent"],
)
def test_what_an_unfinished_build_goes_on_from_stays(child: Json) -> None:
    """It was deleted when its time was over, and the child ended as ParentNotFound."""
    builds = [
        raw("old", ago=90, ttl="1s"),
        raw("between", app="x", parent={"name": "old"}),
        raw("new"),
    ]
    assert gone(*builds, succeeded=1) == ["old"]
    assert gone(*builds, raw("waits", ago=None, app="", **child), succeeded=1) == []
    assert gone(*builds, raw("ended", app="y", **child), succeeded=1) == ["old"]
    elsewhere = raw("waits", ago=None, namespace="other", **child)
    assert gone(*builds, elsewhere, succeeded=1) == ["old"]


def test_builds_of_a_run_go_with_it_and_it_stays_while_one_is_needed() -> None:
    builds = [raw("r1-1", run="r1", ttl="0s"), raw("r2-1", run="r2", ttl="0s")]
    runs = (raw("r1", ago=90), raw("r2", ago=80), raw("r3"), raw("active", ago=None))
    assert gone(*builds, runs=runs, succeeded=0) == []
    assert gone(*builds, runs=runs, kind=RUN, succeeded=1) == ["r1", "r2"]
    child = raw("waits", ago=None, parent={"name": "r1-1"})
    assert gone(*builds, child, runs=runs, kind=RUN, succeeded=1) == ["r2"]


def test_builds_and_runs_do_not_count_as_each_other() -> None:
    assert gone(raw("b"), runs=(raw("r", ago=1),), succeeded=1) == []


def test_odd_objects_stay() -> None:
    odd = {
        "metadata": {"namespace": "team", "name": "odd", "uid": "odd", "ownerReferences": None},
        "spec": {"source": None, "parent": "x", "inputs": {"name": "y"}, "application": []},
        "status": {"conditions": [None, "x"], "results": {"prefix": 7}, "completionTime": "soon"},
    }
    assert gone(odd, succeeded=0, failed=0) == []


def test_what_has_just_finished_stays_whatever_the_limit() -> None:
    assert gone(raw("now", ago=-3590), raw("then", ago=-3000), raw("old"), succeeded=0) == [
        "old",
        "then",
    ]
    assert gone(raw("now", ago=-3590, ttl="5s"), succeeded=0) == ["now"]
