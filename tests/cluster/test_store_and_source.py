"""The object store and git servers of the lab: real S3, real smart http."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import aiohttp
import pytest
from pydantic import SecretStr
from tests.lab.state import Lab

from sentinel.api.reasons import Reason
from sentinel.errors import GoneError, InfrastructureError
from sentinel.settings import StoreSettings
from sentinel.store.s3 import ObjectInfo, ObjectStore


def settings(lab: Lab, **changes: str) -> StoreSettings:
    return StoreSettings(
        bucket=changes.get("bucket", lab.s3_bucket),
        endpoint=lab.s3_endpoint,
        access_key_id=SecretStr(lab.s3_access_key),
        secret_access_key=SecretStr(changes.get("secret", lab.s3_secret_key)),
    )


@pytest.fixture
def store(lab: Lab) -> Iterator[ObjectStore]:
    store = ObjectStore.from_settings(settings(lab))
    assert store is not None
    yield store
    store.close()


async def test_a_presigned_url_carries_bytes_both_ways(store: ObjectStore) -> None:
    prefix = f"test-{uuid.uuid4().hex}/"
    key, data = prefix + "step/a b+ü/log.txt", b"line\n" * 100_000
    async with aiohttp.ClientSession() as http:
        async with http.put(store.presign_put(key), data=data) as answer:
            assert answer.status == 200, await answer.text()
        async with http.get(store.presign_get(key)) as answer:
            assert (answer.status, await answer.read()) == (200, data)
        async with http.put(store.presign_get(key), data=b"") as answer:
            assert answer.status == 403, "a URL to read does not allow to write"
    head = await store.head(key)
    assert head == ObjectInfo(key=key, size=len(data), etag=head.etag if head else "")
    assert await store.list(prefix) == [head]
    assert await store.delete_prefix(prefix) == 1
    assert await store.list(prefix) == []


async def test_an_object_is_written_read_and_gone(store: ObjectStore) -> None:
    prefix = f"test-{uuid.uuid4().hex}/"
    await store.check()
    await store.put(prefix + "x", b"hello")
    assert await store.get(prefix + "x") == b"hello"
    await store.delete_prefix(prefix)
    assert await store.head(prefix + "x") is None
    with pytest.raises(GoneError):
        await store.get(prefix + "x")


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"bucket": "no-such-bucket"}, "Create the bucket or correct store.bucket"),
        ({"secret": "wrong"}, "Check the keys of the store"),
    ],
)
async def test_a_store_that_is_set_up_wrong_says_how(
    lab: Lab, changes: dict[str, str], advice: str
) -> None:
    store = ObjectStore.from_settings(settings(lab, **changes))
    assert store is not None
    with pytest.raises(InfrastructureError, match=advice) as caught:
        await store.check()
    assert caught.value.reason is Reason.STORE_FAILED
    store.close()
