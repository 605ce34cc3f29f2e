"""What git is let in with, whom it trusts, and where it connects: git's environment for each address.

A credential belongs to the server it was given for, which is the source's own: whatever else a repository makes us
fetch from (submodules) gets none. Every address is resolved and checked (`sentinel.network`) before git runs, and git
connects to the checked addresses.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.egress import Proxy, passwords, proxy_for
from sentinel.errors import UserError
from sentinel.source.address import Address, holds_login, parse_web_address, without_query
from sentinel.source.gitcommand import environment, write_ca_file, write_ssh_files

KEYS = ("username", "password", "token", "ssh-privatekey", "known_hosts", "ca.crt")
"""Keys of a git Secret. Those of kubernetes.io/basic-auth and kubernetes.io/ssh-auth, and three of ours."""


@dataclass(frozen=True, kw_only=True)
class GitCredentials:
    """What a git Secret holds: KEYS."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ssh_key: str = field(default="", repr=False)
    known_hosts: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)

    @classmethod
    def from_secret(cls, data: Mapping[str, str]) -> GitCredentials:
        """From a Secret's keys; other keys are ignored."""
        names = [each.name for each in fields(cls)]
        return cls(**{name: data.get(key, "") for name, key in zip(names, KEYS, strict=True)})


def check_login(
    url: str, given: GitCredentials, *, field: str, policy: network.Policy | None = None
) -> None:
    """UserError where a Build's URL holds a login, or the login of its Secret would go over plain http.

    `field` is where the URL is: `spec.source.git`.
    """
    if holds_login(url):
        raise UserError(
            f"{field}.url holds a user name or password, which everyone who can read the Build or its pod sees: put "
            f"it into a Secret of type kubernetes.io/basic-auth and name that in {field}.secretRef",
            reason=Reason.INVALID_SPEC,
        )
    try:
        address = parse_web_address(url)
    except ValueError:
        return
    has_login = bool(given.username or given.password or given.token)
    if has_login and not (policy or network.STRICT).may_send_secret(*address.origin):
        raise UserError(
            f"{field}.secretRef: its login would be sent to {without_query(address.url)} without encryption. Use "
            "https, or have an administrator add the host to network.plainHttp",
            reason=Reason.INVALID_SPEC,
        )


class Access:
    """The way into one server. `hidden` holds what no message may show."""

    def __init__(
        self,
        server: Address,
        given: GitCredentials,
        *,
        scratch: str,
        ca: str = "",
        allow_file: bool = False,
        policy: network.Policy | None = None,
    ) -> None:
        """`ca` is the operator's own bundle; files go to `scratch`, which is ours alone.

        ValueError, with a sentence for the user, where a value cannot be used.
        """
        username = given.username.strip() or server.username
        password = given.password.strip() or server.password
        token = given.token.strip()
        if any(ord(character) < 33 or ord(character) > 126 for character in token):
            raise ValueError(
                "`token` of the Secret is not valid in a header: it has spaces, line ends or other characters "
                "that HTTP does not allow"
            )
        self._server = server
        self._login = (username, password, token)
        self._key, self._known_hosts = write_ssh_files(
            scratch, key=given.ssh_key, known_hosts=given.known_hosts
        )
        try:
            self.ca_file = write_ca_file(scratch, ca, given.ca)
        except ValueError as error:
            raise ValueError(f"`ca.crt` of the Secret holds {error}") from error
        self._allow_file = allow_file
        self._policy = policy or network.STRICT
        self._routes: dict[tuple[str, str, int], list[str]] = {}
        # The scratch directory's name is not a secret, but does not help the reader.
        self.hidden = (password, token, username if password else "", scratch, *passwords())

    def offers(self, address: Address) -> bool:
        """Whether there is a credential for the server of that address."""
        username, password, token = self._login_for(address)
        return bool(username or password or token or self._key_for(address))

    def follows_redirects(self, address: Address) -> bool:
        """Whether it may be tried where a redirect leads: not with a token, which hosts of git never redirect."""
        return address.is_http and not self._login_for(address)[2]

    def environment(self, address: Address, *, moved: Address | None = None) -> dict[str, str]:
        """git's whole environment for fetching from that address, secrets included: never print it.

        `moved` is where a redirect leads; another server than that of `address` gets no credentials, whichever it is.
        Raises network.Denied and network.Unresolved. Blocking.
        """
        at = moved or address
        username, password, token = (
            self._login_for(at) if at.origin == address.origin else ("", "", "")
        )
        return environment(
            address=at,
            username=username,
            password=password,
            token=token,
            key_file=self._key_for(at),
            known_hosts_file=self._known_hosts,
            ca_file=self.ca_file,
            allow_file=self._allow_file,
            pinned=self._route(at),
            proxy=_proxy(at),
            instead_of=address.url if moved else "",
        )

    def _route(self, address: Address) -> list[str]:
        """The checked addresses of the server, [] where none need be pinned: a literal, a file, behind a proxy."""
        if address.scheme == "file":
            return []
        if address.origin not in self._routes:
            self._routes[address.origin] = self._resolve(address)
        return self._routes[address.origin]

    def _resolve(self, address: Address) -> list[str]:
        host, port = address.hostname, address.port_number
        if _proxy(address) is not None:
            self._policy.check_proxied(host, port)
            return []
        found = self._policy.resolve(host, port)
        if _is_literal(host):
            return []
        # curl tries them all; for ssh and git:// we find the one that answers.
        return found if address.is_http or len(found) == 1 else [_reachable(found, port)]

    def _login_for(self, address: Address) -> tuple[str, str, str]:
        """User name, password and token: for http, on the very host and port."""
        same = address.is_http and address.origin == self._server.origin
        return self._login if same else ("", "", "")

    def _key_for(self, address: Address) -> str:
        """The key's file: for ssh on the host, whose port `known_hosts` holds it to."""
        same = address.scheme == "ssh" and address.hostname == self._server.hostname
        return self._key if same else ""


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _proxy(address: Address) -> Proxy | None:
    """The proxy for that address; ssh and git:// take none."""
    if not address.is_http:
        return None
    return proxy_for(address.scheme, address.hostname, address.port_number)


def _reachable(addresses: list[str], port: int) -> str:
    for address in addresses:
        try:
            socket.create_connection((address, port), 5).close()
        except OSError:
            continue
        return address
    return addresses[0]
