"""Which addresses a registry client connects to: those that the network policy allows, checked at every hop.

Registries, token servers and the places that they redirect to are named by tenants or by servers of theirs. Not here:
the rules (`network.py`).
"""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from sentinel.network import Policy


class CheckedResolver(AbstractResolver):
    """Resolves names to addresses that the policy allows; the connection goes to these and no others."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises Denied, Unresolved (an OSError)."""
        addresses = await asyncio.to_thread(self._policy.resolve, host, port)
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


def check_url(policy: Policy, url: str) -> None:
    """Check a URL whose host may be an address, for which no resolver is asked. Raises Denied, ValueError."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    policy.check_name(parts.hostname or "", port)
