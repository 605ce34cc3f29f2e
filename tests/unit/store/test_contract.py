"""The contract of an object store, kept by each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.store.contract import Contract
from tests.unit.store.s3server import Server, settings

from sentinel.store.objects import ObjectStore


@pytest.fixture(params=["s3", "directory"])
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """One of the two, with its server."""
    if request.param == "directory":
        yield request.getfixturevalue("served").store
        return
    server: Server = request.getfixturevalue("server")
    store = ObjectStore.from_settings(settings(server.server_port))
    assert store is not None
    yield store
    store.close()


class TestContract(Contract):
    """Of both."""
