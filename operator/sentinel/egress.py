"""Which proxy a connection takes: that of this process's environment, or none.

http_proxy, https_proxy and no_proxy are set by the administrator (in a pod, from the chart's value `proxy`). No field
of a Build, no repository and no server changes them. Every client of ours asks here, git included, so that no_proxy
means the same for all of them; programs read it in different ways.

An entry of no_proxy is a host or a domain, which stands for all below it too; an address; a network (CIDR), for hosts
that are written as addresses; each but a network with `:port` or without; or `*`. Loopback and link-local addresses are
never reached through a proxy.

A proxy resolves names itself. What may be reached through it is checked by `network.Policy.check_proxied`, as far as
that is possible from here; the rest is up to the rules of the proxy.

Standard library only, and quickly imported: the init container of a build imports it.
"""

from __future__ import annotations

import ipaddress
import os
from base64 import b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from sentinel.network import Unresolved

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
"""In small letters; capital ones count where these are not set."""


class UnusableProxy(Unresolved):
    """The proxy that the environment names cannot be used. The message holds no login."""


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """An HTTP proxy, reached by plain http: what it carries is encrypted by itself. `host` is without brackets."""

    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Its URL without the login, which may be shown."""
        return f"http://{self._place}"

    @property
    def full_url(self) -> str:
        """Its URL with the login: a secret."""
        if not self.username:
            return self.url
        login = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        return f"http://{login}@{self._place}"

    @property
    def authorization(self) -> str:
        """The value of Proxy-Authorization, "" without a login."""
        if not self.username:
            return ""
        return "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")

    @property
    def _place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_proxy(text: str) -> Proxy:
    """A proxy from its URL, http://[user:password@]host[:port], or from host:port.

    ValueError, which does not quote the text: it may hold a password.
    """
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        host, port = "", 0
    if not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("the proxy's URL is not http://host:port")
    if parts.scheme.lower() != "http":
        raise ValueError(
            f"the proxy's URL begins with {parts.scheme}://, and only http:// is supported"
        )
    return Proxy(
        host=host,
        port=port,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def proxy_for(
    scheme: str, host: str, port: int, *, environ: Mapping[str, str] | None = None
) -> Proxy | None:
    """The proxy for that server, None for a direct connection. `host` is without brackets.

    UnusableProxy where the environment names one that cannot be used.
    """
    known = os.environ if environ is None else environ
    text = _variable(known, f"{scheme}_proxy") or _variable(known, "all_proxy")
    if not text or bypasses(host, port, _variable(known, "no_proxy").split(",")):
        return None
    try:
        return parse_proxy(text)
    except ValueError as error:
        raise UnusableProxy(f"{error} (the variable {scheme}_proxy or all_proxy)") from None


def proxies_for(url: str) -> dict[str, str]:
    """The same for a URL as libraries take it: the proxy's URL with its login by scheme; empty for none."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    proxy = proxy_for(parts.scheme, parts.hostname or "", port)
    return {parts.scheme: proxy.full_url} if proxy is not None else {}


def passwords(environ: Mapping[str, str] | None = None) -> list[str]:
    """The passwords of the environment's proxies, which no message may show."""
    known = os.environ if environ is None else environ
    found = []
    for name in VARIABLES[:3]:
        with suppress(ValueError):
            password = parse_proxy(_variable(known, name)).password
            found += [password, quote(password, safe="")]
    return [each for each in found if each]


def bypasses(host: str, port: int, entries: Iterable[str]) -> bool:
    """Whether a server is reached without a proxy, by the entries of no_proxy and by what it is."""
    name = host.lower().rstrip(".")
    address = _address(name)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if address is not None and (address.is_loopback or address.is_link_local):
        return True
    return any(_matches(entry.strip().lower(), name, address, port) for entry in entries)


def _matches(
    entry: str, name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int
) -> bool:
    if not entry or entry == "*":
        return bool(entry)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    place, wanted = _split(entry)
    if wanted and wanted != str(port):
        return False
    if (named := _address(place)) is not None:
        return named == address
    domain = place.removeprefix("*").strip(".")
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))


def _split(entry: str) -> tuple[str, str]:
    """Host and port, which may be ""."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = entry.rpartition(":")
    return (host, port) if host and ":" not in host else (entry, "")


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
