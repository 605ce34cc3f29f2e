"""HTTP to registries: log in, send, retry, and map what went wrong to the error tree.

One Transport serves all registries of one keychain. Not here: what the paths mean (`client.py`).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp

from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.image.dockerconfig import Keychain
from sentinel.image.reference import Reference
from sentinel.network import Denied, Policy
from sentinel.registry.answers import TRY_AGAIN, TooLong, read_bounded, registry_words
from sentinel.registry.auth import is_usable_realm, parse_challenges
from sentinel.registry.hosts import Connections, about_proxy
from sentinel.registry.login import Logins
from sentinel.registry.pace import Pace, TooSlow

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_MAX_RETRY_AFTER = 30.0

Body = Callable[[], AsyncIterator[bytes]]
"""Opens a body from its start: called once per try, so that no half-read stream is ever sent again."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a registry is given: tries in all, first pause in seconds (doubled each time, with jitter), timeouts.

    Every exchange, login and body included, keeps up `bytes_per_second` and is never silent for `read_seconds`.
    """

    tries: int = 5
    pause: float = 0.25
    longest_pause: float = 8.0
    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    bytes_per_second: float = 32 * 1024


DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request: a path below the registry, or an absolute URL that it gave us.

    `scopes` are what a token must allow, such as `repository:a/b:pull`. With `body`, `size` is its length in bytes.
    `limit` bounds the answer, in bytes; `tries` overrides the transport's.
    """

    method: str
    reference: Reference
    url: str
    scopes: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    size: int = 0
    limit: int = 4 * 1024 * 1024
    tries: int | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A registry's answer, read whole. `url` is where it came from; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def words(self) -> str:
        """What the registry says is wrong, in its own words."""
        return registry_words(self.body) or f"HTTP {self.status}"


