"""A resolver of the operator's own, where the operator does not run in our pod: on a developer's machine, in tests.

It is the same server with the same limits, but with the operator's user and files: what separates them in a pod (no
token, no credentials of the store, a memory limit of its own) is missing here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sentinel.resolver.limits import KEPT
from sentinel.settings import ResolverSettings

log = logging.getLogger(__name__)


@asynccontextmanager
async def local_resolver(settings: ResolverSettings, directory: Path) -> AsyncIterator[str]:
    """The path of a resolver's socket below `directory`; the resolver runs, and is restarted, while the block runs."""
    path = str(directory / "resolver.sock")
    task = asyncio.create_task(_keep_running(settings, path), name="resolver")
    try:
        yield path
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _keep_running(settings: ResolverSettings, path: str) -> None:
    while True:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sentinel", "resolver"),
            env=_environment(settings, path),
            # It ends when this pipe is closed, however this process ends.
            stdin=subprocess.PIPE,
        )
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        log.error("the resolver ended with exit code %s: starting it again", code)
        await asyncio.sleep(0.5)


def _environment(settings: ResolverSettings, path: str) -> dict[str, str]:
    """What it needs of our environment, and its settings; credentials of the cluster and the store stay here."""
    kept = (*KEPT, "PYTHONPATH", "PYTHONUNBUFFERED", "TMPDIR", "SENTINEL_LOG_LEVEL")
    own = {
        f"SENTINEL_RESOLVER__{name.upper()}": str(value)
        for name, value in settings.model_dump().items()
        if name != "socket"
    }
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **own,
        "SENTINEL_RESOLVER__SOCKET": path,
    }
