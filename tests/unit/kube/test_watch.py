from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kube.server import Handler, Server, eventually, failure

from sentinel.kube import errors, watch
from sentinel.kube.client import Kube
from sentinel.kube.resources import PODS


def line(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def stream(*chunks: bytes, tear: bool = False) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if tear and request.transport is not None:
            request.transport.close()
        return response

    return handler


async def test_a_watch_gives_what_happened_and_ends_with_the_server(
    kube: Kube, server: Server
) -> None:
    bookmark = {"metadata": {"resourceVersion": "9"}}
    server.answers(
        stream(line("ADDED", {"a": 1}) + line("MODIFIED", {"a": 2}), line("BOOKMARK", bookmark))
    )
    events = [event async for event in kube.watch(PODS, labels="x=y", resource_version="5")]
    assert events == [("ADDED", {"a": 1}), ("MODIFIED", {"a": 2}), ("BOOKMARK", bookmark)]
    assert server.seen[0].query == {
        "labelSelector": ["x=y"],
        "watch": ["true"],
        "allowWatchBookmarks": ["true"],
        "timeoutSeconds": ["270"],
        "resourceVersion": ["5"],
    }


async def test_objects_of_a_megabyte_arrive_in_pieces(kube: Kube, server: Server) -> None:
    large = {"data": "x" * 1_000_000}
    data = line("ADDED", large) + line("ADDED", {"small": 1})
    pieces = [data[start : start + 10_000] for start in range(0, len(data), 10_000)]
    server.answers(stream(*pieces))
    assert [event async for event in kube.watch(PODS)] == [
        ("ADDED", large),
        ("ADDED", {"small": 1}),
    ]


@pytest.mark.parametrize(
    "handler",
    [
        stream(
            line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"})
        ),
        failure(410, "Gone", "too old resource version: 1 (9)"),
    ],
)
async def test_a_version_that_is_too_old_is_reported(
    kube: Kube, server: Server, handler: Any
) -> None:
    server.answers(handler)
    with pytest.raises(errors.Expired, match="watch pods ci: "):
        async for _ in kube.watch(PODS, namespace="ci", resource_version="1"):
            pass


async def test_another_error_event_is_that_error(kube: Kube, server: Server) -> None:
    server.answers(stream(line("ERROR", {"kind": "Status", "code": 500, "message": "etcd"})))
    with pytest.raises(errors.Unavailable, match="etcd"):
        async for _ in kube.watch(PODS):
            pass


@pytest.mark.parametrize(
    "handler",
    [
        stream(line("ADDED", {"a": 1}), b'{"type":"ADDED","obj', tear=True),
        stream(line("ADDED", {"a": 1}), b'{"type":"ADDED","obj'),
    ],
    ids=["connection", "line"],
)
async def test_a_watch_that_breaks_off_is_unavailable_after_what_came_before(
    kube: Kube, server: Server, handler: Handler
) -> None:
    server.answers(handler)
    events = []
    with pytest.raises(errors.Unavailable):
        async for event in kube.watch(PODS):
            events.append(event)
    assert events == [("ADDED", {"a": 1})]


async def test_a_silent_watch_is_a_dead_one(
    kube: Kube, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 0.05)

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await eventually(lambda: request.transport is None or request.transport.is_closing())
        return response

    server.answers(silent)
    with pytest.raises(errors.Unavailable):
        async for _ in kube.watch(PODS):
            pass


async def test_leaving_a_watch_closes_its_connection(kube: Kube, server: Server) -> None:
    closed = []

    async def forever(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(line("ADDED", {}))
        try:
            await asyncio.Event().wait()  # aiohttp cancels the handler of a connection that went
        finally:
            closed.append(True)
        return response

    server.answers(forever)
    async with aclosing(kube.watch(PODS)) as events:
        async for _ in events:
            break
    await eventually(lambda: closed)


@given(st.lists(st.binary(min_size=1)), st.data())
async def test_lines_do_not_depend_on_where_the_network_cuts(
    texts: list[bytes], data: st.DataObject
) -> None:
    lines = [text.replace(b"\n", b"_") for text in texts]
    whole = b"".join(text + b"\n" for text in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    assert [found async for found in watch.lines(chunks())] == lines
