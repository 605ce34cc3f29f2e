from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.source.conftest import forget_hosts, loopback
from tests.unit.steps.servers import LAB, Scripted, scripted

from sentinel.steps.serve import StepServer

__all__ = ["forget_hosts", "loopback"]


@pytest.fixture
async def lab() -> AsyncIterator[str]:
    """The URL of a registry with the steps of tests/steps, as `sentinel steps serve` is one."""
    async with StepServer(LAB).running("127.0.0.1", 0) as url:
        yield url


@pytest.fixture
async def script() -> AsyncIterator[Scripted]:
    async with scripted() as server:
        yield server


@pytest.fixture
async def other() -> AsyncIterator[Scripted]:
    """A second host."""
    async with scripted() as server:
        yield server
