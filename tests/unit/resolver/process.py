"""A real resolver process, and what tests ask it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentinel.clock import Clock
from sentinel.resolver.client import Resolver
from sentinel.resolver.shelf import Shelf
from sentinel.settings import ResolverSettings


@dataclass(kw_only=True)
class ResolverProcess:
    """`sentinel resolver` with these limits, below `directory`; started, killed, started again."""

    directory: Path
    limits: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> ResolverSettings:
        return ResolverSettings(
            socket=str(self.directory / "resolver.sock"),
            scratch=str(self.directory / "scratch"),
            **self.limits,
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self, *, patience: float = 150.0, clock: Clock | None = None) -> Resolver:
        shelf = Shelf(self.directory / "shelf", limit=1 << 20, largest=1 << 20)
        return Resolver(
            self.settings.socket,
            settings=self.settings,
            shelf=shelf,
            patience=patience,
            clock=clock,
        )

    def start(self) -> None:
        """Start it; it does not serve yet."""
        assert self._process is None
        values = {
            f"SENTINEL_RESOLVER__{k.upper()}": str(v) for k, v in self.settings.model_dump().items()
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sentinel", "resolver"],
            env={**os.environ, **values},
            stdin=subprocess.PIPE,
        )

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def stop(self) -> None:
        """Close its lifeline, as an operator that ends does, and wait for it."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(150)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                raise

    def children(self) -> list[int]:
        """Processes that come from it, however far down."""
        found, todo = [], [self.pid]
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                except OSError:
                    continue
                if fields[0] != b"Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
        while todo:
            below = parents.get(todo.pop(), [])
            found += below
            todo += below
        return found

    def left(self) -> list[str]:
        """What lies in its scratch directory."""
        return sorted(each.name for each in (self.directory / "scratch").glob("*"))


async def until(holds: Callable[[], Any], *, seconds: float = 150) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("it never held")
        await asyncio.sleep(0.02)
