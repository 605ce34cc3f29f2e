from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiohttp import web
from tests.unit.clocks import Hasty, Stepped
from tests.unit.kube.server import Server, eventually, failure, obj

from sentinel.kube.client import Kube
from sentinel.kube.events import Recorder

BUILD = {
    "apiVersion": "sentinel.wercker.com/v1alpha1",
    "kind": "Build",
    "metadata": {"name": "hello", "namespace": "ci", "uid": "u1", "resourceVersion": "5"},
    "spec": {},
}
POD = {"apiVersion": "v1", "kind": "Pod", "namespace": "ci", "name": "hello-1", "uid": "u2"}


async def test_an_event_says_everything_the_api_wants(kube: Kube, server: Server) -> None:
    server.answers(obj({}))
    recorder = Recorder(kube, instance="operator-7f", clock=Stepped())
    recorder.record(
        BUILD,
        reason="PodCreated",
        action="CreatePod",
        note="created pod hello-1",
        related=POD,
    )
    await recorder.close()
    (seen,) = server.seen
    assert f"{seen.method} {seen.path}" == "POST /apis/events.k8s.io/v1/namespaces/ci/events"
    name = seen.body["metadata"].pop("name")
    assert name.startswith("hello.")
    assert seen.body == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "ci"},
        "eventTime": "2026-11-23T09:00:00.000000Z",
        "reportingController": "sentinel.wercker.com/operator",
        "reportingInstance": "operator-7f",
        "regarding": {
            "apiVersion": "sentinel.wercker.com/v1alpha1",
            "kind": "Build",
            "namespace": "ci",
            "name": "hello",
            "uid": "u1",
        },
        "related": POD,
        "reason": "PodCreated",
        "action": "CreatePod",
        "note": "created pod hello-1",
        "type": "Normal",
    }


async def test_repeats_become_one_series(kube: Kube, server: Server) -> None:
    server.answers(obj({}))
    clock = Stepped()
    recorder = Recorder(kube, instance="i", clock=clock)

    def again() -> None:
        recorder.record(BUILD, reason="PodPending", action="Wait", note="no node", type="Warning")

    again()
    await eventually(lambda: len(server.seen) == 1)
    again()  # the second one is written at once
    await eventually(lambda: len(server.seen) == 2)
    for _ in range(20):
        again()
    await eventually(lambda: clock.sleepers == 1)
    assert len(server.seen) == 2
    clock.advance(10)
    await eventually(lambda: len(server.seen) == 3)
    name = server.seen[0].body["metadata"]["name"]
    assert [(seen.method, seen.path.rpartition("/")[2]) for seen in server.seen[1:]] == [
        ("PATCH", name)
    ] * 2
    assert [seen.body for seen in server.seen[1:]] == [
        {"series": {"count": 2, "lastObservedTime": "2026-11-23T09:00:00.000000Z"}},
        {"series": {"count": 22, "lastObservedTime": "2026-11-23T09:00:00.000000Z"}},
    ]
    await recorder.close()
    assert len(server.seen) == 3


async def test_closing_writes_the_last_count(kube: Kube, server: Server) -> None:
    server.answers(obj({}))
    recorder = Recorder(kube, instance="i", clock=Stepped())
    for _ in range(7):
        recorder.record(BUILD, reason="R", action="A", note="n")
    await recorder.close()
    assert [seen.method for seen in server.seen] == ["POST", "PATCH"]
    assert server.seen[1].body["series"]["count"] == 7


async def test_a_repeat_after_the_series_time_is_a_new_event(kube: Kube, server: Server) -> None:
    server.answers(obj({}))
    clock = Stepped()
    recorder = Recorder(kube, instance="i", clock=clock)
    recorder.record(BUILD, reason="R", action="A", note="n")
    await eventually(lambda: len(server.seen) == 1)
    clock.advance(361)
    recorder.record(BUILD, reason="R", action="A", note="n")
    await recorder.close()
    assert [seen.method for seen in server.seen] == ["POST", "POST"]


