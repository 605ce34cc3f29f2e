"""A relay before boxkit's socket whose connections break: at any byte, either way, loudly or without a word."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
KINDS = ("abort", "end", "dead both ways", "dead upwards", "dead downwards")
WEIGHTS = (45, 45, 4, 3, 3)
"""A dead connection costs a silence, a cut one nothing: so that most of the time is not spent waiting."""


@dataclass(kw_only=True)
class Fate:
    """What becomes of one connection: `kind` happens after `left` bytes that went `way`."""

    kind: str
    way: str
    left: int
    struck: bool = False


@dataclass(kw_only=True)
class CuttingRelay:
    """`async with` it: listens on `path` and joins each connection to one of `far`. `cuts` counts those that broke.

    A dead connection stays open and swallows what it is given, as a router does that has forgotten it.
    """

    path: Path
    far: Callable[[], Awaitable[Pair]]
    dice: random.Random
    longest: int
    cuts: Counter[str] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, path=str(self.path))
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

    def _draw(self) -> Fate:
        # As many small numbers as large ones: the first bytes of a connection are the interesting ones.
        return Fate(
            kind=self.dice.choices(KINDS, WEIGHTS)[0],
            way=self.dice.choices(("up", "down"), (1, 4))[0],
            left=int(self.longest ** self.dice.random()),
        )

    async def _join(self, near: Pair) -> None:
        fate = self._draw()
        far: Pair | None = None
        pumps: list[asyncio.Task[None]] = []
        try:
            with suppress(OSError):
                far = await self.far()
                pumps = [
                    asyncio.create_task(self._pump(near[0], far[1], fate, "up")),
                    asyncio.create_task(self._pump(far[0], near[1], fate, "down")),
                ]
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

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: Fate, way: str
    ) -> None:
        while data := await reader.read(4096):
            if not fate.struck and way == fate.way:
                data, rest = data[: fate.left], data[fate.left :]
                fate.left -= len(data)
                writer.write(data)
                await writer.drain()
                if fate.left > 0 and not rest:
                    continue
                fate.struck = True
                self.cuts[fate.kind] += 1
                if not fate.kind.startswith("dead"):
                    return
                data = rest
            dead = {"dead both ways": ("up", "down"), "dead upwards": ("up",)}
            if fate.struck and way in dead.get(fate.kind, ("down",)):
                continue
            writer.write(data)
            await writer.drain()
