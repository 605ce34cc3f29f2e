from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.clocks import Hasty
from tests.unit.kube.server import Server, kubeconfig

from sentinel.kube.client import Kube


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def clock() -> Hasty:
    return Hasty()


@pytest.fixture
async def kube(server: Server, clock: Hasty, tmp_path: Path) -> AsyncIterator[Kube]:
    config = kubeconfig(tmp_path / "kubeconfig", server.url, {"token": "s3cret"})
    async with await Kube.connect(
        user_agent="sentinel-test/1", kubeconfig=config, clock=clock
    ) as kube:
        yield kube