async def test_a_series_whose_event_has_expired_starts_again(kube: Kube, server: Server) -> None:
    server.answers(obj({}), failure(404, "NotFound", "gone"), obj({}))
    recorder = Recorder(kube, instance="i", clock=Stepped())
    recorder.record(BUILD, reason="R", action="A", note="n")
    await eventually(lambda: len(server.seen) == 1)
    recorder.record(BUILD, reason="R", action="A", note="n")
    await recorder.close()
    assert [seen.method for seen in server.seen] == ["POST", "PATCH", "POST"]
    assert server.seen[2].body["series"]["count"] == 2


async def test_an_event_survives_a_server_that_restarts(kube: Kube, server: Server) -> None:
    server.answers(failure(503, "ServiceUnavailable", "starting"), obj({}))
    recorder = Recorder(kube, instance="i", clock=Hasty())
    recorder.record(BUILD, reason="R", action="A", note="n")
    await recorder.close()
    assert (recorder.dropped, len(server.seen)) == (0, 2)
    assert server.seen[0].body == server.seen[1].body


async def test_an_event_whose_answer_was_lost_is_not_written_twice(
    kube: Kube, server: Server
) -> None:
    server.answers(
        failure(500, "InternalError", "who knows"), failure(409, "AlreadyExists", "it is here")
    )
    recorder = Recorder(kube, instance="i", clock=Hasty())
    recorder.record(BUILD, reason="R", action="A", note="n")
    await recorder.close()
    assert (recorder.dropped, len(server.seen)) == (0, 2)


async def test_a_refused_event_is_dropped_and_the_next_one_written(
    kube: Kube, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers(failure(403, "Forbidden", "namespace is being terminated"), obj({}))
    recorder = Recorder(kube, instance="i", clock=Hasty())
    with caplog.at_level(logging.WARNING):
        recorder.record(BUILD, reason="First", action="A", note="n")
        recorder.record(BUILD, reason="Second", action="A", note="n")
        await recorder.close()
    assert recorder.dropped == 1
    assert [seen.body["reason"] for seen in server.seen] == ["First", "Second"]
    assert "an event was dropped (First n): create events ci/hello." in caplog.text


async def test_events_of_a_namespace_that_is_being_deleted_are_dropped_quietly(
    kube: Kube, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    text = "unable to create new content in namespace ci because it is being terminated"
    server.answers(
        failure(403, "Forbidden", text), failure(404, "NotFound", 'namespaces "ci" not found')
    )
    recorder = Recorder(kube, instance="i", clock=Hasty())
    with caplog.at_level(logging.INFO):
        recorder.record(BUILD, reason="First", action="A", note="n")
        recorder.record(BUILD, reason="Second", action="A", note="n")
        await recorder.close()
    assert recorder.dropped == 2
    assert [each.message for each in caplog.records if each.name == "sentinel.kube.events"] == []


async def test_recording_never_waits_and_never_raises(
    kube: Kube, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return obj({})

    server.answers(never)
    recorder = Recorder(kube, instance="i", clock=Stepped(), queue=3)
    for n in range(5):
        recorder.record(BUILD, reason="R", action="A", note=f"{n}")
    unusable: Any = {"metadata": 5}
    recorder.record(unusable, reason=None, action="A", note="n")  # type: ignore[arg-type]
    assert recorder.dropped == 3
    assert "the queue is full" in caplog.text
    await recorder.close(seconds=0.05)
    recorder.record(BUILD, reason="R", action="A", note="late")
    assert "the queue is closed" in caplog.text


async def test_a_long_note_is_cut_at_a_kilobyte_between_characters(
    kube: Kube, server: Server
) -> None:
    server.answers(obj({}))
    recorder = Recorder(kube, instance="i")
    recorder.record(BUILD, reason="R", action="A", note="ä" * 2000)
    await recorder.close()
    note = server.seen[0].body["note"]
    assert len(note.encode()) <= 1024
    assert note == "ä" * 510 + "…"


async def test_an_event_of_a_node_goes_to_the_default_namespace(kube: Kube, server: Server) -> None:
    server.answers(obj({}))
    recorder = Recorder(kube, instance="i")
    recorder.record({"kind": "Node", "name": "n1"}, reason="R", action="A", note="n")
    await recorder.close()
    assert server.calls() == ["POST /apis/events.k8s.io/v1/namespaces/default/events"]
