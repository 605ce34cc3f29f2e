"""What becomes of a build's objects when the Build, or its whole namespace, is deleted; and who gets a slot."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.cluster.conftest import Builds, eventually
from tests.cluster.test_reasons import running, shows, verdict, wait
from tests.install import NAMESPACE, OPERATOR, install, without_operator
from tests.kubectl import condition
from tests.lab.state import Lab


def left(builds: Builds) -> list[str]:
    """Names of all that builds make in a namespace."""
    kinds = "pods,configmaps,secrets,imagecommits.sentinel.wercker.com"
    found = builds.kubectl("get", kinds, "-n", builds.namespace, "-o", "name").split()
    return [name for name in found if "kube-root-ca.crt" not in name]


def operator_log(builds: Builds, *, since: str) -> list[str]:
    text = builds.kubectl(
        "logs", "-n", NAMESPACE, "-l", OPERATOR, f"--since-time={since}", "--tail=-1"
    )
    return text.splitlines()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_build_deleted_with_orphans_leaves_nothing(builds: Builds) -> None:
    builds.apply("b", url=builds.script("sleep 1000", name="long"))
    wait(builds, running("long"))
    builds.kubectl("delete", "build", "b", "-n", builds.namespace, "--cascade=orphan")
    eventually(lambda: left(builds) == [])


@pytest.mark.alone
def test_a_pod_orphaned_while_no_operator_watched_goes_with_the_resync(builds: Builds) -> None:
    builds.apply("b", url=builds.script("sleep 1000", name="long"))
    wait(builds, running("long"))
    with without_operator(builds.kubectl):
        builds.kubectl("delete", "build", "b", "-n", builds.namespace, "--cascade=orphan")
        assert left(builds) != []
    # The first resync of a new leader is its start.
    eventually(lambda: left(builds) == [])


@pytest.mark.alone
def test_a_deleted_namespace_is_not_an_error_in_the_log(builds: Builds) -> None:
    for name in ("a", "b", "c"):
        builds.apply(name, url=builds.script("sleep 1000", name="long"))
    for name in ("a", "b"):
        builds.kubectl.wait_for("build", name, namespace=builds.namespace, until=running("long"))
    since = now()
    builds.kubectl("delete", "namespace", builds.namespace, "--timeout=240s")
    marker = f"after-{builds.namespace}"
    other = Builds(builds.lab, builds.kubectl, marker)
    builds.kubectl("create", "namespace", marker)
    try:
        # A build that ends after it: what the operator had to say about the namespace is in the log by then.
        other.run(url=other.script("true"))
    finally:
        builds.kubectl("delete", "namespace", marker, "--wait=false")
    log = operator_log(builds, since=since)
    assert [line for line in log if "Traceback" in line] == []
    loud = [line for line in log if " WARNING " in line or " ERROR " in line]
    assert [line for line in loud if builds.namespace in line and marker not in line] == []


@pytest.fixture(scope="module")
def hasty(sentinel: Lab) -> None:
    """Sentinel with few slots, of which a namespace gets half, and a resync every ten seconds, and little patience."""
    more = {
        "operator.maxBuilds": "4",
        "operator.resyncSeconds": "10",
        "operator.prepareSeconds": "30",
    }
    install(sentinel, quiet=True, more=more)


@pytest.mark.usefixtures("hasty")
def test_a_finished_build_lives_as_long_as_its_ttl(builds: Builds) -> None:
    url = builds.script("true")
    for name, ttl in (("short", "5s"), ("patched", "168h"), ("kept", "0s")):
        builds.apply(name, url=url, ttlAfterFinished=ttl)
    for name in ("patched", "kept"):
        builds.finish(name)
    patch = ("patch", "build", "patched", "-n", builds.namespace, "--type=merge", "-p")
    builds.kubectl(*patch, '{"spec":{"ttlAfterFinished":"5s"}}')
    names = ("get", "builds", "-n", builds.namespace, "-o", "name")
    eventually(lambda: builds.kubectl(*names).split() == ["build.sentinel.wercker.com/kept"])


@pytest.mark.usefixtures("hasty")
def test_builds_that_wait_for_a_node_stop_no_other_build(builds: Builds) -> None:
    url = builds.script("true")
    for n in range(4):
        builds.apply(f"b{n}", url=url, pod={"nodeSelector": {"no-such-label": "x"}})
    for n in range(4):
        builds.kubectl.wait_for(
            "build", f"b{n}", namespace=builds.namespace, until=shows("Unschedulable")
        )
    # They would be all slots there are.
    assert verdict(builds.run("other", url=url)) == ("Succeeded", "Passed")
    builds.kubectl(
        "patch",
        "build",
        "b3",
        "-n",
        builds.namespace,
        "--type=merge",
        "-p",
        '{"spec":{"cancel":true}}',
    )
    assert verdict(builds.finish("b3")) == ("Cancelled", "Cancelled")


def being_prepared(raw: dict[str, Any]) -> bool:
    """Whether it has begun; the count of crashes is there as long as it lasts, `prepareSeconds` at most."""
    return bool(raw.get("status", {}).get("crashes"))


@pytest.mark.usefixtures("hasty")
def test_a_source_that_never_answers_delays_no_other_build(builds: Builds) -> None:
    """Cancel and delete act at once; without them the deadline of the preparation does, as SourceUnavailable."""
    with socket.create_server((builds.lab.gateway, 0)) as silent:
        url = f"http://{builds.lab.gateway}:{silent.getsockname()[1]}/silent.git"
        # A namespace has two slots: the third begins when the second is cancelled.
        for name in ("slow", "cancelled", "deleted"):
            builds.apply(name, url=url)
            builds.kubectl.wait_for("build", name, namespace=builds.namespace, until=being_prepared)
            if name == "cancelled":
                patch = ("patch", "build", name, "-n", builds.namespace, "--type=merge", "-p")
                builds.kubectl(*patch, '{"spec":{"cancel":true}}')
                assert verdict(builds.finish(name)) == ("Cancelled", "Cancelled")
        builds.kubectl("delete", "build", "deleted", "-n", builds.namespace, "--timeout=240s")
        raw = builds.finish("slow")
    assert verdict(raw) == ("Errored", "SourceUnavailable")
    assert "within 30 s (setting prepare_seconds)" in condition(raw, "Succeeded")["message"]
    assert "crashes" not in raw["status"]
