"""How a registry client connects: to addresses that the network policy allows, checked at every hop, or by a proxy.

Registries, token servers and the places that they redirect to are named by tenants or by servers of theirs. Not here:
the rules (`network.py`), and which proxy is for which server (`egress.py`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from sentinel.egress import Proxy, proxy_for
from sentinel.network import Policy
from sentinel.trust import trusting

_MAX_HEADERS = 64


class CheckedResolver(AbstractResolver):
    """Resolves names to addresses that the policy allows; the connection goes to these and no others."""

    def __init__(self, policy: Policy, executor: Executor | None = None) -> None:
        """`executor` has the threads that ask name servers; the loop's own by default."""
        self._policy, self._executor = policy, executor

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises Denied, Unresolved (an OSError)."""
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._executor, self._policy.resolve, host, port)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


async def find_way(
    url: str, policy: Policy | None, executor: Executor | None = None
) -> Proxy | None:
    """The proxy for a URL, None for a direct connection. Raises Denied, InvalidURL, UnusableProxy.

    A direct connection's name is checked by the resolver; a host that is an address, for which none is asked, here. It
    is read from the URL as aiohttp does, which takes full-width digits for digits.
    """
    try:
        parts = URL(url)
    except ValueError:
        # Not quoted: it may be a redirect that holds a signature.
        raise aiohttp.InvalidURL("a URL", "it cannot be parsed") from None
    host, port = parts.raw_host or "", parts.port or 0
    proxy = proxy_for(parts.scheme, host, port)
    if policy is not None and proxy is None:
        policy.check_name(host, port)
    elif policy is not None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(executor, policy.check_proxied, host, port)
    return proxy


def by_way_of(proxy: Proxy | None, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The options of aiohttp's request for that URL with these headers. The login goes to the proxy alone."""
    if proxy is None:
        return {"headers": headers}
    login = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    if url.lower().startswith("https:"):
        return {"proxy": proxy.url, "proxy_headers": login or None, "headers": headers}
    # aiohttp would send it with the first request of a connection only.
    return {"proxy": proxy.url, "headers": {**headers, **login}}


def about_proxy(
    error: aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError,
) -> tuple[str, bool]:
    """What went wrong with a proxy, without its URL, and whether trying again is pointless."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "the proxy cannot be reached; check the chart's value proxy", False
    if error.status in (403, 407):
        return f"the proxy denied the connection: HTTP {error.status}", True
    return f"the proxy could not connect to it: HTTP {error.status}", False


class Connections:
    """Pools of connections: straight to checked addresses, or to proxies; for questions, or for bodies.

    A proxy's own address is not checked, so its pools are never used for a server that a tenant names.
    """

    def __init__(
        self, *, policy: Policy | None, ca: str, connect_seconds: float, read_seconds: float
    ) -> None:
        self._policy = policy
        self._tls = trusting(ca) if ca.strip() else True
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_seconds, sock_read=read_seconds
        )
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}

    async def close(self) -> None:
        """Close all of them."""
        for session in self._sessions.values():
            await session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        upload: bool = False,
        **options: Any,
    ) -> aiohttp.ClientResponse:
        """The answer, which is to be released; redirects are not followed. Raises Denied, aiohttp's errors, OSError."""
        proxy = await find_way(url, self._policy)
        session = self._session(upload=upload, proxied=proxy is not None)
        return await session.request(
            method, url, allow_redirects=False, **by_way_of(proxy, url, headers), **options
        )

    def _session(self, *, upload: bool, proxied: bool) -> aiohttp.ClientSession:
        session = self._sessions.get((upload, proxied))
        if session is None:
            resolver = None if proxied or self._policy is None else CheckedResolver(self._policy)
            more: dict[str, Any] = {}
            if not upload:
                # No decompression: a layer is passed on as it is, and a small answer cannot unfold into a large one.
                more = {"auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
            # aiohttp sends a PUT again by itself when a kept-alive connection turns out dead, and by then the body is
            # half read. A connection that was never used cannot be stale.
            connector = aiohttp.TCPConnector(force_close=upload, resolver=resolver, ssl=self._tls)
            session = self._sessions[upload, proxied] = aiohttp.ClientSession(
                timeout=self._timeout, max_headers=_MAX_HEADERS, connector=connector, **more
            )
        return session
