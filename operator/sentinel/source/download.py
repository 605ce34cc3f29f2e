"""Downloading an archive by http or https: by the operator, which reads wercker.yml, and again in the pod.

The address is a user's and so may be its server. Therefore: certificates are always verified, no redirect leaves TLS or
http, credentials go to the one scheme, host and port they were given for, sizes and times are bounded, and messages
hold no secret and no query string, which is where presigned addresses have theirs.

The standard library only; imported where an archive is fetched, and not on the start of every fetcher.
"""

# pathlib costs the fetcher's start:
# ruff: noqa: PTH123

from __future__ import annotations

import hashlib
import http.client
import os
import random
import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode
from urllib.parse import quote, unquote, urljoin

from sentinel.source.address import Address, clean, parse_address
from sentinel.source.complaint import (
    SOURCE_AUTH_FAILED,
    SOURCE_INVALID,
    SOURCE_NOT_FOUND,
    SOURCE_UNAVAILABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    Response = http.client.HTTPResponse

TRIES = 3
SILENCE = 30.0
"""Seconds a server may say nothing."""
MAX_ARCHIVE = 512 * 1024 * 1024
"""Bytes of an archive as it is downloaded."""
MAX_REDIRECTS = 5

_CHUNK = 256 * 1024
_RETRIED = (408, 425, 429)
"""Client errors that are the server's: too slow, too early, too often."""


class DownloadError(Exception):
    """There is no archive. `reason` is a word of the closed list; `final` where another try would not do better."""

    def __init__(self, reason: str, message: str, *, final: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.final = final


class Login:
    """What to show the server: user name and password, or a bearer token. `ca_file` holds more authorities."""

    __slots__ = ("ca_file", "password", "token", "username")

    def __init__(
        self, *, username: str = "", password: str = "", token: str = "", ca_file: str = ""
    ) -> None:
        self.username = username.strip()
        self.password = password.strip()
        self.token = token.strip()
        self.ca_file = ca_file

    @property
    def header(self) -> str:
        """The value of Authorization, "" for none."""
        if self.token:
            return f"Bearer {self.token}"
        if not self.username and not self.password:
            return ""
        # A token alone is common; servers ignore the name, but it must not be empty.
        pair = f"{self.username or 'git'}:{self.password}".encode()
        return f"Basic {b64encode(pair).decode('ascii')}"


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """How servers are verified: the system's authorities ($SSL_CERT_FILE), and those in `ca_file` as well."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context


def parse_archive_url(url: str, *, allow_file: bool = False) -> Address:
    """Take an archive's URL apart. ValueError, with a sentence for the user, where it is none that may be used."""
    scheme = url.partition("://")[0].lower()
    allowed = ("https", "http", *(("file",) if allow_file else ()))
    if scheme not in allowed or "://" not in url:
        raise ValueError(
            f"{without_query(url)!r} is not an archive's URL that may be used here. "
            f"Give one that begins with {' or '.join(f'{each}://' for each in allowed)}"
        )
    return parse_address(url, allow_file=allow_file)


def without_query(url: str) -> str:
    """A URL for people: no credentials, no query, no fragment."""
    return clean(url.partition("#")[0].partition("?")[0])


def download(
    url: str,
    path: str,
    *,
    login: Login,
    sha256: str = "",
    limit: int = MAX_ARCHIVE,
    timeout: float = 600.0,
    allow_file: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> str:
    """Write what `url` gives to the file `path`; its sha256 in lower-case hexadecimal.

    DownloadError: SourceNotFound, SourceAuthFailed, SourceUnavailable after three tries or `timeout` seconds for all
    of them, SourceInvalid where it is larger than `limit` bytes or not what `sha256` says. `stopped` is asked often.
    """
    try:
        address = parse_archive_url(url, allow_file=allow_file)
    except ValueError as error:
        raise DownloadError(SOURCE_NOT_FOUND, f"spec.source.archive.url: {error}") from None
    if not login.header:
        login = Login(username=address.username, password=address.password, ca_file=login.ca_file)
    transfer = _Transfer(address, login, limit, time.monotonic() + timeout, stopped)
    for attempt in range(1, TRIES + 1):
        try:
            digest = transfer.run(path)
            break
        except DownloadError as error:
            if error.final or attempt == TRIES:
                raise
        time.sleep(attempt * random.uniform(0.3, 0.8))  # noqa: S311 - jitter
    if sha256 and digest != sha256:
        raise DownloadError(
            SOURCE_INVALID,
            f"{without_query(url)} is not the archive that was asked for: its sha256 is {digest}, and not {sha256}",
        )
    return digest


class _Transfer:
    """One address, its credentials and bounds."""

    def __init__(
        self,
        address: Address,
        login: Login,
        limit: int,
        deadline: float,
        stopped: Callable[[], bool],
    ) -> None:
        self._address = address
        self._login = login
        self._limit = limit
        self._deadline = deadline
        self._stopped = stopped
        self._where = without_query(address.url)

    def run(self, path: str) -> str:
        source, size = self._open()
        digest, got = hashlib.sha256(), 0
        with source, open(path, "wb") as file:
            while chunk := self._read(source):
                got += len(chunk)
                self._check_size(got)
                digest.update(chunk)
                file.write(chunk)
        if size is not None and got != size:
            raise self._unavailable(f"the connection ended after {got} of {size} bytes")
        return digest.hexdigest()

    def _open(self) -> tuple[IO[bytes], int | None]:
        """What to read from, and how much there will be, if the server said it."""
        if self._address.scheme == "file":
            path = unquote(self._address.url.removeprefix("file://"))
            try:
                return open(path, "rb"), os.stat(path).st_size  # noqa: PTH116
            except OSError as error:
                raise DownloadError(
                    SOURCE_NOT_FOUND, f"{self._where} cannot be read: {error.strerror}"
                ) from None
        response = self._ask()
        said = response.headers.get("Content-Length", "")
        if not said.isdigit():
            return response, None
        try:
            self._check_size(int(said))
        except DownloadError:
            response.close()
            raise
        return response, int(said)

    def _ask(self) -> Response:
        redirects = _Redirects(self._address, self._login)
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=self._context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            redirects,
        ):
            opener.add_handler(handler)
        try:
            response: Response = opener.open(
                redirects.request(self._address.url),
                timeout=max(min(SILENCE, self._deadline - time.monotonic()), 0.1),
            )
        except urllib.error.HTTPError as error:
            error.close()
            raise self._status(error.code, error.reason) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unavailable(error) from None
        return response

    def _context(self) -> ssl.SSLContext:
        try:
            return tls_context(self._login.ca_file)
        except (OSError, ValueError) as error:
            raise DownloadError(
                SOURCE_AUTH_FAILED,
                f"the certificate authority given for {self._where} is none: {error}. Put it into ca.crt as PEM",
            ) from None

    def _read(self, source: IO[bytes]) -> bytes:
        if self._stopped():
            raise DownloadError(SOURCE_UNAVAILABLE, f"fetching {self._where} was called off")
        if time.monotonic() > self._deadline:
            raise DownloadError(SOURCE_UNAVAILABLE, f"{self._where} did not deliver in time")
        try:
            return source.read(_CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unavailable(error) from None

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise DownloadError(
                SOURCE_INVALID,
                f"{self._where} is larger than {self._limit // 1024 // 1024} MiB. Leave out what the build does not "
                "need",
            )

    def _status(self, code: int, said: str) -> DownloadError:
        answer = f"the server answers {code} {clean(str(said)[:100])}".rstrip()
        if code in (401, 403, 407):
            if self._login.header:
                do = "Correct the Secret that spec.source.archive.secretRef names, or the address if it was signed"
            else:
                do = (
                    "Name a Secret with `username` and `password`, or with `token`, in "
                    "spec.source.archive.secretRef; a signed address may have expired"
                )
            return DownloadError(SOURCE_AUTH_FAILED, f"{self._where} refuses us: {answer}. {do}")
        if 300 <= code < 400:
            # urllib's words for it quote the address, query and all.
            answer = (
                f"the server redirects us ({code}) in circles, or to what is neither http nor https"
            )
        if code >= 500 or code in _RETRIED:
            return self._unavailable(answer)
        return DownloadError(
            SOURCE_NOT_FOUND,
            f"there is no archive at {self._where}: {answer}. Check spec.source.archive.url",
        )

    def _unavailable(self, said: object) -> DownloadError:
        if isinstance(said, urllib.error.URLError):
            said = said.reason
        untrusted = isinstance(said, ssl.SSLCertVerificationError)
        text = str(said) or type(said).__name__
        hidden = (self._login.password, self._login.token, self._login.header)
        message = f"cannot download {self._where}: {clean(text, hidden)[:300]}"
        if untrusted:
            message += (
                ". Put the certificate authority into `ca.crt` of the Secret that "
                "spec.source.archive.secretRef names"
            )
        return DownloadError(SOURCE_UNAVAILABLE, message, final=untrusted)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server elsewhere, and shows the credentials to nobody but it."""

    max_redirections = MAX_REDIRECTS

    def __init__(self, address: Address, login: Login) -> None:
        self._address = address
        self._login = login

    def request(self, url: str) -> urllib.request.Request:
        address = parse_archive_url(url)
        # Whatever is not ASCII in it; what is escaped already stays.
        escaped = quote(address.url, safe="%/:=&?~#+!$,;'@()*[]")
        request = urllib.request.Request(escaped, headers={"User-Agent": "sentinel"})  # noqa: S310
        same = (address.scheme, address.host) == (self._address.scheme, self._address.host)
        if same and self._login.header:
            # "Unredirected": urllib itself will not carry it on either.
            request.add_unredirected_header("Authorization", self._login.header)
        return request

    def redirect_request(  # noqa: PLR0917 - as urllib has it
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request:
        try:
            request = self.request(urljoin(req.full_url, newurl))
        except ValueError as error:
            fp.close()
            raise DownloadError(
                SOURCE_NOT_FOUND, f"{without_query(req.full_url)} redirects us: {error}"
            ) from None
        if req.type == "https" and request.type != "https":
            fp.close()
            raise DownloadError(
                SOURCE_NOT_FOUND,
                f"{without_query(req.full_url)} redirects us to {without_query(newurl)}, which is not encrypted. "
                "Give the address of the archive itself",
            )
        return request
