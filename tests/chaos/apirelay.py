"""A relay between the operator and the API server that knows an exec from other requests, and breaks connections.

The operator speaks plain HTTP to it, on loopback; it speaks TLS to the API server with the lab's own certificate. So it
sees where an exec begins, and can break that stream at any byte, either way: the bytes of its WebSocket frames.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from sentinel.clock import SystemClock
from sentinel.kube import credentials
from tests.chaos.relay import Fate, Pair

KINDS = ("abort", "end", "dead both ways", "dead upwards", "dead downwards")
WEIGHTS = (47, 47, 2, 2, 2)
"""A dead connection costs a heartbeat of fifteen seconds or a silence of forty-five."""
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n"
    b"Connection: close\r\n\r\nrefused"
)


@dataclass(kw_only=True)
class ApiRelay:
    """`async with` it. `cuts` counts broken exec streams by kind, `others` broken connections of other requests.

    `longest`: bytes after which an exec stream breaks at the latest, in the direction that was drawn; 0: none does.
    `other_share`: how many of the other connections break, at a random moment within ten seconds.
    `refuse`: execs are answered with 503 while it is set. `refused` counts those.
    """

    kubeconfig: str
    directory: Path
    dice: random.Random
    longest: int = 0
    other_share: float = 0.0
    refuse: bool = False
    refused: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    others: int = 0
    execs: int = 0
    _cutting: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def own_kubeconfig(self) -> str:
        """A kubeconfig that leads through the relay."""
        return str(self.directory / "kubeconfig")

    async def __aenter__(self) -> Self:
        found = await credentials.load(kubeconfig=self.kubeconfig, clock=SystemClock())
        self._tls = found.tls()
        self._far = urlsplit(found.server)
        self._server = await asyncio.start_server(self._accept, host="127.0.0.1", port=0)
        port = self._server.sockets[0].getsockname()[1]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "relay",
            "clusters": [{"name": "relay", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "contexts": [{"name": "relay", "context": {"cluster": "relay", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}],
        }
        await asyncio.to_thread(Path(self.own_kubeconfig).write_text, json.dumps(config))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._join((reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cut_execs(self) -> None:
        """Break every exec stream that is open now."""
        self._cutting.set()
        self._cutting = asyncio.Event()

    async def _join(self, near: Pair) -> None:
        fate = Fate(kind="", way="", left=0)
        far: Pair | None = None
        pumps: list[asyncio.Task[None]] = []
        try:
            with suppress(OSError):
                far = await asyncio.open_connection(
                    self._far.hostname, self._far.port, ssl=self._tls
                )
                pumps = [
                    asyncio.create_task(self._up(near, far[1], fate)),
                    asyncio.create_task(self._pump(far[0], near[1], fate, "down")),
                ]
                if self.dice.random() < self.other_share:
                    pumps.append(asyncio.create_task(self._break_other(fate)))
                pumps.append(asyncio.create_task(self._cut_when_due(fate)))
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for _, writer in (near, far) if far is not None else (near,):
                if fate.kind == "abort" and fate.struck:
                    writer.transport.abort()
                else:
                    writer.close()

    async def _cut_when_due(self, fate: Fate) -> None:
        while True:
            await self._cutting.wait()
            if fate.kind:
                fate.kind, fate.struck = "abort", True
                return

    async def _break_other(self, fate: Fate) -> None:
        """End the connection some time, unless an exec has taken it over."""
        await asyncio.sleep(self.dice.uniform(0, 10))
        if fate.kind:
            await asyncio.Event().wait()
        self.others += 1
        fate.kind, fate.struck = "abort", True

    async def _up(self, near: Pair, writer: asyncio.StreamWriter, fate: Fate) -> None:
        """Requests, until one of them is an exec; from there on the bytes of its stream."""
        while data := await near[0].read(65536):
            if b"/exec?" in data.partition(b"\r\n")[0]:
                self.execs += 1
                if self.refuse:
                    self.refused += 1
                    near[1].write(REFUSAL)
                    await near[1].drain()
                    return
                if self.longest:
                    fate.kind = self.dice.choices(KINDS, WEIGHTS)[0]
                    fate.way = self.dice.choices(("up", "down"), (1, 3))[0]
                    fate.left = max(1, int(self.longest ** self.dice.random()))
                else:
                    fate.kind = "none"
                if await self._give(data, writer, fate, "up"):
                    await self._pump(near[0], writer, fate, "up")
                return
            writer.write(data)
            await writer.drain()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: Fate, way: str
    ) -> None:
        while data := await reader.read(65536):
            if not await self._give(data, writer, fate, way):
                return

    async def _give(self, data: bytes, writer: asyncio.StreamWriter, fate: Fate, way: str) -> bool:
        """Pass bytes on as the connection's fate has it. False when it is to end."""
        if way == fate.way and not fate.struck:
            data, rest = data[: fate.left], data[fate.left :]
            fate.left -= len(data)
            writer.write(data)
            await writer.drain()
            if fate.left > 0:
                return True
            fate.struck = True
            self.cuts[fate.kind] += 1
            if not fate.kind.startswith("dead"):
                return False
            data = rest
        dead = {
            "dead both ways": ("up", "down"),
            "dead upwards": ("up",),
            "dead downwards": ("down",),
        }
        if not (fate.struck and way in dead.get(fate.kind, ())):
            writer.write(data)
            await writer.drain()
        return True
