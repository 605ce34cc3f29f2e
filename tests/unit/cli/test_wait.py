"""`sentinel wait` and `sentinel cancel`: the exit codes that scripts rely on."""

from __future__ import annotations

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.cli import wait
from sentinel.kube.errors import Unavailable


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "LOOK_EVERY", 0.0)


@pytest.mark.parametrize(
    ("phase", "reason", "code"),
    [
        ("Succeeded", "Passed", 0),
        ("Failed", "ExitCode", 1),
        ("Errored", "NodeLost", 2),
        ("Cancelled", "Cancelled", 3),
    ],
)
def test_the_exit_code_is_the_result(
    cluster: Cluster, sentinel: Sentinel, phase: str, reason: str, code: int
) -> None:
    cluster.build(status={"phase": "Running"})
    finish = lambda: cluster.change("builds", "hello", status=ended(phase, reason, "\x1b[2J why"))  # noqa: E731
    cluster.script = [lambda: None, lambda: None, finish]
    done = sentinel("wait", "hello", "--timeout", "1h")
    assert done.exit_code == code
    if code:
        assert done.stdout == (
            f"Build hello: {phase} in 42s: {reason}: \ufffd[2J why\n"
            "`sentinel describe -n team hello` shows more\n"
        )
    else:
        assert done.stdout == "Build hello: Succeeded in 42s\n"


def test_a_timeout_is_not_a_result(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build(status={"phase": "Running"})
    done = sentinel("wait", "hello", "-n", "team", "--timeout", "10ms")
    assert (done.exit_code, done.stdout) == (124, "")
    assert done.stderr == (
        "Error: Build hello has not finished in time; `sentinel describe -n team hello` shows how far it is\n"
    )


def test_what_is_not_the_build_s_failure_has_not_its_code(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    missing = sentinel("wait", "hello")
    assert missing.exit_code == 2
    assert (
        "there is no Build 'hello' in namespace 'team'; `sentinel list -n team`" in missing.stderr
    )
    assert sentinel("wait", "hello", "--timeout", "soon").exit_code == 2
    assert sentinel("wait", "").exit_code == 2

    cluster.build()
    cluster.script = [lambda: None, cluster.objects["builds"].clear]
    deleted = sentinel("wait", "hello")
    assert deleted.exit_code == 2
    assert deleted.stderr == "Error: Build hello was deleted before it had finished\n"

    def recreate() -> None:
        cluster.objects["builds"].clear()
        cluster.build(metadata={"uid": "new"}, status=ended("Succeeded", "Passed"))

    cluster.build()
    cluster.script = [lambda: None, recreate]
    replaced = sentinel("wait", "hello")
    assert (replaced.exit_code, "another one of its name" in replaced.stderr) == (2, True)


def test_an_api_server_that_restarts_is_waited_for(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build()

    def restart() -> None:
        cluster.fail("get", "hello", Unavailable("connection refused"), times=3)
        cluster.change("builds", "hello", status=ended("Succeeded", "Passed"))

    cluster.script = [lambda: None, restart]
    assert sentinel("wait", "hello").exit_code == 0


def test_an_api_server_that_was_never_there_is_an_error(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.build()
    cluster.fail("get", "hello", Unavailable("connection refused"))
    done = sentinel("wait", "hello")
    assert done.exit_code == 2
    assert "`kubectl cluster-info`" in done.stderr


def test_cancel_sets_the_field(cluster: Cluster, sentinel: Sentinel) -> None:
    raw = cluster.build(status={"phase": "Running"})
    done = sentinel("cancel", "hello")
    assert (done.exit_code, raw["spec"]["cancel"]) == (0, True)
    assert done.stdout == (
        "Build hello is being cancelled; `sentinel wait -n team hello` waits for it\n"
    )
    assert sentinel("cancel", "hello").stdout == done.stdout


def test_a_finished_build_is_not_cancelled(cluster: Cluster, sentinel: Sentinel) -> None:
    raw = cluster.build(status=ended("Succeeded", "Passed"))
    done = sentinel("cancel", "hello")
    assert (done.exit_code, done.stdout) == (0, "Build hello has already finished: Succeeded\n")
    assert "cancel" not in raw["spec"]
    assert sentinel("cancel", "nope").exit_code == 1
