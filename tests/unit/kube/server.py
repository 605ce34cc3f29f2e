"""A scripted API server on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """One request that arrived: what a test compares."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


class Server:
    """Answers with `handler`; keeps every request in `seen`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.handler: Handler | None = None
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self, *answers: web.Response | Handler) -> None:
        """Give these answers one after the other; the last one for ever."""
        queue = list(answers)

        async def handler(request: web.Request) -> web.StreamResponse:
            answer = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(answer, web.Response):
                # An answer is sent once; the script's stays as it is.
                return web.Response(
                    body=answer.body, status=answer.status, headers=answer.headers.copy()
                )
            return await answer(request)

        self.handler = handler

    def calls(self) -> list[str]:
        return [f"{seen.method} {seen.path}" for seen in self.seen]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        self.seen.append(
            Seen(
                request.method,
                request.raw_path.partition("?")[0],
                {key: request.query.getall(key) for key in request.query},
                dict(request.headers),
                json.loads(data) if data else None,
            )
        )
        assert self.handler is not None
        return await self.handler(request)


def obj(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def failure(
    status: int, reason: str, message: str, *, headers: dict[str, str] | None = None
) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": status,
    }
    return obj(body, status=status, headers=headers)


def kubeconfig(path: Path, url: str, user: dict[str, Any], *, namespace: str = "") -> str:
    """Writes a kubeconfig for `url`; returns its name."""
    context = {"cluster": "test", "user": "test"} | ({"namespace": namespace} if namespace else {})
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": url}}],
                "users": [{"name": "test", "user": user}],
                "contexts": [{"name": "test", "context": context}],
            }
        )
    )
    return str(path)


async def eventually(condition: Callable[[], object]) -> None:
    """Return when `condition()` holds; the test's own timeout ends a condition that never does."""
    async with asyncio.timeout(150):
        while not condition():
            await asyncio.sleep(0.002)
