"""What a store can do, whichever it is: an S3 server's bucket, or a directory behind `sentinel store`.

::

    ObjectStore                   presigned URLs for boxkit, and the few small objects that we read and write ourselves
    ├── store/s3.py               by the S3 protocol, with boto3
    └── store/directory.py        by signed requests to a server of ours (store/server.py)

tests/unit/store/test_contract.py holds for both.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime, timedelta

    from sentinel.settings.store import StoreSettings

DIGEST_HEADER = "x-amz-meta-sha256"
"""Holds the sha256 (hex) that an object was stored with, in the answer to a GET. boxkit compares it."""

PUT_SECONDS = 900
"""For which a URL to PUT to is valid, beside what the bytes take at SLOWEST."""
SLOWEST = 256 * 1024
"""Bytes a second."""
LONGEST = 7 * 24 * 3600
"""Seconds that a URL is valid at most."""


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """An object without its bytes. `size` in bytes; `etag` without quotes; `modified` as the server's clock has it.

    `sha256` (hex) is that of the bytes that it was stored with, where `head` found one.
    """

    key: str
    size: int
    etag: str
    modified: datetime | None = None
    sha256: str = ""

    def is_older(self, age: timedelta, *, now: datetime) -> bool:
        """Whether it was written longer ago than `age`; False where the server did not say when."""
        return self.modified is not None and now - self.modified > age


class ObjectStore(ABC):
    """Errors are InfrastructureError STORE_FAILED; they name the store and what to set, and never a key of ours.

    Presigning is computed locally; the coroutines do I/O. `close` when done.
    """

    @staticmethod
    def from_settings(settings: StoreSettings) -> ObjectStore | None:
        """The store that is configured, or None where there is none."""
        # Each is imported where it is used: boto3 takes 0.2 s and 20 MB.
        if settings.bucket:
            from sentinel.store.s3 import S3Store  # noqa: PLC0415

            return S3Store.connect(settings)
        if settings.url:
            from sentinel.store.directory import DirectoryStore  # noqa: PLC0415

            return DirectoryStore(settings)
        return None

    @abstractmethod
    def presign_put(
        self, key: str, *, size: int, sha256: str, once: bool = True
    ) -> tuple[str, dict[str, str]]:
        """A URL to PUT these very bytes to, and the headers that must be sent with it: they are signed too.

        The URL is for `size` bytes with this `sha256` (hex): others are refused, or `get` finds them out. With `once`
        it does not replace an object that is there (HTTP 412); not every S3 server knows that.
        """

    @abstractmethod
    def presign_get(self, key: str, *, seconds: int = 0) -> str:
        """A URL to GET the object from, valid for `seconds`, or as the settings say."""

    @abstractmethod
    async def get(self, key: str) -> bytes:
        """The object's bytes. GoneError where there is none. For small objects.

        InfrastructureError StoreFailed where they are not those that the object was signed for.
        """

    @abstractmethod
    async def head(self, key: str) -> ObjectInfo | None:
        """Size, etag, age and sha256, or None where there is no such object."""

    async def size(self, key: str) -> int | None:
        """Size in bytes, or None where there is no such object."""
        info = await self.head(key)
        return None if info is None else info.size

    @abstractmethod
    async def read(self, key: str, *, start: int, length: int) -> bytes:
        """`length` bytes of the object from `start`, fewer at its end. GoneError where there is none.

        Whether the object is the one that was signed for is not checked: `get` sees the whole of it.
        """

    @abstractmethod
    async def put(self, key: str, data: bytes) -> None:
        """Write a small object, over what was there."""

    @abstractmethod
    def pages(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        """The objects below the prefix, in the store's order (by key), with only one page of 1,000 in memory."""

    async def list(self, prefix: str) -> list[ObjectInfo]:
        """Every object below the prefix."""
        return [info async for page in self.pages(prefix) for info in page]

    async def delete_prefix(self, prefix: str) -> int:
        """Delete every object below the prefix; how many. An empty prefix is refused: it would be the whole store."""
        if not prefix.strip("/"):
            raise ValueError("delete_prefix needs a prefix")
        found = await self.list(prefix)
        # One by one: the batch call needs a checksum that every other S3 server wants in another header.
        await asyncio.gather(*(self.delete(info.key) for info in found))
        return len(found)

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Delete one object; that it is gone already is no error."""

    @abstractmethod
    async def check(self) -> None:
        """Reach the store, or InfrastructureError that says what is wrong and what to set."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections and threads; what runs is finished."""
