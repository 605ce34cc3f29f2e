"""What git is let in with, and whom it trusts: a Secret's keys, made into git's environment for each address.

Shared by the operator and by the pod's fetcher, so it imports nothing slow. A credential belongs to the server it was
given for, which is the source's own: whatever else a repository makes us fetch from (submodules) gets none.
"""

from __future__ import annotations

from sentinel.source.gitcommand import environment, write_ca_file, write_ssh_files

TYPE_CHECKING = False  # `typing` costs 4 ms of the fetcher's start
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentinel.source.address import Address

KEYS = ("username", "password", "token", "ssh-privatekey", "known_hosts", "ca.crt")
"""Keys of a git Secret. Those of kubernetes.io/basic-auth and kubernetes.io/ssh-auth, and three of ours."""


class Access:
    """The way into one server. `hidden` holds what no message may show."""

    __slots__ = ("_allow_file", "_ca", "_key", "_known_hosts", "_login", "_server", "hidden")

    def __init__(
        self,
        server: Address,
        secret: Mapping[str, str],
        *,
        scratch: str,
        ca: str = "",
        allow_file: bool = False,
    ) -> None:
        """`secret` maps KEYS to text, `ca` is the operator's own bundle; files go to `scratch`, which is ours alone.

        ValueError, with a sentence for the user, where a value cannot be used.
        """
        username = secret.get("username", "").strip() or server.username
        password = secret.get("password", "").strip() or server.password
        token = secret.get("token", "").strip()
        if any(ord(character) < 33 or ord(character) > 126 for character in token):
            raise ValueError(
                "`token` of the Secret is none: it holds spaces, line ends or letters no header may have"
            )
        self._server = server
        self._login = (username, password, token)
        self._key, self._known_hosts = write_ssh_files(
            scratch,
            key=secret.get("ssh-privatekey", ""),
            known_hosts=secret.get("known_hosts", ""),
        )
        try:
            self._ca = write_ca_file(scratch, ca, secret.get("ca.crt", ""))
        except ValueError as error:
            raise ValueError(f"`ca.crt` of the Secret holds {error}") from error
        self._allow_file = allow_file
        # The scratch directory's name is no secret, but nothing that anybody could act on.
        self.hidden = (password, token, username if password else "", scratch)

    def offers(self, address: Address) -> bool:
        """Whether there is a credential for the server of that address."""
        username, password, token = self._login_for(address)
        return bool(username or password or token or self._key_for(address))

    def environment(self, address: Address) -> dict[str, str]:
        """git's whole environment for fetching from that address, secrets included: never print it."""
        username, password, token = self._login_for(address)
        return environment(
            address=address,
            username=username,
            password=password,
            token=token,
            key_file=self._key_for(address),
            known_hosts_file=self._known_hosts,
            ca_file=self._ca,
            allow_file=self._allow_file,
        )

    def _login_for(self, address: Address) -> tuple[str, str, str]:
        """User name, password and token: for http, on the very host and port."""
        server = (self._server.scheme, self._server.host.lower())
        same = address.is_http and (address.scheme, address.host.lower()) == server
        return self._login if same else ("", "", "")

    def _key_for(self, address: Address) -> str:
        """The key's file: for ssh on the host, whose port `known_hosts` holds it to."""
        same = address.scheme == "ssh" and address.hostname == self._server.hostname
        return self._key if same else ""
