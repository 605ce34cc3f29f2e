"""POSTs to receivers, where the address rules allow it, and never more than a few bytes of an answer.

A host's addresses are checked as they are resolved and the connection goes to a checked one (`sentinel.network`), or to
the environment's proxy (`sentinel.egress`). Redirects are not followed: they would carry a token to another host.
"""

from __future__ import annotations

import asyncio
import email.utils
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from sentinel.clock import Clock
from sentinel.egress import UnusableProxy
from sentinel.network import Denied, Policy, Unresolved
from sentinel.registry.hosts import CheckedResolver, about_proxy, by_way_of, find_way
from sentinel.reports.post import Post
from sentinel.source.address import parse_web_address
from sentinel.trust import trusting

_RESOLVER_THREADS = 8
_MOST_ANSWER = 4096
_AT_ONCE = 32
"""Requests of one sender at once."""


class NotSent(Exception):
    """No answer came. The message is for a person and holds neither URL nor address."""


@dataclass(frozen=True)
class Answer:
    """A receiver's answer: its status, and the seconds after which it wants to be asked again, or 0."""

    status: int
    retry_after: float = 0.0


class Sender:
    """Sends to receivers that `policy` allows. `ca`: certificates (PEM) of authorities besides the system's."""

    def __init__(self, policy: Policy, *, clock: Clock, timeout: float, ca: str = "") -> None:
        self._policy = policy
        self._clock = clock
        self._timeout = timeout
        self._ca = ca
        self._pool = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="reports-dns")
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._direct: aiohttp.ClientSession | None = None
        self._proxied: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._direct = self._session(CheckedResolver(self._policy, self._pool))
        # Whatever address the proxy has, it is an administrator's choice.
        self._proxied = self._session(None)
        return self

    def _session(self, resolver: CheckedResolver | None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver, ssl=trusting(self._ca), limit=_AT_ONCE
            ),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "sentinel-reporter"},
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in (self._direct, self._proxied):
            if session is not None:
                await session.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def send(self, post: Post, *, secret: bool) -> Answer:
        """The receiver's answer. `secret`: the request holds a token. Raises NotSent."""
        assert self._direct is not None and self._proxied is not None  # noqa: S101 - entered
        try:
            address = parse_web_address(post.url)
        except ValueError as error:
            raise NotSent(str(error)) from None
        host, port = address.hostname, address.port_number
        if secret and not self._policy.may_send_secret(address.scheme, host, port):
            raise NotSent(
                f"no token is sent to {host} by plain http: use https, or list the host in network.plainHttp"
            )
        try:
            proxy = await find_way(post.url, self._policy, self._pool)
            session = self._direct if proxy is None else self._proxied
            async with (
                self._slots,
                session.post(
                    post.url,
                    data=post.body,
                    allow_redirects=False,
                    **by_way_of(proxy, address.url, post.headers),
                ) as response,
            ):
                await response.content.read(_MOST_ANSWER)
                return Answer(response.status, self._retry_after(response.headers))
        except Denied as error:
            raise NotSent(str(error)) from None
        except TimeoutError:
            raise NotSent(f"{host} did not answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotSent(f"{host}: {_why(error)}") from None

    def _retry_after(self, headers: Any) -> float:
        text = str(headers.get("Retry-After", ""))[:64]
        reset = str(headers.get("X-RateLimit-Reset", ""))[:16]
        if not text and headers.get("X-RateLimit-Remaining") == "0" and reset.isdecimal():
            return max(int(reset) - self._clock.now().timestamp(), 0.0)
        if text.isdecimal():
            return float(int(text[:9]))
        try:
            moment = email.utils.parsedate_to_datetime(text)
            return max((moment - self._clock.now()).total_seconds(), 0.0)
        except (TypeError, ValueError):
            return 0.0


def _why(error: Exception) -> str:
    """What went wrong, without addresses: a tenant must not learn what a name resolves to in the cluster."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, UnusableProxy):
        return str(error)
    if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        return about_proxy(error)[0]
    if isinstance(error, aiohttp.ClientConnectorDNSError | Unresolved):
        return "the name could not be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    return f"the connection broke ({type(error).__name__})"
