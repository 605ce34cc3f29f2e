"""HTTP for archives and step registries: one GET, bounded in bytes, time and rate, to checked addresses only.

The address is a tenant's and so may be its server. Therefore: every hop's host is resolved and checked by
`sentinel.network`, and the connection goes to the checked address; certificates are always verified; no redirect leaves
http or goes from https to http; credentials go to the one origin they were given for; a server that trickles is cut
off; and errors hold no query string, which is where presigned URLs have their secret, and nothing of a body.

Blocking, standard library only. Proxies of the environment are used (`sentinel.egress`). They resolve names themselves;
what a name means here is checked all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urljoin

from sentinel import network
from sentinel.egress import Proxy, proxy_for
from sentinel.source.address import Address, parse_web_address, without_query
from sentinel.source.failure import Deadline
from sentinel.trust import trusting

SILENCE = 30.0
"""Seconds that a server may send nothing, and the window in which it must send MIN_BYTES."""
MIN_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0
MAX_REDIRECTS = 5

_CHUNK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TICK = 0.25
_BY_PROXY = re.compile(r"Tunnel connection failed: (\d{3})")
"""What http.client raises where a proxy does not connect."""


class HttpError(Exception):
    """No answer. The message is the end of a sentence that begins with the URL: "cannot be reached: …".

    `kind`: "denied" (the address is refused), "redirect" (to where it may not lead), "too large", "untrusted" (its
    certificate), "unavailable".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, kw_only=True)
class WebLogin:
    """What is shown to the server: user name and password, or a bearer token."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def header(self) -> str:
        """The value of Authorization, "" for none."""
        username, password, token = (
            text.strip() for text in (self.username, self.password, self.token)
        )
        if token:
            return f"Bearer {token}"
        if not username and not password:
            return ""
        # A token alone is common; servers ignore the name, but it must not be empty.
        pair = f"{username or 'git'}:{password}".encode()
        return f"Basic {b64encode(pair).decode('ascii')}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The last answer. With status 200 `size` bytes were written, whose SHA-256 in hex is `digest`."""

    status: int
    url: str
    size: int = 0
    digest: str = ""


def tls_context(*, ca_file: str = "", ca: str = "") -> ssl.SSLContext:
    """How servers are verified: by the system's authorities ($SSL_CERT_FILE), and by those given (PEM) as well."""
    if not ca_file:
        return trusting(ca)
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=ca_file, cadata=ca or None)
    return context


class Client:
    """Sends GET requests. `login` is shown to the origin of `home` only, and to it only over TLS or where allowed."""

    def __init__(
        self,
        *,
        policy: network.Policy | None = None,
        tls: ssl.SSLContext | None = None,
        home: Address | None = None,
        login: WebLogin | None = None,
    ) -> None:
        self._policy = policy or network.STRICT
        self._tls = tls or tls_context()
        self._home = home.origin if home else None
        self._authorization = login.header if login else ""

    def get(
        self,
        url: str,
        into: BinaryIO | None,
        *,
        limit: int = 0,
        deadline: Deadline,
        with_login: bool = True,
    ) -> Answer:
        """Write the body of a 200 `into` a file, if there is one. One try; redirects are followed.

        HttpError; OSError where writing fails; CalledOff where the deadline was cancelled.
        """
        try:
            return self._get(url, into, limit, deadline, with_login=with_login)
        except _OursError as error:
            raise error.error from None

    def _get(
        self,
        url: str,
        into: BinaryIO | None,
        limit: int,
        deadline: Deadline,
        *,
        with_login: bool,
    ) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            address = _parsed(url)
            headers = {"User-Agent": "sentinel", "Accept-Encoding": "identity"}
            if self._authorization and with_login and address.origin == self._home:
                headers["Authorization"] = self._authorization
            with self._answer(address, headers, deadline) as (answer, watch):
                location = answer.headers.get("Location", "")
                if answer.status in _REDIRECTS and location:
                    url = _followed(address, location)
                    continue
                if answer.status != 200 or into is None:
                    return Answer(status=answer.status, url=address.url)
                size, digest = _copy(answer, into, limit=limit, watch=watch)
                return Answer(status=200, url=address.url, size=size, digest=digest)
        raise HttpError("redirect", f"redirects more than {MAX_REDIRECTS} times")

    @contextlib.contextmanager
    def _answer(
        self, address: Address, headers: dict[str, str], deadline: Deadline
    ) -> Iterator[tuple[http.client.HTTPResponse, _Watch]]:
        connection = None
        with _Watch(deadline) as watch:
            try:
                connection, target = self._connect(address, deadline, headers)
                watch.sock = connection.sock
                connection.request("GET", target, headers=headers)
                with connection.getresponse() as answer:
                    yield answer, watch
            except network.Denied as error:
                raise HttpError("denied", f"is not allowed: {error}") from None
            except ssl.SSLCertVerificationError as error:
                why = f"its certificate is not trusted: {error.verify_message}"
                raise HttpError("untrusted", f"cannot be reached: {why}") from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                deadline_passed(deadline)
                raise HttpError("unavailable", watch.why or _why(error)) from None
            finally:
                if connection is not None:
                    connection.close()

    def _connect(
        self, address: Address, deadline: Deadline, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, str]:
        """A connection and the request's target."""
        host, port, target = address.hostname, address.port_number, address.target
        proxy = proxy_for(address.scheme, host, port)
        if proxy is None:
            addresses = self._policy.resolve(host, port)
        else:
            # The proxy's own address is not checked: it is an administrator's choice.
            self._policy.check_proxied(host, port)
            addresses = [proxy.host]
        seconds = deadline.left(SILENCE)
        place = (host, port) if proxy is None else (proxy.host, proxy.port)
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            connection = http.client.HTTPSConnection(*place, timeout=seconds, context=self._tls)
            if proxy is not None:
                connection.set_tunnel(host, port, headers=_proxy_login(proxy))
        else:
            connection = http.client.HTTPConnection(*place, timeout=seconds)
            if proxy is not None:
                headers |= _proxy_login(proxy)
                target = f"http://{address.host}{target}"
        # The checked addresses, and no second look-up.
        connection._create_connection = lambda at, *_: _dial(addresses, at[1], seconds)  # type: ignore[attr-defined]
        connection.connect()
        return connection, target


