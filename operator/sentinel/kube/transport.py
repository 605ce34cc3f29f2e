"""One request to the API server: credentials, deadlines, retries, and errors with names.

Our own aiohttp session: the generated client's pool ends at 100 connections, exec streams included, and its calls at
300 s. kopf has its own session as well, because on a 401 it closes the one that it holds. Not here: what to ask.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from sentinel.backoff import Backoff
from sentinel.clock import Clock
from sentinel.kube import errors
from sentinel.observe.metrics import API_RETRIES, count_request

if TYPE_CHECKING:
    from sentinel.kube.credentials import ApiCredentials

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
BACKOFF = Backoff(first=0.2, longest=10.0, tries=3, jitter=0.75)
"""Seconds we wait at most between two tries, whatever Retry-After says: the caller has a deadline of its own."""

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """One call. `what` names it in errors: `get pods ci/hello-1`. `repeatable`: twice does no more than once."""

    method: str
    path: str
    what: str
    query: Query = ()
    body: Any = None
    content_type: str = "application/json"
    repeatable: bool = False
    headers: Query = ()


class AnswerTooLarge(Exception):
    """The answer has more bytes than the caller takes."""


class UpgradeRefused(Exception):
    """The answer to a WebSocket handshake was no 101; aiohttp alone would throw its body away."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body


async def _keep_refusal(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    response = await handler(request)
    if request.headers.get("Upgrade") == "websocket" and response.status != 101:
        raise UpgradeRefused(response.status, await response.read())
    return response


class Transport:
    """The connection pool. `close()` it."""

    def __init__(self, credentials: ApiCredentials, *, user_agent: str, clock: Clock) -> None:
        self._credentials = credentials
        self.clock = clock
        self._base = credentials.server
        tls = credentials.tls() if self._base.startswith("https") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=45),
            # Compressing lists costs both sides more time than a cluster's network saves.
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_keep_refusal,),
            proxy=credentials.proxy,
        )

    async def close(self) -> None:
        """Close every connection, exec streams too."""
        await self._session.close()

    async def json(self, request: Request) -> dict[str, Any]:
        """The answer as an object. Errors as `bytes()`."""
        return parse(request, await self.bytes(request))

    async def bytes(
        self, request: Request, *, accept: str = "application/json", most: int | None = None
    ) -> bytes:
        """The answer's body. Raises AnswerTooLarge when it has more than `most` bytes, and reads no further.

        Up to three tries: of what may be repeated always, of the rest only when the server did not act on it (no
        connection, 429, and once after a 401 with renewed credentials). Raises ApiError.
        """
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        tries = 0
        renewed = False
        while True:
            tries += 1
            try:
                async with self._respond(request, limits=timeout, accept=accept) as response:
                    return await _read(response, most=most)
            except errors.Forbidden as error:
                if error.status != 401 or renewed:
                    raise
                renewed = True
                await self._credentials.renew()
            except errors.Unavailable as error:
                harmless = request.repeatable or error.unsent or error.status == 429
                if tries >= BACKOFF.tries or not harmless:
                    raise
                API_RETRIES.inc()
                await self.clock.sleep(BACKOFF.pause(tries, asked=error.retry_after))

    @asynccontextmanager
    async def stream(
        self, request: Request, *, silence: float, accept: str = "application/json"
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The body as it comes, without an end in time; `silence` seconds without a byte are a cut. No retries."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        async with self._respond(request, limits=timeout, accept=accept) as response:
            yield response.content

    async def websocket(
        self, request: Request, *, protocols: Sequence[str], heartbeat: float
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket after its handshake. Raises UpgradeRefused with the server's answer, Unavailable."""
        try:
            return await self._session.ws_connect(
                self._url(request),
                protocols=protocols,
                headers=await self._headers(),
                heartbeat=heartbeat,
                max_msg_size=0,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                server_hostname=self._credentials.server_name,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._unanswered(request, error)

    async def renew(self) -> None:
        """Read the credentials again."""
        await self._credentials.renew()

    @asynccontextmanager
    async def _respond(
        self, request: Request, *, limits: aiohttp.ClientTimeout, accept: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {**await self._headers(), **dict(request.headers), "Accept": accept}
        data = None
        if request.body is not None:
            headers["Content-Type"] = request.content_type
            data = json.dumps(request.body, separators=(",", ":")).encode()
        try:
            async with self._session.request(
                request.method,
                self._url(request),
                data=data,
                headers=headers,
                timeout=limits,
                allow_redirects=False,
                server_hostname=self._credentials.server_name,
            ) as response:
                count_request(request.method, response.status)
                if response.status >= 300:
                    raise errors.from_status(
                        request.what,
                        response.status,
                        await response.read(),
                        retry_after=response.headers.get("Retry-After"),
                    )
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._unanswered(request, error)

    def _url(self, request: Request) -> URL:
        query = "?" + urlencode(request.query) if request.query else ""
        return URL(f"{self._base}{request.path}{query}", encoded=True)

    async def _headers(self) -> dict[str, str]:
        authorization = await self._credentials.authorization()
        return {"Authorization": authorization} if authorization else {}

    def _unanswered(self, request: Request, error: BaseException) -> NoReturn:
        count_request(request.method, 0)
        unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        text = str(error) or type(error).__name__
        raise errors.Unavailable(
            f"{request.what}: no answer from {self._base}: {text}", unsent=unsent
        ) from error


async def _read(response: aiohttp.ClientResponse, *, most: int | None) -> bytes:
    if most is None:
        return await response.read()
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise AnswerTooLarge
    return b"".join(pieces)


def parse(request: Request, data: bytes) -> dict[str, Any]:
    """An answer's body as an object. Raises Unavailable for anything else."""
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise errors.Unavailable(
            f"{request.what}: the answer is not JSON: {data[:200]!r}"
        ) from error
    if not isinstance(answer, dict):
        raise errors.Unavailable(f"{request.what}: the answer is not a JSON object: {data[:200]!r}")
    return answer


def selection(
    *, labels: str = "", fields: str = "", more: Mapping[str, str | int] | None = None
) -> Query:
    """The query of a list or watch; what is empty is left out."""
    query: dict[str, str | int] = {"labelSelector": labels, "fieldSelector": fields, **(more or {})}
    return tuple((key, str(value)) for key, value in query.items() if value != "")
