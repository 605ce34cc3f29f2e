"""The store against a server that answers what a test tells it to. The real protocol: tests/cluster."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from sentinel.api.reasons import Reason
from sentinel.errors import GoneError, InfrastructureError
from sentinel.settings import StoreSettings
from sentinel.store.s3 import ObjectInfo, ObjectStore


class Server(ThreadingHTTPServer):
    """Objects of one bucket, by path-style URLs; `refusal` is (status, S3 error code) for every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.refusal: tuple[int, str] | None = None
        self.refuse_deletes = False
        self.headers: list[dict[str, str]] = []
        self.thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle_any(self) -> None:
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        key = parts.path.removeprefix("/bucket").lstrip("/")
        store = self.server.objects
        if self.server.refusal:
            self.answer(*self.server.refusal)
        elif self.command == "DELETE" and self.server.refuse_deletes:
            self.answer(403, "AccessDenied")
        elif self.command == "PUT":
            store[key] = body
            self.answer(200)
        elif self.command == "DELETE":
            store.pop(key, None)
            self.answer(204)
        elif not key and self.command == "GET":
            self.answer(200, content=self.listing(parse_qs(parts.query)))
        elif not key or key in store:
            self.answer(200, content=store.get(key, b""), digest=self.server.digests.get(key, ""))
        else:
            self.answer(404, "NoSuchKey")

    do_GET = do_PUT = do_HEAD = do_DELETE = handle_any

    def listing(self, query: dict[str, list[str]]) -> bytes:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        names = sorted(k for k in self.server.objects if k.startswith(prefix) and k > after)
        page, rest = names[:2], names[2:]
        rows = "".join(
            f'<Contents><Key>{k}</Key><Size>{len(self.server.objects[k])}</Size><ETag>"e"</ETag></Contents>'
            for k in page
        )
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if rest else ""
        truncated = "true" if rest else "false"
        return (
            f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{rows}</ListBucketResult>"
        ).encode()

    def answer(self, status: int, code: str = "", content: bytes = b"", digest: str = "") -> None:
        if code:
            content = f"<Error><Code>{code}</Code><Message>because</Message></Error>".encode()
        self.send_response(status)
        self.send_header("ETag", '"e"')
        if digest:
            self.send_header("x-amz-meta-sha256", digest)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def settings(port: int) -> StoreSettings:
    return StoreSettings(
        bucket="bucket",
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id=SecretStr("access"),
        secret_access_key=SecretStr("very-secret"),
        url_seconds=600,
    )


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
    assert await store.head("a/b") == ObjectInfo(key="a/b", size=5, etag="e")
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
    assert await store.list("a/") == [ObjectInfo(key=f"a/{i}", size=i, etag="e") for i in range(5)]
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


async def test_a_server_that_is_not_there_is_named() -> None:
    store = ObjectStore.from_settings(settings(1))
    assert store is not None
    with pytest.raises(InfrastructureError, match="Could not connect to the endpoint URL"):
        await store.check()
    store.close()
