"""The whole server against a scripted API server: certificate, caBundle, a request, a restart, an end."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.unit.kube.server import Server, eventually, failure, kubeconfig, obj
from tests.unit.results.conftest import BASE, REQUEST_HEADER, Authority

from sentinel.errors import UserError
from sentinel.results import app
from sentinel.results.certificate import API_SERVICE
from sentinel.settings import Settings
from sentinel.settings.results import ResultsSettings
from sentinel.settings.store import StoreSettings

CONFIG = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
SECRET = "/api/v1/namespaces/ours/secrets/tls"
SERVICE = f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}"


@pytest.fixture
async def server(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Server, dict[str, Any]]]:
    """An API server with the objects that the chart and Kubernetes make."""
    objects: dict[str, Any] = {
        CONFIG: {"data": {**REQUEST_HEADER, "requestheader-client-ca-file": authority.pem}},
        SECRET: {"metadata": {"name": "tls", "resourceVersion": "1"}},
        SERVICE: {"metadata": {"name": API_SERVICE}, "spec": {}},
    }
    server = Server()

    async def answer(request: web.Request) -> web.Response:
        if request.path not in objects:
            return failure(404, "NotFound", request.path)
        if request.method == "PATCH":
            body = await request.json()
            objects[request.path] |= {key: body[key] for key in body if key != "metadata"}
        return obj(objects[request.path])

    server.handler = answer
    await server.start()
    config = kubeconfig(tmp_path / "config", server.url, {"token": "t"})
    monkeypatch.setenv("KUBECONFIG", config)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(app, "DRAIN_SECONDS", 0)
    yield server, objects
    await server.stop()


def settings(**store: str) -> Settings:
    return Settings(
        pod_namespace="ours",
        health_port=0,
        store=StoreSettings(url="http://127.0.0.1:9", key="k" * 64, **store),  # type: ignore[arg-type]
        results=ResultsSettings(port=0, tls_secret="tls", service="results"),
    )


async def test_it_serves_when_the_api_server_trusts_it_and_ends_with_sigterm(
    server: tuple[Server, dict[str, Any]],
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, objects = server
    ports: list[int] = []
    serve = app.serve

    def noted(*args: Any, **words: Any) -> Any:
        return _Noting(serve(*args, **{**words, "host": "127.0.0.1"}), ports)

    monkeypatch.setattr(app, "serve", noted)
    running = asyncio.create_task(app.run_results(settings()))
    await eventually(lambda: running.done() or "caBundle" in objects[SERVICE]["spec"])
    bundle = base64.b64decode(objects[SERVICE]["spec"]["caBundle"]).decode()
    context = ssl.create_default_context(cadata=bundle)
    context.load_cert_chain(*authority.client("front-proxy-client"))
    headers = {"X-Remote-User": "system:kube-aggregator"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(
            f"https://127.0.0.1:{ports[0]}{BASE}",
            headers=headers,
            server_hostname="results.ours.svc",
        ) as response,
    ):
        assert response.status == 200
    await eventually(lambda: signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    await running


class _Noting:
    """A context manager that notes what another one gives."""

    def __init__(self, inner: Any, noted: list[int]) -> None:
        self._inner, self._noted = inner, noted

    async def __aenter__(self) -> int:
        port: int = await self._inner.__aenter__()
        self._noted.append(port)
        return port

    async def __aexit__(self, *error: Any) -> Any:
        return await self._inner.__aexit__(*error)


async def test_it_ends_when_the_front_proxy_changes(
    server: tuple[Server, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, objects = server
    monkeypatch.setattr(app, "CHECK_SECONDS", 0.01)
    running = asyncio.create_task(app.run_results(settings()))
    await eventually(lambda: running.done() or "caBundle" in objects[SERVICE]["spec"])
    objects[CONFIG]["data"]["requestheader-allowed-names"] = '["aggregator"]'
    await running


async def test_what_is_missing_is_named(server: tuple[Server, dict[str, Any]]) -> None:
    _, objects = server
    with pytest.raises(UserError, match="without an object store"):
        await app.run_results(Settings(health_port=0, store=StoreSettings()))
    del objects[SERVICE]
    with pytest.raises(UserError, match="no APIService"):
        await app.run_results(settings())
    objects[CONFIG]["data"] = {}
    with pytest.raises(UserError, match="--requestheader-client-ca-file"):
        await app.run_results(settings())
