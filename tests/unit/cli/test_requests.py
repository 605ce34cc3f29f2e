"""The verbs through the real client: which requests reach the API server, and so which rights they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.cli.conftest import Sentinel, ended
from tests.unit.kube.server import Server, kubeconfig

BUILDS = "/apis/sentinel.wercker.com/v1alpha1/namespaces/team/builds"
EVENTS = "/api/v1/namespaces/team/events"


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server that has one failed Build, named by a kubeconfig whose context has the namespace `team`."""
    server = Server()

    async def answer(request: web.Request) -> web.Response:
        build = {
            "metadata": {"name": "hello", "namespace": "team", "uid": "1"},
            "spec": {"source": {"git": {"url": "u"}}},
            "status": ended("Failed", "ExitCode"),
        }
        if request.path == BUILDS and request.method == "GET":
            return web.json_response({"kind": "BuildList", "items": [build]})
        if request.path == BUILDS:
            return web.json_response(await request.json())
        if request.path == EVENTS:
            return web.json_response({"kind": "EventList", "items": []})
        if request.path == f"{BUILDS}/running":
            running = {"name": "running", "namespace": "team", "uid": "2"}
            return web.json_response({**build, "metadata": running, "status": {}})
        return web.json_response(build)

    server.handler = answer
    await server.start()
    config = kubeconfig(tmp_path / "config", server.url, {"token": "t"}, namespace="team")
    monkeypatch.setenv("KUBECONFIG", config)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield server
    await server.stop()


@pytest.mark.parametrize(
    ("words", "code", "requests"),
    [
        (["list"], 0, [("GET", BUILDS)]),
        (["describe", "hello"], 0, [("GET", f"{BUILDS}/hello"), ("GET", EVENTS)]),
        (["wait", "hello"], 1, [("GET", f"{BUILDS}/hello")]),
        (["cancel", "hello"], 0, [("GET", f"{BUILDS}/hello")]),
        (["cancel", "running"], 0, [("GET", f"{BUILDS}/running"), ("PATCH", f"{BUILDS}/running")]),
        (["retry", "hello"], 0, [("GET", f"{BUILDS}/hello"), ("POST", BUILDS)]),
    ],
)
async def test_a_verb_sends_these_requests(
    server: Server, sentinel: Sentinel, words: list[str], code: int, requests: Any
) -> None:
    done = await asyncio.to_thread(sentinel, *words)
    assert done.exit_code == code, done.output
    assert [(seen.method, seen.path) for seen in server.seen] == requests
    if words == ["cancel", "running"]:
        assert server.seen[-1].body == {"spec": {"cancel": True}}
    if words[0] == "describe":
        assert server.seen[-1].query["fieldSelector"] == ["involvedObject.uid=1,type=Warning"]
