"""Where connections on a tenant's behalf may go: decides about host names and resolved addresses.

Git URLs, archives, step registries, images: a tenant names the host, and we connect from inside the cluster. So every
name is resolved here, every address is checked, and the caller connects to the checked address and to no other (a
second look-up may have another answer). Redirects are new connections and pass the same way.

Loopback, link-local, multicast and reserved addresses, cloud metadata services, the API server and the cluster's own
ranges (`denied`, from the setting `network.clusterRanges`) are refused, unless `allowed` (`network.allowed`) has an
exception. Loopback, link-local and metadata need a CIDR there: a name does not open them.

Standard library only: the init container of a build imports it too.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
"""Metadata services of clouds that are not link-local: Alibaba, Azure, Oracle, AWS by IPv6."""
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SETTING = "An administrator can allow it in network.allowed"


class Denied(ValueError):
    """A connection that is not made. The message is for a person and holds no resolved address."""


class Unresolved(OSError):
    """The name has no address, or no name server answered. Worth another try."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Which addresses are refused.

    `denied` are networks; `allowed` the exceptions: a network, `host` or `host:port`; `plain_http` hosts (`host`,
    `host:port`, or `*`) that credentials are sent to without TLS.
    """

    denied: tuple[IPNetwork, ...] = ()
    allowed_networks: tuple[IPNetwork, ...] = ()
    allowed_hosts: frozenset[str] = frozenset()
    plain_http: frozenset[str] = field(default=frozenset())

    @classmethod
    def make(
        cls,
        *,
        denied: Iterable[str] = (),
        allowed: Iterable[str] = (),
        plain_http: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Policy:
        """From texts. The API server's address is taken from `environ` (default: our own) and always denied.

        ValueError where an entry of `denied` is no network.
        """
        refused = [ipaddress.ip_network(text.strip(), strict=False) for text in denied]
        server = (os.environ if environ is None else environ).get("KUBERNETES_SERVICE_HOST", "")
        if address := _literal(server):
            refused.append(ipaddress.ip_network(address))
        networks, hosts = [], set()
        for text in allowed:
            try:
                networks.append(ipaddress.ip_network(text.strip(), strict=False))
            except ValueError:
                hosts.add(text.strip().lower())
        return cls(
            denied=tuple(refused),
            allowed_networks=tuple(networks),
            allowed_hosts=frozenset(hosts),
            plain_http=frozenset(text.strip().lower() for text in plain_http),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Iterable[str]]) -> Policy:
        """From what `to_json` gave."""
        return cls.make(
            denied=data.get("denied", ()),
            allowed=data.get("allowed", ()),
            plain_http=data.get("plain_http", ()),
        )

    def to_json(self) -> dict[str, list[str]]:
        """For another process."""
        return {
            "denied": [str(each) for each in self.denied],
            "allowed": [
                *(str(each) for each in self.allowed_networks),
                *sorted(self.allowed_hosts),
            ],
            "plain_http": sorted(self.plain_http),
        }

    def with_host(self, host: str) -> Policy:
        """The same, with one host more that may be in the cluster: an administrator's own choice."""
        return replace(self, allowed_hosts=self.allowed_hosts | {host.lower()})

    def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of `host`, a name or a literal without brackets, all of them checked.

        Denied if any of them is refused; Unresolved where there is none. Blocking: name servers are asked.
        """
        return self._resolve(host, port, flags=socket.AI_ADDRCONFIG)

    def _resolve(self, host: str, port: int, *, flags: int) -> list[str]:
        self.check_name(host, port)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
        except (OSError, UnicodeError) as error:
            raise Unresolved(f"could not resolve host {host}: {_why(error)}") from None
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        for address in addresses:
            self.check(address, host=host, port=port)
        return addresses

    def check_proxied(self, host: str, port: int) -> None:
        """The same for a server that a proxy connects to. A name that has no address here is for the proxy to resolve.

        The proxy resolves the others as well, perhaps to something else: it has to have rules of its own. Addresses of
        both families count, also of one that this machine does not have: the proxy may. Blocking.
        """
        try:
            self._resolve(host, port, flags=0)
        except Unresolved:
            return

    def check_name(self, host: str, port: int) -> None:
        """Denied for names that mean this machine whatever a name server answers, and for refused literals."""
        name = host.lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            self.check("127.0.0.1", host=host, port=port)
        elif _literal(name) is not None:
            self.check(name, host=host, port=port)

    def check(self, address: str, *, host: str, port: int) -> None:
        """Denied where the address, which `host` resolved to, is refused."""
        ip = _literal(address)
        if ip is None:
            raise Denied(f"{host}:{port} has an address of an unknown type")
        for each in _meant(ip):
            kind = self._refused(each, host.lower().rstrip("."), port)
            if kind:
                raise Denied(f"{host}:{port} is {kind}, which builds may not reach. {_SETTING}")

    def may_send_secret(self, scheme: str, host: str, port: int) -> bool:
        """Whether a credential may be sent to that server: by anything but plain http, or where a setting says so."""
        if scheme != "http":
            return True
        name = host.lower()
        return not self.plain_http.isdisjoint({"*", name, f"{name}:{port}"})

    def _refused(self, ip: IPAddress, host: str, port: int) -> str:
        """What kind of address it is, "" where it is allowed."""
        if any(ip in network for network in self.allowed_networks):
            return ""
        if kind := _never_a_server(ip):
            return kind
        named = not self.allowed_hosts.isdisjoint({host, f"{host}:{port}"})
        if not named and any(ip in network for network in self.denied):
            return "an address of the cluster itself"
        return ""


def _never_a_server(ip: IPAddress) -> str:
    """What kind of address it is, if it is one that no server of a tenant's has; else ""."""
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_link_local:
        return "a link-local address"
    if ip in _METADATA:
        return "a cloud's metadata service"
    if ip.is_unspecified or ip.is_multicast or ip.is_reserved or ip in _THIS_NETWORK:
        return "not an address of a server"
    return ""


def _literal(text: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _meant(ip: IPAddress) -> list[IPAddress]:
    """The address, and the IPv4 address that an IPv6 one may be translated to."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        # Not the IPv6 form: ::ffff:0:0/96 as a whole counts as reserved.
        return [ip.ipv4_mapped]
    inner = [each for each in (ip.sixtofour, ip.teredo[1] if ip.teredo else None) if each]
    if ip in _NAT64:
        return [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    if int(ip) >> 32 == 0 and int(ip) > 1:
        inner.append(ipaddress.IPv4Address(int(ip)))
    return [ip, *inner]


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is not a host name"


STRICT = Policy.make()
"""The default: no exceptions. The cluster's own ranges are known to the settings only."""
