"""HTTP for steps: bounded answers, three tries, and a token that only its own host ever sees.

Redirects are followed by hand, because who gets the token is decided anew at each of them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from sentinel.source.steps.wanted import invalid, unavailable, without_credentials

TRIES = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})
_PART = 64 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=10, sock_read=30)


class _Again(Exception):
    """This try failed in a way that another one may not. The message is a sentence's end."""


class Web:
    """Asks servers without a name, and the one server that the token is for with it.

    `home` is the URL of that server, with scheme and port: a token for https is not sent over http. Without a token,
    user and password in `home` are used in its place. `ca`: certificates (PEM) that are trusted besides the system's.
    """

    def __init__(
        self, *, home: str = "", token: str = "", ca: str = "", pause: float = 0.3
    ) -> None:
        address = URL(home) if home else None
        self._home = address.origin() if address else None
        self._authorization = ""
        if token:
            self._authorization = f"Bearer {token}"
        elif address is not None and address.user is not None:
            login = f"{address.user}:{address.password or ''}".encode()
            self._authorization = f"Basic {base64.b64encode(login).decode()}"
        self._pause = pause
        self._tls = ssl.create_default_context()
        if ca:
            self._tls.load_verify_locations(cadata=ca)

    async def get_json(self, url: str, *, limit: int, with_token: bool = True) -> tuple[int, Any]:
        """Status and parsed JSON of an answer; None where the status is not 200.

        InfrastructureError for servers that cannot be reached, go on failing, or say what is no JSON with a 200.
        """

        async def read(answer: aiohttp.ClientResponse) -> tuple[int, Any]:
            if answer.status != 200:
                return answer.status, None
            content = bytearray()
            async for part in answer.content.iter_chunked(_PART):
                content += part
                if len(content) > limit:
                    raise unavailable(
                        f"{without_credentials(url)} answers more than {limit} bytes, so it is no step registry"
                    )
            try:
                return 200, json.loads(bytes(content))
            except (ValueError, RecursionError):
                raise unavailable(
                    f"{without_credentials(url)} answers no JSON, so it is no step registry"
                ) from None

        return cast(
            "tuple[int, Any]", await self._patiently(url, read, with_token=with_token, inflate=True)
        )

    async def download(
        self, url: str, target: Path, *, limit: int, with_token: bool = True
    ) -> tuple[int, str]:
        """Write a file of at most `limit` bytes; its status and SHA-256 in hex, "" where the status is not 200.

        UserError(StepInvalid) for one that is larger; InfrastructureError as above.
        """

        async def read(answer: aiohttp.ClientResponse) -> tuple[int, str]:
            if answer.status != 200:
                return answer.status, ""
            if (answer.content_length or 0) > limit:
                raise _too_large(url, limit)
            digest, size = hashlib.sha256(), 0
            # Small writes into the page cache: a thread for each would cost more.
            with target.open("wb") as file:
                async for part in answer.content.iter_chunked(_PART):
                    size += len(part)
                    if size > limit:
                        raise _too_large(url, limit)
                    digest.update(part)
                    file.write(part)
            return 200, digest.hexdigest()

        # As the bytes lie there: some servers call a tar.gz a tar with Content-Encoding gzip.
        return cast(
            "tuple[int, str]",
            await self._patiently(url, read, with_token=with_token, inflate=False),
        )

    async def _patiently(
        self,
        url: str,
        read: Callable[[aiohttp.ClientResponse], Any],
        *,
        with_token: bool,
        inflate: bool,
    ) -> Any:
        why = ""
        for attempt in range(1, TRIES + 1):
            if attempt > 1:
                await asyncio.sleep(self._pause * (attempt - 1) * random.uniform(0.7, 1.6))  # noqa: S311
            try:
                async with self._answer(url, with_token=with_token, inflate=inflate) as answer:
                    if answer.status in _TRY_AGAIN:
                        raise _Again(f"answers HTTP {answer.status}")
                    return await read(answer)
            except _Again as error:
                why = str(error)
            except TimeoutError:
                why = "does not answer in time"
            except (aiohttp.ClientError, OSError, ValueError) as error:
                why = f"cannot be reached: {_reason(error)}"
        raise unavailable(f"{without_credentials(url)} {why}, after {TRIES} tries")

    @asynccontextmanager
    async def _answer(
        self, url: str, *, with_token: bool, inflate: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer behind all redirects."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls),
            timeout=_TIMEOUT,
            auto_decompress=inflate,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            for _ in range(_MAX_REDIRECTS + 1):
                headers = self._headers(url, with_token=with_token)
                async with session.get(
                    _parsed(url), headers=headers, allow_redirects=False
                ) as answer:
                    location = answer.headers.get("Location", "")
                    if answer.status not in _REDIRECTS or not location:
                        yield answer
                        return
                    url = _follow(url, location)
        raise unavailable(f"{without_credentials(url)} redirects more than {_MAX_REDIRECTS} times")

    def _headers(self, url: str, *, with_token: bool) -> dict[str, str]:
        headers = {"User-Agent": "sentinel", "Accept-Encoding": "identity"}
        if self._authorization and with_token and _parsed(url).origin() == self._home:
            headers["Authorization"] = self._authorization
        return headers


def _follow(url: str, location: str) -> str:
    after = urljoin(url, location)
    scheme = _parsed(after).scheme
    if scheme not in ("http", "https") or (url.startswith("https:") and scheme == "http"):
        raise unavailable(
            f"{without_credentials(url)} redirects to {without_credentials(after)}, which is not followed: "
            "only http and https are, and never from https to http"
        )
    return after


def _too_large(url: str, limit: int) -> Exception:
    return invalid(f"{without_credentials(url)} has more than {limit} bytes, the most a step may")


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error.args[-1]}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number) if number else type(error.os_error).__name__
    # Never str(error): it may quote a URL with what is secret in it.
    return type(error).__name__


def _parsed(url: str) -> URL:
    """As it is where that is a URL: a signature in its query would not survive being quoted anew."""
    return URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)
