"""POSTs to receivers, where the address rules allow it, and never more than a few bytes of an answer.

A host's addresses are checked as they are resolved and the connection goes to a checked one (`sentinel.network`).
Redirects are not followed: they would carry a token to another host.
"""

from __future__ import annotations

import asyncio
import email.utils
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from sentinel.clock import Clock
from sentinel.network import Denied, Policy, Unresolved
from sentinel.reports.post import Post
from sentinel.source.address import parse_web_address

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
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context()
        if self._ca.strip():
            context.load_verify_locations(cadata=self._ca)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Checked(self._policy, self._pool), ssl=context, limit=_AT_ONCE
            ),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "sentinel-reporter"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def send(self, post: Post, *, secret: bool) -> Answer:
        """The receiver's answer. `secret`: the request holds a token. Raises NotSent."""
        assert self._session is not None  # noqa: S101 - entered
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
            self._policy.check_name(host, port)
            async with (
                self._slots,
                self._session.post(
                    post.url, data=post.body, headers=dict(post.headers), allow_redirects=False
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


class _Checked(AbstractResolver):
    """Resolves names in threads, and gives only addresses that the policy allows."""

    def __init__(self, policy: Policy, pool: ThreadPoolExecutor) -> None:
        self._policy = policy
        self._pool = pool

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._policy.resolve, host, port
        )
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


def _why(error: Exception) -> str:
    """What went wrong, without addresses: a tenant must not learn what a name resolves to in the cluster."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError | Unresolved):
        return "the name could not be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    return f"the connection broke ({type(error).__name__})"
