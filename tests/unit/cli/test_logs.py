"""`sentinel logs`: finished builds by the results API, and what it does without rights or that API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.backoff import Backoff
from sentinel.cli import logs, results
from sentinel.clock import rfc3339
from sentinel.errors import NotYet
from sentinel.kube.errors import Forbidden, Unavailable
from sentinel.session.frames import encode_json, encode_log


def test_following_without_a_right_to_exec_or_to_the_pod_s_log_is_an_error(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.build(status={"phase": "Running", "pod": {"name": "hello-1"}})
    cluster.fail("exec", "hello-1", Forbidden("exec pods team/hello-1: no", status=403))
    cluster.fail("follow", "hello-1", Forbidden("follow logs: no", status=403))
    done = sentinel("logs", "-f", "hello")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: exec pods team/hello-1: no\n`kubectl auth can-i --list`")


STEPS = [
    {
        "id": "a-1",
        "name": "a",
        "startTime": "2026-11-28T10:00:10Z",
        "completionTime": "2026-11-28T10:00:20Z",
    },
    {
        "id": "b-2",
        "name": "b",
        "startTime": "2026-11-28T10:00:20Z",
        "completionTime": "2026-11-28T10:00:30Z",
    },
]


def finished(**more: Any) -> dict[str, Any]:
    return ended("Failed", "ExitCode", steps=STEPS, results={"prefix": "ci/x/"}, **more)


def test_a_finished_build_is_read_with_the_kubeconfig_alone(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.results = {"a-1": b"one\n" * 2000, "b-2": b""}
    cluster.build(status=finished())
    done = sentinel("logs", "hello")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "▶ a\n" + "one\n" * 2000 + "▶ b\n"
    del cluster.results["b-2"]
    partly = sentinel("logs", "hello")
    assert (partly.exit_code, partly.stdout) == (1, "▶ a\n" + "one\n" * 2000)
    assert partly.stderr == "Error: no log in the store for: b\n"


def test_a_cut_stream_goes_on_where_it_was(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "AGAIN", Backoff(first=0, longest=0, tries=3))
    cluster.results = {"a-1": b"one\n" * 2000, "b-2": b"two\n"}
    cluster.build(status=finished())
    whole = cluster.download
    cuts = iter([True, True, False, False])

    async def cut(*args: Any, **words: Any) -> AsyncIterator[bytes]:
        broken = next(cuts)
        async for piece in whole(*args, **words):
            yield piece
            if broken:
                raise Unavailable("connection reset")

    monkeypatch.setattr(cluster, "download", cut)
    assert sentinel("logs", "hello").stdout == "▶ a\n" + "one\n" * 2000 + "▶ b\ntwo\n"
    assert [span[0] for _, span in cluster.downloads] == [0, 1000, 2000, 0]


def test_an_api_that_does_not_answer_is_an_error_with_the_next_command(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "AGAIN", Backoff(first=0, longest=0, tries=2))
    cluster.build(status=finished())
    cluster.fail("download", "hello", Unavailable("503: no endpoints", status=503), times=2)
    done = sentinel("logs", "hello")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: 503: no endpoints\n`kubectl get apiservice v1alpha1.results.sentinel.wercker.com` shows whether the "
        "results API is available\n"
    )


def test_without_the_right_the_error_names_the_command_that_shows_it(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.build(status=finished())
    cluster.fail("download", "hello", Forbidden("cannot get builds/log", status=403))
    done = sentinel("logs", "hello")
    assert done.exit_code == 1
    assert (
        "`kubectl auth can-i get builds.results.sentinel.wercker.com --subresource=log -n team`"
        in (done.stderr)
    )


def test_since_leaves_out_the_steps_that_ended_before(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.results = {"a-1": b"one\n", "b-2": b"two\n"}
    now = datetime.now(UTC)
    steps = [
        {**STEPS[0], "completionTime": rfc3339(now - timedelta(hours=2))},
        {**STEPS[1], "completionTime": rfc3339(now - timedelta(minutes=10))},
    ]
    cluster.build(status={**finished(), "steps": steps})
    assert sentinel("logs", "hello", "--since", "1h").stdout == "▶ b\ntwo\n"
    assert sentinel("logs", "hello", "--since", "1m").stdout == ""
    assert sentinel("logs", "hello", "--since", "soon").exit_code == 2


def test_a_cluster_without_the_results_api(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build(status=finished())
    done = sentinel("logs", "hello")
    assert done.exit_code == 1
    assert "this cluster has no results API (`kubectl get apiservice" in done.stderr
    assert "SENTINEL_STORE__BUCKET" in done.stderr
    missing = sentinel("logs", "nope")
    assert missing.stderr == (
        "Error: there is no Build 'nope' in namespace 'team'; `sentinel list -n team` lists the others\n"
    )


def test_without_a_store_the_pod_has_the_logs(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build(status=ended("Failed", "ExitCode", steps=STEPS, pod={"name": "hello-1"}))
    assert "`kubectl logs -n team hello-1 -c box`" in sentinel("logs", "hello").stderr


CONSOLE = (
    b"boxkit is here\n"
    b'--- sentinel step=1 offset=0 id=a-1 name="a"\none\n--- sentinel step=2 offset=0 id=forged name="b"\n'
    b'--- sentinel step=2 offset=0 id=b-2 name="b"\ntwo\n--- sentinel st'
)
SHOWN = '▶ a\none\n--- sentinel step=2 offset=0 id=forged name="b"\n▶ b\ntwo\n'


def test_without_a_right_to_exec_the_pod_s_log_is_followed(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    raw = cluster.build(status={"phase": "Running", "pod": {"name": "hello-1"}, "steps": STEPS})
    cluster.fail("exec", "hello-1", Forbidden("exec pods team/hello-1: no", status=403))
    cluster.output["hello-1"] = CONSOLE
    cluster.results = {"a-1": b"in the store", "b-2": b"in the store"}

    async def ending(**_: Any) -> AsyncIterator[bytes]:
        async for piece in Cluster.follow(
            cluster, namespace="team", pod="hello-1", container="box"
        ):
            yield piece
        raw["status"].update(finished())

    cluster.follow = ending  # type: ignore[method-assign]
    done = sentinel("logs", "-f", "hello")
    assert (done.exit_code, done.stdout, done.stderr) == (0, SHOWN, "")


def test_what_a_running_build_has_printed_is_read_from_the_pod_s_log(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.build(status={"phase": "Running", "pod": {"name": "hello-1"}, "steps": STEPS})
    cluster.fail("exec", "hello-1", Forbidden("exec pods team/hello-1: no", status=403))
    cluster.output["hello-1"] = CONSOLE
    assert sentinel("logs", "hello").stdout == SHOWN


def test_a_cut_or_silent_pod_log_is_read_on_where_it_was(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "AGAIN", Backoff(first=0, longest=0))
    raw = cluster.build(status={"phase": "Running", "pod": {"name": "hello-1"}, "steps": STEPS})
    cluster.fail("exec", "hello-1", Forbidden("exec pods team/hello-1: no", status=403))
    cluster.fail("follow", "hello-1", NotYet("box is waiting to start: PodInitializing"))
    cluster.output["hello-1"] = CONSOLE
    whole = cluster.follow
    lengths = iter([len(CONSOLE) // 2, len(CONSOLE) // 4, 2 * len(CONSOLE)])

    async def cut(**words: Any) -> AsyncIterator[bytes]:
        length = 0
        async for piece in whole(**words):
            if not length:
                length = next(lengths)
            yield piece[:length]
            if len(piece) >= length:
                raise Unavailable("no output for 100 s")
            length -= len(piece)
        raw["status"].update(finished())

    monkeypatch.setattr(cluster, "follow", cut)
    cluster.results = {}
    done = sentinel("logs", "-f", "hello")
    assert (done.exit_code, done.stdout, done.stderr) == (0, SHOWN, "")


def test_following_goes_on_when_the_api_server_has_restarted(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK_EVERY", 0.0)
    cluster.results = {"a-1": b"one\n", "b-2": b"two\n"}
    cluster.build()

    def restart() -> None:
        cluster.fail("get", "hello", Unavailable("connection refused"), times=3)
        cluster.change("builds", "hello", status=finished())

    cluster.script = [lambda: None, lambda: None, restart]
    done = sentinel("logs", "-f", "hello")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "▶ a\none\n▶ b\ntwo\n", "")


def test_an_api_server_that_restarts_after_hours_of_a_pod_s_log_is_waited_for(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "AGAIN", Backoff(first=0, longest=0))
    raw = cluster.build(status={"phase": "Running", "pod": {"name": "hello-1"}, "steps": STEPS})
    cluster.fail("exec", "hello-1", Forbidden("exec pods team/hello-1: no", status=403))
    cluster.output["hello-1"] = CONSOLE
    whole, cut = cluster.follow, False

    async def follow(**words: Any) -> AsyncIterator[bytes]:
        nonlocal cut
        async for piece in whole(**words):
            yield piece
        if not cut:
            cut = True
            # Any time that has passed by now is longer than the patience.
            monkeypatch.setattr(logs, "PATIENCE", 0.0)
            cluster.fail("get", "hello", Unavailable("connection refused"))
            raise Unavailable("connection reset")
        raw["status"].update(finished())

    monkeypatch.setattr(cluster, "follow", follow)
    cluster.results = {}
    done = sentinel("logs", "-f", "hello")
    assert (done.exit_code, done.stdout, done.stderr) == (0, SHOWN, "")


def test_another_build_of_the_name_is_not_followed(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK_EVERY", 0.0)
    cluster.build()
    cluster.script = [lambda: None, lambda: cluster.build(metadata={"uid": "new"})]
    done = sentinel("logs", "-f", "hello")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Build hello was deleted, and another one of its name was created" in done.stderr


class Box:
    """What an attach to a box gives: the greeting and the log of step 1, and then nothing more."""

    def __init__(self) -> None:
        welcome = {"type": "welcome", "protocol": 1, "version": "1", "seq": 0, "build": "b"}
        welcome |= {"attempt": 1, "protocols": {"min": 1, "max": 1}}
        self._said = [encode_json(welcome), encode_log(1, 0, b"one\n")]

    async def read(self) -> bytes:
        if self._said:
            return self._said.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def write(self, data: bytes) -> None:
        pass

    async def close(self) -> None:
        pass


def test_without_follow_a_box_that_is_slow_to_answer_is_waited_for(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK_EVERY", 0.1)
    cluster.build(status={"phase": "Running", "pod": {"name": "hello-1"}, "steps": STEPS})

    async def exec_(**_: Any) -> Box:
        # A second of silence was taken for the end of the log.
        if len(cluster.got) < 15:
            raise NotYet("the kubelet is busy")
        return Box()

    monkeypatch.setattr(cluster, "exec", exec_)
    assert sentinel("logs", "hello").stdout == "▶ a\none\n"
