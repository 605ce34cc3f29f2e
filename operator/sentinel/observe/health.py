"""What the probes of operator, reporter and agent see: /livez, /readyz and /metrics on a port of our own, or files.

kopf's liveness answers 200 whatever happens to its watches, and only while it runs; a standby runs no kopf at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from sentinel.observe.metrics import serve_metrics

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
"""How often the agent calls `beat`. Its probe in the chart allows a minute."""


@dataclass
class Health:
    """State of one process. `ready`: the API server answers, and this process leads or can take over.

    Each of `checks` returns what is wrong, or nothing; a process with a failed check has to be restarted.
    """

    ready: bool = False
    leading: bool = False
    checks: dict[str, Callable[[], str]] = field(default_factory=dict)

    def follow(self, task: asyncio.Task[Any]) -> None:
        """Fail once that task has ended: for tasks that must run as long as the process does."""
        self.checks[task.get_name()] = lambda: "its task has ended" if task.done() else ""

    def problems(self) -> list[str]:
        """What is wrong, one line per failed check. Empty: alive."""
        found = ((name, _result(check)) for name, check in self.checks.items())
        return [f"{name}: {problem}" for name, problem in found if problem]


def _result(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:
        return f"the check failed: {type(error).__name__}"


@asynccontextmanager
async def serve_health(health: Health, *, port: int) -> AsyncIterator[None]:
    """Answer probes while the block runs; no server with port 0. An answer shows that the event loop is not blocked."""
    if not port:
        yield
        return

    async def livez(_: web.Request) -> web.Response:
        problems = health.problems()
        if problems:
            log.error("not alive: %s", "; ".join(problems))
        return web.Response(text="\n".join(problems) or "ok", status=503 if problems else 200)

    async def readyz(_: web.Request) -> web.Response:
        text = "leading" if health.leading else "standby" if health.ready else "starting"
        return web.Response(text=text, status=200 if health.ready else 503)

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", livez),
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


def beat(health: Health, folder: Path) -> None:
    """For a process without a port: touch `folder`/alive if no check fails; `folder`/ready is there while it is ready.

    A probe looks at the age of `alive`, so an event loop that is blocked fails it as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "ready"
    if health.ready:
        ready.touch()
    else:
        ready.unlink(missing_ok=True)
    problems = health.problems()
    if not problems:
        (folder / "alive").touch()
    else:
        log.error("not alive: %s", "; ".join(problems))
