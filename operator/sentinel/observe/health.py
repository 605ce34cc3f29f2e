"""/healthz, /readyz and /metrics on a port of our own.

kopf's liveness answers 200 whatever happens to its watches, and only while it runs; a standby runs no kopf at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from sentinel.observe.metrics import serve_metrics


@dataclass
class Health:
    """What the probes say. `ready`: leading, or agent at work; a standby is alive and not ready. `dead`: restart me."""

    ready: bool = False
    dead: str = ""


@asynccontextmanager
async def serve_health(health: Health, *, port: int) -> AsyncIterator[None]:
    """Answer probes while the block runs. Port 0: no server. An answer also proves that the event loop turns."""
    if not port:
        yield
        return

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text=health.dead or "ok", status=503 if health.dead else 200)

    async def readyz(_: web.Request) -> web.Response:
        text = "ready" if health.ready else "standing by"
        return web.Response(text=text, status=200 if health.ready else 503)

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", serve_metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
