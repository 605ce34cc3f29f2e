"""A receiver of reports on loopback that answers as a test tells it to, and remembers what it was sent."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Received:
    path: str
    query: str
    headers: dict[str, str]
    body: dict[str, Any]
    status: int

    @property
    def id(self) -> str:
        return self.headers.get("idempotency-key", "") or self.headers.get("ce-id", "")


@dataclass
class Receiver:
    """`answer(path, body)` gives a status, or status and headers; by default everything is taken."""

    url: str = ""
    port: int = 0
    received: list[Received] = field(default_factory=list)
    answer: Callable[[str, dict[str, Any]], Any] = lambda *_: 200
    delay: float = 0.0
    at_once: int = 0
    most_at_once: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def taken(self) -> list[Received]:
        return [each for each in self.received if each.status < 300]

    def taken_of(self, uid: str) -> list[str]:
        """The ids of what was taken of one build, in order."""
        return [each.id for each in self.taken if each.id.startswith(f"{uid}.")]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; looks after each request."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            found = self.answer(request.path, body)
        finally:
            self.at_once -= 1
        status, headers = found if isinstance(found, tuple) else (found, {})
        self.received.append(
            Received(
                request.path,
                request.query_string,
                {key.lower(): value for key, value in request.headers.items()},
                body,
                status,
            )
        )
        self._changed.set()
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def serve(bound: socket.socket | None = None) -> AsyncIterator[Receiver]:
    """A receiver while the block runs, on a socket that is bound, or on any port."""
    if bound is None:
        bound = socket.create_server(("127.0.0.1", 0))
    receiver = Receiver(port=bound.getsockname()[1])
    receiver.url = f"http://127.0.0.1:{receiver.port}"
    app = web.Application()
    app.router.add_post("/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, bound).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()
