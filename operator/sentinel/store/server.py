"""`sentinel store`: a directory as the object store, by http, for boxes and operator alike.

Every request carries its permission in its URL (`signing.py`). A box has URLs of its own build's objects only, each for
one object and one method; the operator signs its own requests, for five minutes each. Bytes go from the connection to
the disk and back; no object is held in memory.

| status | |
| --- | --- |
| 400 | other bytes than those that were signed for |
| 403 | no permission, or an expired one |
| 412 | the URL was used, or there is an object and it is not to be replaced |
| 429, 503 | too many requests at once: the same URL again later |
| 507 | the disk is full |
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Any, TypeVar

from aiohttp import web
from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from sentinel.observe.metrics import REGISTRY
from sentinel.store.connections import Connections
from sentinel.store.files import FULL, Directory, Draft, Exists
from sentinel.store.objects import DIGEST_HEADER
from sentinel.store.signing import Grant, Refused, permitted

log = logging.getLogger(__name__)

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUESTS = Metric(
    "sentinel_store_requests",
    "Requests to `sentinel store` by method and HTTP status.",
    ["method", "code"],
    registry=REGISTRY,
)
FREE = Gauge("sentinel_store_free_bytes", "What the store has room for.", registry=REGISTRY)

LARGEST = 16 * 1024**3
PAGE = 1000
"""Objects in one answer to LIST."""
PIECE = 256 * 1024
"""Bytes that are written at once, and so held of one upload."""
AT_ONCE = 64
"""Uploads at once; others wait for their turn."""
OF_ONE = 32
"""Requests of one address at once."""
OF_ONE_URL = 2
"""Uploads with one URL at once: a box whose connection broke tries again before the server has noticed."""
STALLED = 30.0
"""Seconds without a byte of an upload."""
_SLOWEST = 128 * 1024
"""Bytes a second: half of what boxkit gives the store."""
_SWEEP_EVERY = 300.0


def patience(size: int) -> float:
    """Seconds that a transfer of so many bytes may take."""
    return 60.0 + size / _SLOWEST


class StoreServer:
    """Serves `directory`. `secret` is what URLs are signed with; no object is larger than `largest` bytes."""

    def __init__(
        self,
        directory: Directory,
        *,
        secret: str,
        largest: int = LARGEST,
        connections: Connections | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._secret = directory, secret
        self._largest = largest
        self._connections = connections or Connections()
        self._now = now
        self._uploads = asyncio.Semaphore(AT_ONCE)
        self._receiving: dict[Draft, int] = {}
        """What is being received, and how many bytes it will have."""
        self._of_url: Counter[str] = Counter()
        self._of_address: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="disk")

    @asynccontextmanager
    async def running(
        self,
        host: str,
        port: int,
        *,
        tls: SSLContext | None = None,
        follow: Callable[[asyncio.Task[None]], None] = lambda _: None,
    ) -> AsyncIterator[str]:
        """Listen while the block runs; the URL. Port 0 is any free one. OSError where the address cannot be had.

        `follow` gets the tasks without which the process has to be restarted.
        """
        app = web.Application(middlewares=[self._counted])
        app.add_routes(
            [
                web.get("/list", self._list, allow_head=False),
                web.route("*", "/objects/{key:.+}", self._object),
            ]
        )
        async with self._connections.serving(app, host, port, tls=tls, follow=follow) as bound:
            sweeping = asyncio.create_task(self._sweep_forever(), name="used URLs")
            follow(sweeping)
            try:
                name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
                yield f"{'https' if tls else 'http'}://{name}:{bound[1]}"
            finally:
                sweeping.cancel()
                await asyncio.gather(sweeping, return_exceptions=True)
                self._pool.shutdown(wait=True)

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        address = request.remote or ""
        with self._connections.busy(request), _counting(self._of_address, address) as count:
            try:
                if count > OF_ONE:
                    raise _Answer(429, "too many requests of this address at once")
                answer = await handler(request)
            except _Answer as refused:
                answer = refused.response()
            except web.HTTPException as error:
                answer = _Answer(error.status, error.reason).response()
            except web.RequestPayloadError:
                answer = _Answer(400, "the request ended early").response()
            except OSError as error:
                answer = self._failed(error).response()
        answer.headers["X-Content-Type-Options"] = "nosniff"
        method = request.query.get("method", "")
        REQUESTS.labels(
            method if method in ("GET", "HEAD", "PUT", "DELETE", "LIST") else "other",
            str(answer.status),
        ).inc()
        return answer

    async def _object(self, request: web.Request) -> web.StreamResponse:
        grant = self._permitted(request, request.match_info["key"])
        if grant.method == "PUT":
            return await self._put(request, grant)
        if grant.method == "DELETE":
            await self._on_disk(self._directory.delete, grant.key)
            return web.Response(status=204)
        found = await self._on_disk(self._directory.find, grant.key)
        if found is None:
            raise _Answer(404, "there is no such object")
        info, digest = found
        headers = {"Content-Type": "application/octet-stream"}
        if digest:
            headers[DIGEST_HEADER] = digest
        return _File(
            self._directory.path(grant.key),
            headers=headers,
            seconds=patience(info.size),
            busy=self._connections.busy,
        )

    async def _put(self, request: web.Request, grant: Grant) -> web.Response:
        size = request.content_length
        if size is None:
            raise _Answer(411, "the request has no Content-Length")
        if size != grant.size:
            raise _Answer(400, f"the URL is for {grant.size} bytes, and the request has {size}")
        if size > self._largest:
            raise _Answer(413, f"the store takes {self._largest} bytes for one object, not {size}")
        if await self._on_disk(self._is_done, grant):
            raise _Answer(412, _DONE)
        with _counting(self._of_url, grant.nonce) as count:
            if count > OF_ONE_URL:
                raise _Answer(429, "something is being stored with this URL")
            async with self._uploads:
                await self._receive(request, grant)
        return web.Response(status=200)

    def _is_done(self, grant: Grant) -> bool:
        known = self._directory.used(grant.nonce, expires=grant.expires)
        return known or (grant.once and self._directory.find(grant.key) is not None)

    async def _receive(self, request: web.Request, grant: Grant) -> None:
        draft = await self._on_disk(self._directory.draft)
        try:
            await self._promise(draft, grant.size)
            try:
                async with asyncio.timeout(patience(grant.size)):
                    await self._copy(request, draft)
            except TimeoutError:
                raise _Answer(408, "the upload was too slow") from None
            if draft.size != grant.size or draft.sha256 != grant.sha256:
                raise _Answer(
                    400,
                    f"these are not the bytes that the URL is for: {draft.size} with the sha256 {draft.sha256}",
                )
            await self._on_disk(draft.finish)
            await self._on_disk(
                partial(
                    self._directory.commit,
                    draft,
                    grant.key,
                    once=grant.once,
                    nonce=grant.nonce,
                    expires=grant.expires,
                )
            )
        except Exists:
            raise _Answer(412, _DONE) from None
        except (NotADirectoryError, IsADirectoryError):
            raise _Answer(409, "an object's name is a directory of others") from None
        finally:
            self._receiving.pop(draft, None)
            await asyncio.shield(self._on_disk(draft.discard))

    async def _copy(self, request: web.Request, draft: Draft) -> None:
        pieces: list[bytes] = []
        held = 0
        while True:
            async with asyncio.timeout(STALLED):
                data = await request.content.readany()
            held += len(data)
            if data:
                pieces.append(data)
            if held >= PIECE or not data:
                await self._on_disk(draft.write, b"".join(pieces))
                pieces, held = [], 0
            if not data:
                return

    async def _list(self, request: web.Request) -> web.Response:
        grant = self._permitted(request, "")
        found = await self._on_disk(
            partial(self._directory.list, grant.key, after=grant.after, most=PAGE)
        )
        rows = [
            {
                "key": info.key,
                "size": info.size,
                "etag": info.etag,
                "modified": info.modified.isoformat() if info.modified else "",
            }
            for info in found
        ]
        return web.json_response({"objects": rows, "more": len(rows) == PAGE})

    def _permitted(self, request: web.Request, key: str) -> Grant:
        query: dict[str, str] = {}
        for name, value in request.query.items():
            if name in query:
                raise _Answer(403, f"the URL has {name[:20]!r} twice")
            query[name] = value
        try:
            return permitted(
                query, key=key, method=request.method, secret=self._secret, now=self._now()
            )
        except Refused as error:
            raise _Answer(403, str(error)) from None

    async def _promise(self, draft: Draft, size: int) -> None:
        """Uploads that are received at once must fit together. Raises 507 where this one does not."""
        room = await self._on_disk(self._directory.room)
        room -= sum(size - draft.size for draft, size in self._receiving.items())
        if size > room:
            raise _full(f"{size} bytes do not fit into the {max(0, room)} that are left")
        self._receiving[draft] = size

    def _failed(self, error: OSError) -> _Answer:
        if isinstance(error, ConnectionError):
            # Nobody reads this answer.
            return _Answer(400, "the connection broke")
        if error.errno in FULL:
            return _full(error.strerror or "no space left")
        log.error("a request failed: %s", error)
        return _Answer(500, f"the store's disk failed: {error.strerror or 'see its log'}")

    async def _on_disk(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, partial(function, *args)
        )

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self._on_disk(partial(self._directory.sweep, now=self._now()))
                FREE.set(await self._on_disk(self._directory.room))
            except OSError as error:
                log.error("cannot remove expired URLs: %s", error)
            await asyncio.sleep(_SWEEP_EVERY)


_DONE = "the URL was used already, or there is an object that it does not replace"


class _Answer(Exception):
    """A status with a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text

    def response(self) -> web.Response:
        return web.Response(status=self.status, text=f"{self.text}\n")


def _full(why: str) -> _Answer:
    log.error("the store's disk is full: %s", why)
    return _Answer(
        507,
        f"the store's disk is full: {why}. An administrator has to enlarge the store's volume or remove objects",
    )


@contextmanager
def _counting(counter: Counter[str], name: str) -> Iterator[int]:
    counter[name] += 1
    try:
        yield counter[name]
    finally:
        counter[name] -= 1
        if not counter[name]:
            del counter[name]


class _File(web.FileResponse):
    """A file, sent within a time. It goes by sendfile, in whole or the part that a Range header names."""

    def __init__(self, path: Path, *, headers: dict[str, str], seconds: float, busy: Any) -> None:
        super().__init__(path, headers=headers)
        self._seconds, self._busy = seconds, busy

    async def prepare(self, request: web.BaseRequest) -> Any:
        # To a client that takes gzip, aiohttp sends the file of this name with .gz: another object.
        headers = request.headers.copy()
        headers.popall("Accept-Encoding", None)
        with self._busy(request):
            try:
                async with asyncio.timeout(self._seconds):
                    return await super().prepare(request.clone(headers=headers))
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("the answer was read too slowly") from None
