"""The operator put together: what it does where it must not go on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from tests.unit.test_layout import ROOT

from sentinel import app
from sentinel.settings import Settings

CODE = """
import os
turn = int(os.environ.get("TURN", "0"))
print(os.getpid(), turn, flush=True)
os.environ["TURN"] = str(turn + 1)
if turn < 2:
    from sentinel.app import begin_anew
    begin_anew()
"""


@pytest.mark.timeout(300)  # it imports the whole operator twice
def test_an_operator_that_lost_the_lease_restarts_in_the_same_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        check=True,
    )
    turns = [line.split() for line in done.stdout.splitlines()]
    assert [turn for _, turn in turns] == ["0", "1", "2"]
    assert len({pid for pid, _ in turns}) == 1


class Lease:
    """A Lease that another operator holds, or, with `free`, one that is had at the moment of the signal."""

    free: ClassVar[bool] = False
    made: ClassVar[list[Lease]] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        self.waiting = asyncio.Event()
        self.released = False
        self.made.append(self)

    async def acquire(self) -> None:
        self.waiting.set()
        if self.free:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(20):
                await asyncio.sleep(0)
            return
        await asyncio.Event().wait()

    async def release(self) -> None:
        self.released = True


class Connection:
    @classmethod
    async def connect(cls, **_: Any) -> Connection:
        return cls()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.fixture
def as_pid_1() -> Iterator[None]:
    """A process that ignores SIGTERM unless it handles it, as PID 1 of a container does."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("free", [False, True])
async def test_a_standby_ends_on_sigterm_and_leaves_the_lease_to_another(
    monkeypatch: pytest.MonkeyPatch, as_pid_1: None, free: bool
) -> None:
    async def served(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(app, "Kube", Connection)
    monkeypatch.setattr(app, "check_installed", served)
    monkeypatch.setattr(app, "LeaderLease", Lease)
    monkeypatch.setattr(Lease, "free", free)
    monkeypatch.setattr(Lease, "made", [])
    running = asyncio.create_task(app.run_operator(Settings(health_port=0)))
    while not Lease.made:
        await asyncio.sleep(0)
    (lease,) = Lease.made
    await lease.waiting.wait()
    if not free:
        os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(30):
        await running
    assert lease.released


ROLE = """
import os, signal, sys
from sentinel.cli import roles

class Imports:
    def find_spec(self, name, *_):
        # A role that is still being imported is told to end.
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as for PID 1
sys.meta_path.insert(0, Imports())
getattr(roles, sys.argv[2]).main([])
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("module", "role"),
    [
        ("sentinel.app", "operator"),
        ("sentinel.agent.app", "agent"),
        ("sentinel.resolver.main", "resolver"),
        ("sentinel.reports.app", "reporter"),
        ("sentinel.results.app", "results"),
    ],
)
def test_a_role_that_is_still_being_imported_ends_on_sigterm(module: str, role: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ROLE, module, role],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator"), "SENTINEL_LOG_FORMAT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
