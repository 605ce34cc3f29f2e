"""What a directory store refuses: URLs that were not signed, other bytes, and more than there is room for."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import os
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import pytest
from pydantic import SecretStr
from tests.unit.store.conftest import SECRET, Served, serving
from tests.unit.store.contract import digest, fetch, put

from sentinel.errors import InfrastructureError
from sentinel.settings import StoreSettings
from sentinel.store.connections import Connections
from sentinel.store.directory import DirectoryStore
from sentinel.store.files import Directory, Draft, Unusable
from sentinel.store.objects import ObjectStore
from sentinel.store.probe import probe
from sentinel.store.server import StoreServer
from sentinel.store.signing import Grant

MINE, THEIRS = (
    "team/project-artifacts/app/1/1/output.tar",
    "other/project-artifacts/app/2/1/output.tar",
)


def files(root: Path) -> list[str]:
    """Everything that is stored or left behind."""
    return sorted(
        str(path.relative_to(root))
        for name in ("objects", "tmp")
        for path in (root / name).rglob("*")
        if path.is_file()
    )


async def ask(
    method: str, url: str, *, target: str = "", body: bytes | None = None
) -> tuple[int, str]:
    """Status and text of one request, with `target` as it is in the place of the URL's own path and query."""

    def once() -> tuple[int, str]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=150)
        try:
            connection.request(method, target or f"{parts.path}?{parts.query}", body=body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace").strip()
        finally:
            connection.close()

    return await asyncio.to_thread(once)


def changed(url: str, **changes: str | None) -> str:
    """The path and query of a URL with other parameters; None removes one."""
    parts = urlsplit(url)
    query: dict[str, str | None] = {**dict(parse_qsl(parts.query)), **changes}
    return f"{parts.path}?{urlencode({k: v for k, v in query.items() if v is not None})}"


async def test_a_url_opens_one_object_for_one_method(served: Served) -> None:
    await served.store.put(MINE, b"mine")
    await served.store.put(THEIRS, b"theirs")
    url = served.store.presign_get(MINE)
    path, query = urlsplit(url).path, urlsplit(url).query
    tries = [
        ("GET", f"/objects/{THEIRS}?{query}"),
        ("GET", f"/objects/{MINE}/../../../../../../{THEIRS}?{query}"),
        ("GET", f"/objects/..%2F..%2F..%2Fetc%2Fpasswd?{query}"),
        ("GET", f"/objects/%2Fetc%2Fpasswd?{query}"),
        ("GET", f"/objects//{MINE}?{query}"),
        ("GET", f"/objects/{MINE}%00?{query}"),
        ("GET", f"/objects/../lock?{query}"),
        ("GET", f"/list?{query}"),
        ("GET", f"/list?{query}&key=team"),
        ("GET", path),
        ("HEAD", f"{path}?{query}"),
        ("PUT", f"{path}?{query}"),
        ("DELETE", f"{path}?{query}"),
        ("GET", changed(url, expires=str(int(time.time()) + 10**6))),
        ("GET", changed(url, signature="0" * 64)),
        ("GET", changed(url, signature="ü")),
        ("GET", changed(url, signature=None)),
        ("GET", changed(url, method="LIST")),
        ("GET", changed(url, key=THEIRS)),
        ("GET", changed(url, other="1")),
        ("GET", f"{path}?{query}&method=GET"),
        ("GET", f"{path}?{'&'.join(f'{n}=1' for n in range(5000))}"[:8000]),
    ]
    for method, target in tries:
        status, text = await ask(method, url, target=target)
        assert (status in (400, 403, 404), "theirs" in text) == (True, False), (
            method,
            target,
            status,
        )
    assert files(served.root) == [f"objects/{THEIRS}", f"objects/{MINE}"]
    assert await ask("GET", url) == (200, "mine")


async def test_a_url_to_put_to_is_for_its_bytes_and_its_object(served: Served) -> None:
    url, headers = served.store.presign_put(MINE, size=5, sha256=digest(b"right"))
    others = changed(url, sha256=digest(b"wrong"))
    assert (await ask("PUT", url, target=others, body=b"wrong"))[0] == 403
    assert (await ask("PUT", url, target=changed(url, size="6"), body=b"larger"))[0] == 403
    assert (await ask("PUT", url, target=changed(url, nonce="0" * 32), body=b"right"))[0] == 403
    status, text = await ask("PUT", url, body=b"wrong")
    assert (status, "not the bytes that the URL is for" in text) == (400, True)
    status, text = await ask("PUT", url, body=b"more than that")
    assert (status, text) == (400, "the URL is for 5 bytes, and the request has 14")
    assert files(served.root) == []
    assert await put(url, headers, b"right") == 200
    assert files(served.root) == [f"objects/{MINE}"]


async def test_a_url_to_put_to_stores_once(served: Served) -> None:
    """Also where the object may be replaced, or is gone: an old cache cannot come back."""
    old, headers = served.store.presign_put(MINE, size=3, sha256=digest(b"old"), once=False)
    new, _ = served.store.presign_put(MINE, size=3, sha256=digest(b"new"), once=False)
    assert [await put(url, headers, data) for url, data in ((old, b"old"), (new, b"new"))] == [
        200,
        200,
    ]
    assert await put(old, headers, b"old") == 412
    assert await served.store.get(MINE) == b"new"
    await served.store.delete(MINE)
    assert [await put(url, headers, data) for url, data in ((old, b"old"), (new, b"new"))] == [
        412,
        412,
    ]
    assert files(served.root) == []


async def test_a_used_url_stays_used_when_the_server_is_restarted(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        url, headers = served.store.presign_put("a", size=1, sha256=digest(b"a"), once=False)
        assert await put(url, headers, b"a") == 200
        await served.store.delete("a")
    (tmp_path / "tmp" / "half").write_bytes(b"an upload that the server died of")
    async with serving(tmp_path) as served:
        again = served.url + urlsplit(url).path + "?" + urlsplit(url).query
        assert await put(again, headers, b"a") == 412
        assert files(tmp_path) == []


async def test_used_urls_are_forgotten_when_they_have_expired(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.open()
    (tmp_path / "used" / f"1000.{'0' * 32}").touch()
    (tmp_path / "used" / f"2000.{'0' * 32}").touch()
    directory.sweep(now=1500)
    assert [path.name for path in (tmp_path / "used").iterdir()] == [f"2000.{'0' * 32}"]
    directory.close()


async def test_an_upload_that_is_cut_leaves_nothing_and_is_tried_again(served: Served) -> None:
    data = os.urandom(3_000_000)
    url, headers = served.store.presign_put(MINE, size=len(data), sha256=digest(data))
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: store\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data[:1_000_000])
    await writer.drain()
    async with asyncio.timeout(150):
        while not list((served.root / "tmp").iterdir()):
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while list((served.root / "tmp").iterdir()):
            await asyncio.sleep(0.01)
    assert await served.store.head(MINE) is None
    assert await put(url, headers, data) == 200
    assert await served.store.get(MINE) == data


async def test_an_expired_url_opens_nothing(served: Served) -> None:
    grant = Grant(method="GET", key=MINE, expires=int(time.time()) - 100)
    status, text = await ask("GET", grant.url(served.url, secret=SECRET))
    assert (status, text.startswith("the URL expired ")) == (403, True)


async def test_a_part_of_an_object_is_sent(served: Served) -> None:
    await served.store.put(MINE, bytes(range(256)))
    url = served.store.presign_get(MINE)
    assert await fetch(url, Range="bytes=10-19") == (206, bytes(range(10, 20)))
    assert await fetch(url, Range="bytes=250-") == (206, bytes(range(250, 256)))
    assert (await fetch(url, Range="bytes=256-"))[0] == 416
    assert await served.store.read(MINE, start=256, length=1) == b""


async def test_a_client_that_takes_gzip_gets_no_other_object(served: Served) -> None:
    await served.store.put("a", b"mine")
    await served.store.put("a.gz", b"another")
    await served.store.put("a.br", b"another")
    url = served.store.presign_get("a")
    headers = {"Accept-Encoding": "gzip, br"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert (await answer.read(), "Content-Encoding" in answer.headers) == (b"mine", False)


async def test_a_full_store_is_reported(tmp_path: Path) -> None:
    async with serving(tmp_path, limit=1000) as served:
        await served.store.put("a", b"x" * 900)
        url, headers = served.store.presign_put("b", size=101, sha256=digest(b"y" * 101))
        status, text = await ask("PUT", url, body=b"y" * 101)
        assert (status, text) == (
            507,
            "the store's disk is full: 101 bytes do not fit into the 100 that are left. An administrator has to "
            "enlarge the store's volume or remove objects",
        )
        with pytest.raises(
            InfrastructureError, match="cannot put c: the server says 507: the store's disk is full"
        ):
            await served.store.put("c", b"z" * 200)
        await served.store.delete("a")
        assert await put(url, headers, b"y" * 101) == 200
    async with serving(tmp_path, limit=150) as served:
        with pytest.raises(InfrastructureError, match="507"):
            await served.store.put("c", b"z" * 50)


async def test_uploads_at_once_must_fit_together(tmp_path: Path) -> None:
    async with serving(tmp_path, limit=1_000_000) as served:
        data = b"x" * 600_000
        first, _ = served.store.presign_put("a", size=len(data), sha256=digest(data))
        parts = urlsplit(first)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: store\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(150):
            while not list((tmp_path / "tmp").iterdir()):
                await asyncio.sleep(0.01)
        second, headers = served.store.presign_put("b", size=len(data), sha256=digest(data))
        assert await put(second, headers, data) == 507
        writer.transport.abort()
        async with asyncio.timeout(150):
            while await put(second, headers, data) == 507:
                await asyncio.sleep(0.05)
        assert await served.store.size("b") == len(data)


class _NoSpace(Draft):
    def write(self, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class _FullDisk(Directory):
    def draft(self) -> Draft:
        return _NoSpace(self._tmp / "draft")


async def test_a_disk_that_fills_up_under_an_upload_is_a_full_store(tmp_path: Path) -> None:
    for each in ("objects", "used", "tmp"):
        (tmp_path / each).mkdir()
    server = StoreServer(_FullDisk(tmp_path), secret=SECRET)
    async with server.running("127.0.0.1", 0) as url:
        store = DirectoryStore(StoreSettings(url=url, key=SecretStr(SECRET)))
        with pytest.raises(
            InfrastructureError, match="507: the store's disk is full: No space left"
        ):
            await store.put("a", b"bytes")
        store.close()
    assert files(tmp_path) == []


async def test_an_object_larger_than_the_store_takes_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, largest=10) as served:
        with pytest.raises(
            InfrastructureError, match="413: the store takes 10 bytes for one object, not 11"
        ):
            await served.store.put("a", b"x" * 11)


async def test_connections_without_a_request_are_closed(tmp_path: Path) -> None:
    few = Connections(most=4, idle=1.0)
    async with serving(tmp_path, connections=few) as served:
        parts = urlsplit(served.url)
        idle = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(8)]
        idle[0][1].write(b"GET /objects/half")
        async with asyncio.timeout(150):
            # Beyond the most at once, the rest after a while.
            for reader, _ in idle:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        await served.store.put("a", b"a")
        for _, writer in idle:
            writer.close()


@pytest.mark.parametrize(
    ("secret", "skew", "advice"),
    [
        ("another key than that of the server's", 0, "Give both the same key"),
        (SECRET, 3600, "Correct the clock of this node or of the store's: they differ by 3"),
    ],
    ids=["another key", "clocks"],
)
async def test_the_probe_says_what_to_do(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    secret: str,
    skew: int,
    advice: str,
) -> None:
    class Clock:
        async def sleep(self, seconds: float) -> None:
            raise asyncio.CancelledError

    async with serving(tmp_path) as served:
        settings = StoreSettings(url=served.url, key=SecretStr(secret))
        store = DirectoryStore(settings, now=lambda: time.time() - skew)
        with pytest.raises(asyncio.CancelledError):
            await probe(store, prefix="", clock=cast(Any, Clock()))
        store.close()
    (said,) = (each.getMessage() for each in caplog.records)
    assert said.startswith(
        f"the object store cannot be used: the store at {served.url}: cannot put .sentinel-probe"
    )
    assert (advice in said, secret in said) == (True, False)


async def test_a_server_that_does_not_exist_is_named() -> None:
    store = ObjectStore.from_settings(
        StoreSettings(url="http://127.0.0.1:1", key=SecretStr(SECRET))
    )
    assert store is not None
    with pytest.raises(
        InfrastructureError, match=r"Connection refused\. Check that the store's pod runs"
    ) as caught:
        await store.check()
    assert caught.value.reason == "StoreFailed"
    store.close()


async def test_a_directory_has_one_server(served: Served, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="another server keeps"):
        Directory(tmp_path).open()
    with pytest.raises(Unusable, match="none is not a directory: mount a volume there"):
        Directory(tmp_path / "none").open()


async def test_a_prefix_that_cannot_be_a_directory_is_named(served: Served) -> None:
    with pytest.raises(InfrastructureError, match=r"is not a key.*Correct store\.prefix"):
        await served.store.put("a b/c", b"")
    with pytest.raises(InfrastructureError, match=r"Correct store\.prefix"):
        served.store.presign_get("../c")


async def test_no_key_and_no_url_is_in_an_error(served: Served) -> None:
    store = served.client(key=SecretStr("x" * 40))
    with pytest.raises(InfrastructureError) as caught:
        await store.put("a", b"")
    assert ("x" * 40 in caught.value.message, "signature=" in caught.value.message) == (
        False,
        False,
    )
    store.close()


async def test_answers_are_no_pages(served: Served) -> None:
    """What a build stored is not run by a browser that somebody opens a URL in."""
    await served.store.put("a.html", b"<script>")
    async with (
        aiohttp.ClientSession() as session,
        session.get(served.store.presign_get("a.html")) as answer,
    ):
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
