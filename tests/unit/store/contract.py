"""What every object store does. URLs are used as boxkit uses them."""

from __future__ import annotations

import hashlib
import io
import uuid
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from sentinel.errors import GoneError
from sentinel.store.objects import ObjectStore


def digest(data: bytes) -> str:
    """As `presign_put` wants it."""
    return hashlib.sha256(data).hexdigest()


async def put(url: str, headers: dict[str, str], data: bytes) -> int:
    """The status of a PUT."""
    body = io.BytesIO(data)
    async with aiohttp.ClientSession() as http, http.put(url, data=body, headers=headers) as answer:
        return answer.status


async def fetch(url: str, **headers: str) -> tuple[int, bytes]:
    """The status of a GET, and what came."""
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


class Contract:
    """Tests with a fixture `store`; each has keys of its own, below `at`."""

    @pytest.fixture
    def at(self) -> str:
        return f"contract-{uuid.uuid4().hex}"

    async def test_an_object_is_written_seen_read_and_replaced(
        self, store: ObjectStore, at: str
    ) -> None:
        await store.put(f"{at}/a/b", b"bytes")
        seen = await store.head(f"{at}/a/b")
        assert seen is not None
        assert (seen.key, seen.size, await store.size(f"{at}/a/b")) == (f"{at}/a/b", 5, 5)
        (listed,) = await store.list(f"{at}/a/b")
        for info in (seen, listed):
            assert not info.is_older(timedelta(minutes=1), now=datetime.now(UTC))
            assert info.is_older(timedelta(), now=datetime.now(UTC) + timedelta(minutes=1))
        assert await store.get(f"{at}/a/b") == b"bytes"
        await store.put(f"{at}/a/b", b"others")
        assert await store.get(f"{at}/a/b") == b"others"

    async def test_a_part_is_read(self, store: ObjectStore, at: str) -> None:
        await store.put(f"{at}/log", b"0123456789")
        assert await store.read(f"{at}/log", start=2, length=3) == b"234"
        assert await store.read(f"{at}/log", start=8, length=100) == b"89"

    async def test_what_is_missing_is_none_or_gone_and_can_be_deleted(
        self, store: ObjectStore, at: str
    ) -> None:
        assert await store.head(f"{at}/none") is None
        assert await store.size(f"{at}/none") is None
        for work in (
            store.get(f"{at}/none"),
            store.read(f"{at}/none", start=0, length=1),
        ):
            with pytest.raises(GoneError, match="none: there is no such object"):
                await work
        await store.delete(f"{at}/none")
        assert await store.list(f"{at}/none") == []

    async def test_a_prefix_is_listed_by_key_and_deleted(self, store: ObjectStore, at: str) -> None:
        keys = [
            f"{at}/x/1",
            f"{at}/x/a.b/1",
            f"{at}/x/a/1",
            f"{at}/x/a/2",
            f"{at}/y",
        ]
        for size, key in enumerate(keys):
            await store.put(key, b"x" * size)
        found = await store.list(f"{at}/x/")
        assert [(info.key, info.size) for info in found] == [
            (key, size) for size, key in enumerate(keys[:4])
        ]
        pages = [[info.key for info in page] async for page in store.pages(f"{at}/x/")]
        assert [key for page in pages for key in page] == keys[:4]
        # A prefix may end within a name.
        assert [info.key for info in await store.list(f"{at}/x/a")] == keys[1:4]
        assert await store.delete_prefix(f"{at}/x/a") == 3
        assert [info.key for info in await store.list(f"{at}/")] == [keys[0], keys[4]]

    @pytest.mark.parametrize("prefix", ["", "/"])
    async def test_everything_is_never_deleted(self, store: ObjectStore, prefix: str) -> None:
        with pytest.raises(ValueError, match="needs a prefix"):
            await store.delete_prefix(prefix)

    @pytest.mark.parametrize("data", [b"", b"line\n" * 100_000], ids=["nothing", "500 KB"])
    async def test_urls_carry_bytes_both_ways(
        self, store: ObjectStore, at: str, data: bytes
    ) -> None:
        url, headers = store.presign_put(f"{at}/u", size=len(data), sha256=digest(data))
        assert await put(url, headers, data) == 200
        assert await store.get(f"{at}/u") == data
        info = await store.head(f"{at}/u")
        assert info is not None
        assert (info.size, info.sha256) == (len(data), digest(data))
        there = store.presign_get(f"{at}/u", seconds=60)
        assert await fetch(there) == (200, data)
        assert await fetch(there) == (200, data)

    async def test_a_url_that_stores_once_replaces_nothing(
        self, store: ObjectStore, at: str
    ) -> None:
        await store.put(f"{at}/once", b"first")
        url, headers = store.presign_put(f"{at}/once", size=5, sha256=digest(b"other"))
        # What boxkit takes as stored by an earlier try of its own.
        assert (await put(url, headers, b"other"), headers["If-None-Match"]) == (412, "*")
        assert await store.get(f"{at}/once") == b"first"
        url, headers = store.presign_put(f"{at}/once", size=5, sha256=digest(b"other"), once=False)
        assert await put(url, headers, b"other") == 200
        assert await store.get(f"{at}/once") == b"other"

    async def test_check_passes_where_the_store_can_be_used(self, store: ObjectStore) -> None:
        await store.check()
