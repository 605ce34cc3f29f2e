"""The object store of `sentinel store`: presigned URLs for boxkit, and requests of our own, signed for five minutes.

The key never travels: someone who listens on the way has a URL for one object and one method.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import secrets
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.errors import GoneError, InfrastructureError
from sentinel.store.objects import (
    DIGEST_HEADER,
    LONGEST,
    PUT_SECONDS,
    SLOWEST,
    ObjectInfo,
    ObjectStore,
)
from sentinel.store.signing import Grant

if TYPE_CHECKING:
    from sentinel.settings.store import StoreSettings

_CONDITION = {"If-None-Match": "*"}
"""With it boxkit takes 412 as "an earlier try has stored it". The server goes by the URL alone."""

_BEHIND_ALL = "z" * 200  # no key comes after it
_WORKERS = 8
_SECONDS = 300  # for which a request of our own is signed
_TIMEOUT = 30.0
_AGAIN = Backoff(first=0.2, longest=2.0, tries=3)
_SKEW = 30.0  # seconds between two clocks that are worth a sentence


@dataclass(frozen=True, kw_only=True)
class _Got:
    body: bytes
    headers: Any


class DirectoryStore(ObjectStore):
    """A client of one `sentinel store`. `now` is the time that URLs expire by, in Unix time."""

    def __init__(self, settings: StoreSettings, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._url = settings.url.rstrip("/")
        self._where = f"the store at {self._url}"
        self._secret = settings.key.get_secret_value()
        self._url_seconds = settings.url_seconds
        # Straight to the server, by whatever proxies this process has for others.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _Stay()]
        if self._url.startswith("https:"):
            context = ssl.create_default_context()
            if settings.ca:
                context.load_verify_locations(cadata=settings.ca)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self._pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="store")

    def presign_put(
        self, key: str, *, size: int, sha256: str, once: bool = True
    ) -> tuple[str, dict[str, str]]:
        seconds = min(self._url_seconds, PUT_SECONDS + size // SLOWEST)
        grant = self._grant_put(key, size=size, sha256=sha256, once=once, seconds=seconds)
        return self._sign(grant), dict(_CONDITION)

    def presign_get(self, key: str, *, seconds: int = 0) -> str:
        return self._sign(self._grant("GET", key, min(seconds or self._url_seconds, LONGEST)))

    async def get(self, key: str) -> bytes:
        got = await self._call("get", self._grant("GET", key))
        signed, found = got.headers.get(DIGEST_HEADER), hashlib.sha256(got.body).hexdigest()
        if signed is not None and signed != found:
            raise InfrastructureError(
                f"{self._where}: {key} was changed: its sha256 is {found}, and {signed} when it was stored",
                reason=Reason.STORE_FAILED,
            )
        return got.body

    async def head(self, key: str) -> ObjectInfo | None:
        try:
            got = await self._call("head", self._grant("HEAD", key))
        except GoneError:
            return None
        return ObjectInfo(
            key=key,
            size=int(got.headers["Content-Length"]),
            etag=str(got.headers["ETag"]).strip('"'),
            modified=parsedate_to_datetime(got.headers["Last-Modified"]),
            sha256=str(got.headers.get(DIGEST_HEADER) or ""),
        )

    async def read(self, key: str, *, start: int, length: int) -> bytes:
        span = {"Range": f"bytes={start}-{start + length - 1}"}
        return (await self._call("read", self._grant("GET", key), headers=span)).body

    async def put(self, key: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        grant = self._grant_put(key, size=len(data), sha256=digest, once=False, seconds=_SECONDS)
        await self._call("put", grant, body=data)

    async def pages(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        after = ""
        while True:
            got = await self._call("list", self._grant("LIST", prefix, after=after))
            page = json.loads(got.body)
            found = [
                ObjectInfo(
                    key=row["key"],
                    size=row["size"],
                    etag=row["etag"],
                    modified=datetime.fromisoformat(row["modified"]),
                )
                for row in page["objects"]
            ]
            yield found
            if not page["more"] or not found:
                return
            after = found[-1].key

    async def delete(self, key: str) -> None:
        await self._call("delete", self._grant("DELETE", key))

    async def check(self) -> None:
        await self._call("use it", self._grant("LIST", "", after=_BEHIND_ALL))

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    def _grant(self, method: str, key: str, seconds: int = _SECONDS, **more: Any) -> Grant:
        try:
            return Grant(method=method, key=key, expires=int(self._now()) + seconds, **more)
        except ValueError as error:
            raise InfrastructureError(
                f"{self._where}: {error}. Correct store.prefix", reason=Reason.STORE_FAILED
            ) from None

    def _grant_put(self, key: str, *, size: int, sha256: str, once: bool, seconds: int) -> Grant:
        nonce = secrets.token_hex(16)
        return self._grant("PUT", key, seconds, size=size, sha256=sha256, once=once, nonce=nonce)

    def _sign(self, grant: Grant) -> str:
        return grant.url(self._url, secret=self._secret)

    async def _call(
        self,
        action: str,
        grant: Grant,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Got:
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: self._try(action, grant, body, headers or {})
        )

    def _try(self, action: str, grant: Grant, body: bytes | None, headers: dict[str, str]) -> _Got:
        """One request, tried again where another try may succeed. In a thread."""
        tried = 0
        while True:
            tried += 1
            try:
                return self._send(action, grant, body, headers)
            except _Passing as error:
                if tried == _AGAIN.tries:
                    raise InfrastructureError(error.message, reason=Reason.STORE_FAILED) from error
                time.sleep(_AGAIN.pause(tried))

    def _send(self, action: str, grant: Grant, body: bytes | None, headers: dict[str, str]) -> _Got:
        what = f"{self._where}: cannot {action}{' ' + grant.key if grant.key else ''}"
        method = "GET" if grant.method == "LIST" else grant.method
        if body is not None:
            headers = {"Content-Type": "application/octet-stream", **headers}
        request = urllib.request.Request(  # noqa: S310 - http or https, as the setting's pattern has it
            self._sign(grant), data=body, method=method, headers=headers
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return _Got(body=answer.read(), headers=answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(512).decode("utf-8", "replace").strip()
            if error.code == 404:
                raise GoneError(
                    f"{what}: there is no such object", reason=Reason.STORE_FAILED
                ) from None
            if error.code == 412 and grant.method == "PUT":
                return _Got(body=b"", headers=error.headers)  # an earlier try stored it
            if error.code == 416:
                return _Got(body=b"", headers=error.headers)
            why = f"{what}: the server says {error.code}: {text}{_advice(error.code, error.headers, self._now())}"
            if error.code in (429, 500, 502, 503, 504):
                raise _Passing(why) from error
            raise InfrastructureError(why, reason=Reason.STORE_FAILED) from error
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            text = str(cause) or type(error).__name__
            raise _Passing(f"{what}: {text}{_advice_for(cause)}") from error


class _Passing(Exception):
    """What another try may mend."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _Stay(urllib.request.HTTPRedirectHandler):
    """A signed URL is for one place."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _advice(code: int, headers: Any, now: float) -> str:
    """What to do where the server refused."""
    if code != 403:
        return ""
    try:
        skew = abs(parsedate_to_datetime(headers["Date"]).timestamp() - now)
    except (TypeError, ValueError):
        skew = 0.0
    if skew > _SKEW:
        return f". Correct the clock of this node or of the store's: they differ by {skew:.0f} s"
    return (
        ". Give both the same key: restart the store and the operator after its Secret was changed, or correct "
        "SENTINEL_STORE__KEY"
    )


def _advice_for(error: Any) -> str:
    """What to do where the server was not reached."""
    if isinstance(error, ssl.SSLError):
        return ". Put the authority of the server's certificate into store.ca or ca"
    return ". Check that the store's pod runs, store.url, its name in DNS, and network policies"
