"""The operator as a process of this machine, in place of the installed one: started, killed, started again."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.install import IMAGE, NAMESPACE, OPERATOR, ROOT, scale_operator
from tests.kubectl import Kubectl
from tests.lab.state import Lab

SELECTOR = OPERATOR
STARTED_WITHIN = 240.0
"""Seconds until a new process must lead: a busy machine takes its time to import what it needs."""


_away: list[Lab] = []
"""Not empty while the installed operator is away: a block within a block changes nothing."""


@asynccontextmanager
async def in_its_stead(lab: Lab) -> AsyncIterator[None]:
    """The installed operator is away while the block runs, and back and ready afterwards, whatever happened."""
    if _away:
        yield
        return
    kubectl = Kubectl(lab)
    _away.append(lab)
    try:
        await asyncio.to_thread(scale_operator, kubectl, 0)
        yield
    finally:
        _away.clear()
        await asyncio.shield(asyncio.to_thread(scale_operator, kubectl, 1))


@dataclass(kw_only=True)
class HostOperator:
    """`python -m sentinel operator` against the lab, for the Builds of some namespaces.

    `name` is its identity in the Lease, `log` a file that all its processes append to, `prefix` a command that runs
    it (`unshare`), `more` further settings. `began` is when the present process was started, on the monotonic clock.
    """

    lab: Lab
    namespaces: Sequence[str]
    log: Path
    name: str = "chaos-operator"
    kubeconfig: str = ""
    prefix: Sequence[str] = ()
    more: dict[str, str] = field(default_factory=dict)
    began: float = 0.0
    _process: asyncio.subprocess.Process | None = None
    _port: int = 0

    async def start(self) -> None:
        """Start a process; it does not lead yet."""
        assert self._process is None
        self._port = _free_port()
        self.began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.prefix,
                sys.executable,
                "-m",
                "sentinel",
                "operator",
                env=self._environ(),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def lead(self) -> float:
        """Wait until it leads and drives builds; seconds since the process was started."""
        async with asyncio.timeout(STARTED_WITHIN), aiohttp.ClientSession() as session:
            while True:
                if self._process is None or self._process.returncode is not None:
                    raise RuntimeError(f"the operator ended by itself; see {self.log}")
                try:
                    async with session.get(f"http://127.0.0.1:{self._port}/readyz") as answer:
                        if await answer.text() == "leading":
                            return time.monotonic() - self.began
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)

    @property
    def running(self) -> bool:
        """Whether a process is there and has not ended by itself."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL: nothing is released, nothing is said."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def stop(self) -> None:
        """SIGTERM: the Lease is handed back, so that the next one need not wait for it to run out."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _environ(self) -> dict[str, str]:
        lab = self.lab
        return {
            **os.environ,
            **lab.environ(),
            "PYTHONPATH": f"{ROOT}/operator",
            "KUBECONFIG": self.kubeconfig or lab.kubeconfig,
            "SENTINEL_POD_NAME": self.name,
            "SENTINEL_POD_NAMESPACE": NAMESPACE,
            "SENTINEL_NAMESPACES": json.dumps(list(self.namespaces)),
            "SENTINEL_HEALTH_PORT": str(self._port),
            "SENTINEL_IMAGE": IMAGE,
            "SENTINEL_AGENT_SERVICE_ACCOUNT": "sentinel-agent",
            "SENTINEL_LOG_FORMAT": "text",
            "SENTINEL_IMAGES__PREFIX": f"{lab.registry}/builds",
            "SENTINEL_IMAGES__INSECURE_REGISTRIES": json.dumps([lab.registry]),
            "SENTINEL_STORE__BUCKET": lab.s3_bucket,
            "SENTINEL_STORE__ENDPOINT": lab.s3_endpoint,
            "SENTINEL_STORE__ACCESS_KEY_ID": lab.s3_access_key,
            "SENTINEL_STORE__SECRET_ACCESS_KEY": lab.s3_secret_key,
            **self.more,
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