class _OursError(Exception):
    """Writing failed, which is no fault of the server's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Watch:
    """Shuts a connection down that is past its deadline, cancelled, or slower than MIN_BYTES in SILENCE seconds.

    A socket's own timeout starts again with every byte, in headers and chunk sizes too.
    """

    def __init__(self, deadline: Deadline) -> None:
        self.sock: socket.socket | None = None
        self.got = 0
        self.why = ""
        self._deadline = deadline
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http watch", daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        begun, before = self._deadline.monotonic(), 0
        while not self._done.wait(_TICK):
            now = self._deadline.monotonic()
            if self._deadline.over:
                self.why = "did not finish in time"
            elif now - begun >= SILENCE:
                if self.got - before < MIN_BYTES:
                    self.why = f"sends less than {MIN_BYTES // 1024} KiB in {SILENCE:g} seconds"
                begun, before = now, self.got
            if self.why and self.sock is not None:
                with contextlib.suppress(OSError):
                    # Of TLS too only the descriptor: the reader must find its own state intact.
                    socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def deadline_passed(deadline: Deadline) -> None:
    """CalledOff where it was cancelled, HttpError where its time is over."""
    try:
        deadline.left()
    except TimeoutError:
        raise HttpError("unavailable", "did not finish in time") from None


def _copy(
    answer: http.client.HTTPResponse, into: BinaryIO, *, limit: int, watch: _Watch
) -> tuple[int, str]:
    said = answer.headers.get("Content-Length", "")
    expected = int(said) if said.isdigit() and len(said) < 20 else None
    digest = hashlib.sha256()
    while watch.got <= limit and (expected is None or expected <= limit):
        chunk = answer.read1(_CHUNK)
        if not chunk:
            break
        watch.got += len(chunk)
        if watch.got <= limit:
            digest.update(chunk)
            try:
                into.write(chunk)
            except OSError as error:
                raise _OursError(error) from None
    else:
        raise HttpError("too large", f"is larger than {_size(limit)}")
    if watch.why:
        raise OSError(watch.why)
    if expected is not None and watch.got != expected:
        raise HttpError(
            "unavailable", f"ended the connection after {watch.got} of {expected} bytes"
        )
    return watch.got, digest.hexdigest()


def _size(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit % (1 << 20) == 0 else f"{limit} bytes"


def _dial(addresses: list[str], port: int, seconds: float) -> socket.socket:
    """A connection to the first of the addresses that takes one."""
    trouble: OSError = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), min(seconds, CONNECT_SECONDS))
        except OSError as error:
            trouble = error
    raise trouble


def _parsed(url: str) -> Address:
    try:
        return parse_web_address(url)
    except ValueError as error:
        raise HttpError("redirect", str(error)) from None


def _followed(address: Address, location: str) -> str:
    target = urljoin(address.url, location)
    scheme = target.partition("://")[0].lower()
    if scheme not in ("http", "https") or (address.scheme == "https" and scheme == "http"):
        raise HttpError(
            "redirect",
            f"redirects to {without_query(target)[:200]}, which is not followed: only http and https are, and never "
            "from https to http, which is not encrypted",
        )
    return target


def _proxy_login(proxy: Proxy) -> dict[str, str]:
    return {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}


def _why(error: Exception) -> str:
    if isinstance(error, network.Unresolved):
        return f"cannot be reached: {error}"
    if isinstance(error, TimeoutError):
        return f"sent nothing for {SILENCE:g} seconds"
    if isinstance(error, http.client.IncompleteRead):
        return "ended the connection in the middle"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return f"cannot be reached: {os.strerror(error.errno)}"
    if refused := _BY_PROXY.match(str(error)):
        return f"cannot be reached: the proxy answered with HTTP {refused[1]}"
    # Not str(error): it may quote what the server sent.
    name = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    return f"cannot be reached: {name or type(error).__name__}"
