"""How many connections a server keeps, from one address and together, and how long without a request.

aiohttp bounds neither: a box that opens connections and sends nothing would shut out every other build.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ssl import SSLContext
from typing import Any

from aiohttp import web

MOST = 1024
"""Connections. A file descriptor and some KiB each."""
MOST_OF_ONE = 128
"""Connections of one address: a pod, or a node where the network hides pods behind it."""
IDLE_SECONDS = 15.0
"""For which a connection may have no request, at its beginning too."""
_LOOK_EVERY = 1.0


class Connections:
    """The connections of one server. `serving` listens; a request runs within `busy`."""

    def __init__(
        self, *, most: int = MOST, most_of_one: int = MOST_OF_ONE, idle: float = IDLE_SECONDS
    ) -> None:
        self._most, self._most_of_one, self._idle = most, most_of_one, idle
        self._busy: Counter[object] = Counter()
        self._seen: dict[object, float] = {}
        """When a connection was first seen, or had its last request, by its protocol."""

    @asynccontextmanager
    async def serving(
        self,
        app: web.Application,
        host: str,
        port: int,
        *,
        tls: SSLContext | None,
        follow: Callable[[asyncio.Task[None]], None],
    ) -> AsyncIterator[tuple[str, int]]:
        """Listen while the block runs; the address. Port 0 is any free one. OSError where it cannot be had.

        `follow` gets the task that closes connections.
        """
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=self._idle,
            lingering_time=5.0,
            shutdown_timeout=20.0,
        )
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101 - setup made it

        def connected() -> asyncio.Protocol:
            return server() if len(server.connections) < self._most else _Turned()

        loop = asyncio.get_running_loop()
        listener = None
        try:
            listener = await loop.create_server(connected, host, port, ssl=tls, backlog=256)
            looking = asyncio.create_task(self._look(server), name="connections")
            follow(looking)
            try:
                bound = listener.sockets[0].getsockname()
                yield bound[0], bound[1]
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        finally:
            if listener is not None:
                listener.close()
            await runner.cleanup()

    @contextmanager
    def busy(self, request: web.BaseRequest) -> Iterator[None]:
        """The connection has a request, or is sent an answer."""
        known = request.protocol
        self._busy[known] += 1
        try:
            yield
        finally:
            self._busy[known] -= 1
            if not self._busy[known]:
                del self._busy[known]
            self._seen[known] = time.monotonic()

    async def _look(self, server: web.Server) -> None:
        while True:
            self._close_idle(server)
            await asyncio.sleep(_LOOK_EVERY)

    def _close_idle(self, server: web.Server) -> None:
        now = time.monotonic()
        of: Counter[str] = Counter()
        present: set[object] = set()
        for protocol in server.connections:
            transport = protocol.transport
            present.add(protocol)
            since = self._seen.setdefault(protocol, now)
            if transport is None:
                continue
            of[_address(transport)] += 1
            if protocol in self._busy:
                continue
            if now - since > self._idle or of[_address(transport)] > self._most_of_one:
                transport.abort()
        for known in self._seen.keys() - present:
            del self._seen[known]


class _Turned(asyncio.Protocol):
    """A connection beyond what the server keeps."""

    def connection_made(self, transport: Any) -> None:
        transport.abort()


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
