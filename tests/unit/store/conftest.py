"""Both stores behind real servers: S3's protocol as a test answers it, and `sentinel store`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.unit.store.s3server import Server

from sentinel.settings import StoreSettings
from sentinel.store.directory import DirectoryStore
from sentinel.store.files import Directory
from sentinel.store.objects import ObjectStore
from sentinel.store.server import StoreServer

SECRET = "0123456789abcdef" * 4


@dataclass
class Served:
    """A directory store that is served, and a client of it."""

    root: Path
    directory: Directory
    server: StoreServer
    url: str
    store: DirectoryStore

    def client(self, **more: Any) -> DirectoryStore:
        """Another client."""
        return DirectoryStore(StoreSettings(**{"url": self.url, "key": SecretStr(SECRET), **more}))


@asynccontextmanager
async def serving(root: Path, *, limit: int = 0, **more: Any) -> AsyncIterator[Served]:
    """Serve a directory, which exists, while the block runs."""
    directory = Directory(root, limit=limit)
    directory.open()
    server = StoreServer(directory, secret=SECRET, **more)
    try:
        async with server.running("127.0.0.1", 0) as url:
            store = ObjectStore.from_settings(StoreSettings(url=url, key=SecretStr(SECRET)))
            assert isinstance(store, DirectoryStore)
            try:
                yield Served(root, directory, server, url, store)
            finally:
                store.close()
    finally:
        directory.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A directory store."""
    async with serving(tmp_path) as served:
        yield served


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.shutdown()
    server.server_close()
