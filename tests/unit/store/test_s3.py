"""The store against a server that answers what a test tells it to. The real protocol: tests/cluster."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.store.s3server import Server, settings

from sentinel.api.reasons import Reason
from sentinel.errors import GoneError, InfrastructureError
from sentinel.settings import StoreSettings
from sentinel.store.objects import ObjectInfo, ObjectStore
from sentinel.store.probe import probe


@pytest.fixture
def store(server: Server) -> Iterator[ObjectStore]:
    store = ObjectStore.from_settings(settings(server.server_port))
    assert store is not None
    yield store
    store.close()


def test_without_a_bucket_there_is_no_store() -> None:
    assert ObjectStore.from_settings(StoreSettings()) is None


def test_a_presigned_get_asks_for_no_header_and_no_server(
    store: ObjectStore, server: Server
) -> None:
    parts = urlsplit(store.presign_get("ns/step/a b/log.txt"))
    query = parse_qs(parts.query)
    assert (parts.netloc, parts.path) == (
        f"127.0.0.1:{server.server_port}",
        "/bucket/ns/step/a%20b/log.txt",
    )
    assert (query["X-Amz-Expires"], query["X-Amz-SignedHeaders"]) == (["600"], ["host"])
    assert set(query) == {
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    }
    assert server.headers == []


@pytest.mark.parametrize("once", [True, False])
def test_a_presigned_put_is_for_these_bytes_and_for_a_short_time(
    store: ObjectStore, once: bool
) -> None:
    url, headers = store.presign_put("ns/log.txt", size=5, sha256="ab12", once=once)
    query = parse_qs(urlsplit(url).query)
    signed = {"content-length", "host", "x-amz-meta-sha256"} | (
        {"if-none-match"} if once else set()
    )
    assert set(query["X-Amz-SignedHeaders"][0].split(";")) == signed
    assert headers == {"x-amz-meta-sha256": "ab12"} | ({"If-None-Match": "*"} if once else {})
    assert query["X-Amz-Expires"] == ["600"]


async def test_bytes_that_were_not_signed_for_are_found_out(
    store: ObjectStore, server: Server
) -> None:
    server.objects["log"] = b"forged"
    server.digests["log"] = hashlib.sha256(b"the real one").hexdigest()
    with pytest.raises(InfrastructureError, match="log was changed: its sha256 is") as caught:
        await store.get("log")
    assert caught.value.reason is Reason.STORE_FAILED
    server.objects["log"] = b"the real one"
    assert await store.get("log") == b"the real one"


async def test_an_object_is_written_seen_and_read(store: ObjectStore, server: Server) -> None:
    await store.put("a/b", b"bytes")
    seen = await store.head("a/b")
    assert seen is not None
    assert replace(seen, modified=None) == ObjectInfo(key="a/b", size=5, etag="e")
    assert await store.get("a/b") == b"bytes"
    assert [name for name in server.headers[0] if "checksum" in name] == []


async def test_what_is_missing_is_none_or_gone(store: ObjectStore) -> None:
    assert await store.head("nope") is None
    with pytest.raises(GoneError, match="cannot get nope: there is no such object"):
        await store.get("nope")


async def test_a_prefix_is_listed_over_pages_and_deleted(
    store: ObjectStore, server: Server
) -> None:
    server.objects = {f"a/{i}": b"x" * i for i in range(5)} | {"b/1": b"stays"}
    found = [replace(info, modified=None) for info in await store.list("a/")]
    assert found == [ObjectInfo(key=f"a/{i}", size=i, etag="e") for i in range(5)]
    assert await store.delete_prefix("a/") == 5
    assert server.objects == {"b/1": b"stays"}


@pytest.mark.parametrize("prefix", ["", "/"])
async def test_the_whole_bucket_is_never_deleted(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(ValueError, match="needs a prefix"):
        await store.delete_prefix(prefix)


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ((404, "NoSuchBucket"), "Create the bucket or correct store.bucket"),
        ((403, "InvalidAccessKeyId"), "Check the keys of the store"),
        ((403, "SignatureDoesNotMatch"), "Check the keys of the store"),
    ],
)
async def test_a_check_says_what_to_set(
    store: ObjectStore, server: Server, refusal: tuple[int, str], advice: str
) -> None:
    await store.check()
    server.refusal = refusal
    with pytest.raises(InfrastructureError, match=advice) as caught:
        await store.check()
    assert caught.value.reason is Reason.STORE_FAILED
    assert "very-secret" not in caught.value.message
    assert f"bucket 'bucket' at http://127.0.0.1:{server.server_port}" in caught.value.message


async def test_a_refusal_quotes_the_server(store: ObjectStore, server: Server) -> None:
    server.refusal = (403, "AccessDenied")
    with pytest.raises(InfrastructureError, match=r"the server says AccessDenied: because\. Allow"):
        await store.put("a", b"")


async def test_a_deletion_that_fails_is_one_plain_error(store: ObjectStore, server: Server) -> None:
    server.objects = {"a/1": b"", "a/2": b""}
    server.refuse_deletes = True
    with pytest.raises(InfrastructureError, match="cannot delete a/"):
        await store.delete_prefix("a/")


async def test_a_server_that_does_not_exist_is_named() -> None:
    store = ObjectStore.from_settings(settings(1))
    assert store is not None
    with pytest.raises(InfrastructureError, match="Could not connect to the endpoint URL"):
        await store.check()
    store.close()


def made_with(server: Server, **more: Any) -> ObjectStore:
    known = settings(server.server_port).model_copy(update=more)
    store = ObjectStore.from_settings(known)
    assert store is not None
    return store


def test_the_bucket_stands_in_the_path_or_in_the_host_s_name(server: Server) -> None:
    hosts = {}
    for style in ("auto", "path", "virtual"):
        endpoint = f"http://localhost:{server.server_port}"
        store = made_with(server, addressing_style=style, endpoint=endpoint)
        hosts[style] = urlsplit(store.presign_get("key"))[1:3]
        store.close()
    port = server.server_port
    assert hosts["auto"] == hosts["path"] == (f"localhost:{port}", "/bucket/key")
    assert hosts["virtual"] == (f"bucket.localhost:{port}", "/key")


@pytest.mark.parametrize(
    ("asked", "headers"),
    [
        ({}, {}),
        ({"sse": "AES256"}, {"x-amz-server-side-encryption": "AES256"}),
        (
            {"sse": "aws:kms", "sse_kms_key_id": "arn:key"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "arn:key",
            },
        ),
        ({"sse": "", "sse_kms_key_id": "arn:key"}, {}),
    ],
    ids=["none", "the server's key", "KMS", "a key without KMS"],
)
async def test_encryption_is_asked_for_by_every_put_and_signed(
    server: Server, asked: dict[str, str], headers: dict[str, str]
) -> None:
    store = made_with(server, **asked)
    url, sent = store.presign_put("key", size=1, sha256="ab")
    assert {name: value for name, value in sent.items() if "encryption" in name} == headers
    signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert set(headers) <= set(signed)
    await store.put("other", b"data")
    (request,) = server.headers
    assert {name: value for name, value in request.items() if "server-side" in name} == headers
    store.close()


async def test_the_probe_says_what_is_wrong_once_and_when_it_is_right(
    server: Server, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = [(403, "RequestTimeTooSkewed"), (403, "RequestTimeTooSkewed"), (404, "NoSuchBucket")]
    server.refusal = refusals.pop(0)

    class Clock:
        async def sleep(self, seconds: float) -> None:
            assert seconds >= 10
            server.refusal = refusals.pop(0) if refusals else None

    with caplog.at_level("INFO", logger="sentinel.store.probe"):
        await probe(store, prefix="/ci/", clock=cast(Any, Clock()))
    first, second, last = (each.getMessage() for each in caplog.records)
    assert first.startswith(
        f"the object store cannot be used: bucket 'bucket' at http://127.0.0.1:{server.server_port}: cannot put "
        "ci/.sentinel-probe: the server says RequestTimeTooSkewed"
    )
    assert first.endswith("differ by more than 15 minutes")
    assert second.endswith("Create the bucket or correct store.bucket")
    assert last == "the object store can be used now"
    assert server.objects == {}


async def test_a_server_that_is_not_reached_says_what_to_check(server: Server) -> None:
    server.shutdown()
    server.server_close()
    store = made_with(server)
    with pytest.raises(InfrastructureError, match=r"Check store\.endpoint"):
        await store.check()
    store.close()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, for 127.0.0.1, and its key."""
    ca, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(ca)),
        ],
        check=True,
        capture_output=True,
    )
    return ca, key


async def test_an_authority_of_its_own_is_trusted(authority: tuple[Path, Path]) -> None:
    """A store behind a certificate that no system knows: refused with what to set, and used with store.ca."""
    ca, key = authority
    server = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    endpoint = f"https://127.0.0.1:{server.server_port}"
    try:
        foreign = made_with(server, endpoint=endpoint)
        with pytest.raises(InfrastructureError, match=r"into store\.ca"):
            await foreign.check()
        foreign.close()
        known = made_with(server, endpoint=endpoint, ca=ca.read_text())
        await known.check()
        known.close()
    finally:
        server.shutdown()
        server.server_close()
