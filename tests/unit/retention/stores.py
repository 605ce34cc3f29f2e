"""A store in memory whose objects have ages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from tests.unit.clocks import START

from sentinel.store.objects import ObjectInfo


class AgedStore:
    """Objects by key, with the time when they were written."""

    def __init__(self, *, now: datetime = START) -> None:
        self.now = now
        self.objects: dict[str, datetime] = {}
        self.pages_read = 0

    def write(self, key: str, *, age: timedelta) -> str:
        self.objects[key] = self.now - age
        return key

    async def pages(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        for at in range(0, len(keys), 2):
            self.pages_read += 1
            yield [self._info(key) for key in keys[at : at + 2]]

    async def list(self, prefix: str) -> list[ObjectInfo]:
        return [info async for page in self.pages(prefix) for info in page]

    async def head(self, key: str) -> ObjectInfo | None:
        return self._info(key) if key in self.objects else None

    async def put(self, key: str, data: bytes) -> None:
        self.objects[key] = self.now

    async def delete(self, key: str) -> None:
        del self.objects[key]

    def close(self) -> None:
        pass

    def _info(self, key: str) -> ObjectInfo:
        return ObjectInfo(key=key, size=len(key), etag="", modified=self.objects[key])
