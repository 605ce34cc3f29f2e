"""What the probes see: each check fails them, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from sentinel.observe.health import Health, beat, serve_health


async def test_livez_fails_once_a_followed_task_has_ended() -> None:
    health = Health()
    task = asyncio.create_task(asyncio.sleep(3600), name="supervisor")
    health.follow(task)
    assert health.problems() == []
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert health.problems() == ["supervisor: its task has ended"]


async def test_a_check_that_raises_fails_the_probe() -> None:
    def broken() -> str:
        raise KeyError("x")

    assert Health(checks={"lease": broken}).problems() == ["lease: the check failed: KeyError"]


@contextlib.asynccontextmanager
async def served(health: Health) -> AsyncIterator[int]:
    """The port of probes that are served. Where another process was faster to take it, another one is tried."""
    async with contextlib.AsyncExitStack() as stack:
        for tries_left in range(9, -1, -1):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = int(free.getsockname()[1])
            try:
                await stack.enter_async_context(serve_health(health, port=port))
                break
            except OSError:
                if not tries_left:
                    raise
        yield port


async def test_what_the_probes_answer() -> None:
    health = Health()
    async with served(health) as port, aiohttp.ClientSession() as session:

        async def ask(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, await answer.text()

        assert await ask("/readyz") == (503, "starting")
        assert await ask("/livez") == (200, "ok")
        health.ready = True
        assert await ask("/readyz") == (200, "standby")
        health.leading = True
        assert await ask("/readyz") == (200, "leading")
        health.checks["lease"] = lambda: "it was not renewed in time"
        assert await ask("/livez") == (503, "lease: it was not renewed in time")
        assert "sentinel_event_loop_lag_seconds" in (await ask("/metrics"))[1]


def test_the_files_of_a_process_without_a_port(tmp_path: Path) -> None:
    health = Health()
    beat(health, tmp_path / "spool")
    alive, ready = tmp_path / "spool/alive", tmp_path / "spool/ready"
    assert (alive.exists(), ready.exists()) == (True, False)
    health.ready = True
    beat(health, tmp_path / "spool")
    assert ready.exists()
    # A probe looks at its age: from now on it only gets older.
    old = time.time() - 3600
    os.utime(alive, (old, old))
    health.checks["threads"] = lambda: "1 is stuck"
    beat(health, tmp_path / "spool")
    assert alive.stat().st_mtime == old
    health.checks.clear()
    beat(health, tmp_path / "spool")
    assert alive.stat().st_mtime > old


def test_ready_of_an_earlier_run_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    beat(Health(), tmp_path)
    assert not (tmp_path / "ready").exists()
