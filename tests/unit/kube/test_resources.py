from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sentinel.clock import parse_rfc3339, rfc3339
from sentinel.kube.resources import BUILDS, CORE_EVENTS, EVENTS, NODES, PODS


def test_paths_of_core_and_named_groups_and_cluster_scoped_objects() -> None:
    assert [
        PODS.path(),
        PODS.path(namespace="ci"),
        PODS.path(namespace="ci", name="a", subresource="exec"),
        BUILDS.path(namespace="ci", name="hello", subresource="status"),
        NODES.path(namespace="ignored", name="node-1"),
        EVENTS.path(namespace="ci"),
        CORE_EVENTS.path(namespace="ci"),
    ] == [
        "/api/v1/pods",
        "/api/v1/namespaces/ci/pods",
        "/api/v1/namespaces/ci/pods/a/exec",
        "/apis/sentinel.wercker.com/v1alpha1/namespaces/ci/builds/hello/status",
        "/api/v1/nodes/node-1",
        "/apis/events.k8s.io/v1/namespaces/ci/events",
        "/api/v1/namespaces/ci/events",
    ]


def test_a_name_cannot_reach_another_path() -> None:
    path = PODS.path(namespace="ci", name="../../secrets/x?a=b")
    assert path == "/api/v1/namespaces/ci/pods/..%2F..%2Fsecrets%2Fx%3Fa%3Db"


@pytest.mark.parametrize("namespace", [None, ""])
def test_an_object_needs_its_namespace(namespace: str | None) -> None:
    with pytest.raises(ValueError, match="pods 'a': a namespace is needed"):
        PODS.path(namespace=namespace, name="a")


def test_an_empty_name_is_not_the_collection() -> None:
    with pytest.raises(ValueError, match="an empty name"):
        PODS.path(namespace="ci", name="")


def test_times_are_written_in_utc_and_read_back() -> None:
    moment = datetime(2026, 11, 23, 10, 0, 1, 5, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(moment) == "2026-11-23T09:00:01Z"
    assert rfc3339(moment, micro=True) == "2026-11-23T09:00:01.000005Z"
    assert parse_rfc3339("2026-11-23T09:00:01.000005Z") == moment
    assert parse_rfc3339("2026-11-23T10:00:01+01:00") == datetime(2026, 11, 23, 9, 0, 1, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        rfc3339(datetime(2026, 11, 23))
    with pytest.raises(ValueError, match="no time zone"):
        parse_rfc3339("2026-11-23T09:00:01")