class Transport:
    """An async context manager around the connections to registries."""

    def __init__(
        self,
        *,
        credentials: Keychain,
        insecure: Sequence[str] = (),
        patience: Patience = DEFAULT_PATIENCE,
        policy: Policy | None = None,
        ca: str = "",
    ) -> None:
        self._policy = policy
        self._ca = ca
        self._credentials = credentials
        self._insecure = frozenset(insecure)
        self._patience = patience

    async def __aenter__(self) -> Self:
        self._connections = Connections(
            policy=self._policy,
            ca=self._ca,
            connect_seconds=self._patience.connect_seconds,
            read_seconds=self._patience.read_seconds,
        )
        self._logins = Logins(
            self._connections.request, credentials=self._credentials, is_insecure=self.is_insecure
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    def base_url(self, reference: Reference) -> str:
        """Scheme and host: https, or http for loopback (as with Docker) and registries listed as insecure."""
        return f"{'http' if self.is_insecure(reference) else 'https'}://{reference.endpoint}"

    def is_insecure(self, reference: Reference) -> bool:
        """Whether the registry speaks plain http: listed by host or host:port, or a loopback address."""
        host = urlsplit(f"//{reference.endpoint}").hostname or ""
        if reference.endpoint in self._insecure or host in self._insecure:
            return True
        return is_loopback(host)

    async def send(self, request: Request) -> Answer:
        """Send until there is an answer that is worth reading, whatever its status.

        Raises UserError(ImageAuthFailed) when the token server refuses, UserError(RegistryNotAllowed) when the network
        policy denies an address, InfrastructureError(RegistryUnavailable) when the registry cannot be reached or goes
        on failing.
        """
        tries = request.tries or self._patience.tries
        for attempt in range(1, tries + 1):
            pause = None
            try:
                answer = await self._exchange(request)
            except TooLong as error:
                raise UserError(
                    f"{request.reference}: the registry's answer is larger than {request.limit} bytes",
                    reason=Reason.IMAGE_NOT_FOUND,
                ) from error
            except Denied as error:
                raise self._denied(request, error) from error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                trouble, permanent = describe(error)
                if permanent:
                    raise self._unavailable(request, trouble) from error
            else:
                if answer.status not in TRY_AGAIN:
                    return answer
                trouble = answer.words
                pause = _retry_after(answer)
            if attempt < tries:
                await self.rest(attempt, seconds=pause)
        raise self._unavailable(request, trouble)

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a 200, part by part, in one try: the caller starts again from the beginning when it breaks.

        Raises InfrastructureError(RegistryUnavailable) for any other status, aiohttp's errors or TooSlow when it
        breaks.
        """
        pace = self._pace()
        try:
            async with pace.kept():
                response = await self._authorized(request, pace)
        except Denied as error:
            raise self._denied(request, error) from error
        async with response:
            if response.status != 200:
                async with pace.kept():
                    body = await read_bounded(response, limit=request.limit, moved=pace.moved)
                words = registry_words(body)
                raise self._unavailable(request, words or f"HTTP {response.status}")
            async for part in pace.parts(response.content.iter_chunked(256 * 1024)):
                yield part

    async def _exchange(self, request: Request) -> Answer:
        pace = self._pace()
        async with pace.kept():
            response = await self._authorized(request, pace)
            async with response:
                return Answer(
                    status=response.status,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    body=await read_bounded(response, limit=request.limit, moved=pace.moved),
                    url=str(response.url),
                )

    def _pace(self) -> Pace:
        return Pace(grace=self._patience.read_seconds, rate=self._patience.bytes_per_second)

    @property
    def tries(self) -> int:
        """How often in all something is tried."""
        return self._patience.tries

    async def rest(self, attempt: int, *, seconds: float | None = None) -> None:
        """Pause after the given attempt: as long as the registry asked for, or longer each time, with jitter."""
        backoff = Backoff(first=self._patience.pause, longest=self._patience.longest_pause)
        await asyncio.sleep(seconds or backoff.pause(attempt))

    def _unavailable(self, request: Request, trouble: str) -> SentinelError:
        return InfrastructureError(
            f"registry {request.reference.registry} is unavailable for {request.reference}: {trouble}",
            reason=Reason.REGISTRY_UNAVAILABLE,
        )

    async def _authorized(self, request: Request, pace: Pace) -> aiohttp.ClientResponse:
        """Send with the login that the registry wanted last time; when it wants another, log in and send again."""
        authorization = await self._logins.authorization(request.reference, request.scopes)
        response = await self._follow(request, authorization, pace)
        if response.status != 401 or not self._is_registry(request, str(response.url)):
            return response
        offers = parse_challenges(response.headers.getall("WWW-Authenticate", []))
        if not offers:
            return response
        authorization = await self._logins.answer(request.reference, request.scopes, offers[0])
        if authorization is None:
            return response
        response.release()
        return await self._follow(request, authorization, pace)

    async def _follow(
        self, request: Request, authorization: str | None, pace: Pace
    ) -> aiohttp.ClientResponse:
        """One request, with redirects. Credentials never leave the registry's own host, nor https."""
        url = urljoin(self.base_url(request.reference), request.url)
        for _ in range(_MAX_REDIRECTS):
            headers = dict(request.headers)
            if authorization and self._is_registry(request, url):
                headers["Authorization"] = authorization
            data = None
            if request.body is not None:
                data = _counted(request.body(), pace)
                headers["Content-Length"] = str(request.size)
            response = await self._connections.request(
                request.method, url, upload=data is not None, headers=headers, data=data
            )
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target:
                return response
            response.release()
            try:
                url = urljoin(url, target)
            except ValueError:
                raise aiohttp.ClientError("it redirects to a URL that cannot be parsed") from None
            if not is_usable_realm(url, insecure=self.is_insecure(request.reference)):
                raise UserError(
                    f"registry {request.reference.registry} redirects {request.reference} to a URL that is not https",
                    reason=Reason.IMAGE_NOT_FOUND,
                )
        raise aiohttp.ClientError(f"more than {_MAX_REDIRECTS} redirects")

    def _denied(self, request: Request, error: Denied) -> SentinelError:
        return UserError(
            f"connecting to the registry of {request.reference} was denied: {error}",
            reason=Reason.REGISTRY_NOT_ALLOWED,
        )

    def _is_registry(self, request: Request, url: str) -> bool:
        return url.startswith(f"{self.base_url(request.reference)}/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address: 127.attacker.example is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _counted(body: AsyncIterator[bytes], pace: Pace) -> AsyncIterator[bytes]:
    """A body whose parts count once the connection has taken them."""
    async for part in body:
        yield part
        pace.moved(len(part))


def describe(error: BaseException) -> tuple[str, bool]:  # noqa: PLR0911 - a table
    """A transport error for a person, and whether trying again is pointless."""
    if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        return about_proxy(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"its certificate is not trusted ({error.certificate_error}); an administrator can add its authority to "
            "the chart's value ca",
            True,
        )
    if isinstance(error, aiohttp.ClientSSLError):
        return (
            "it does not use TLS; if it serves plain HTTP, list it in images.insecureRegistries",
            True,
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name does not resolve; check the name", False
    if isinstance(error, TooSlow):
        return str(error), False
    if isinstance(error, TimeoutError):
        return "timed out", False
    return str(error) or type(error).__name__, False


def _retry_after(answer: Answer) -> float | None:
    value = answer.headers.get("retry-after", "")
    return min(float(value), _MAX_RETRY_AFTER) if value.isdigit() else None
