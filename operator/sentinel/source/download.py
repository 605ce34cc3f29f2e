"""Downloading an archive by http or https: by the operator, which reads wercker.yml, and again in the pod.

The transfer is `http.py`'s; this is what it means for `spec.source.archive`: whose fault a failure is, and what to do.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.errors import SentinelError
from sentinel.source.address import Address, parse_web_address, without_query
from sentinel.source.failure import Deadline, PermanentFailure, failed, retry_until
from sentinel.source.http import Client, HttpError, WebLogin, tls_context

__all__ = ["MAX_ARCHIVE", "download", "without_query"]

MAX_ARCHIVE = 512 * 1024 * 1024
"""Bytes of an archive as it is downloaded."""

_RETRIED = (408, 425, 429)
"""Client errors that are the server's: too slow, too early, too often."""


def download(
    url: str,
    path: str,
    *,
    login: WebLogin,
    deadline: Deadline,
    sha256: str = "",
    ca_file: str = "",
    limit: int = MAX_ARCHIVE,
    allow_file: bool = False,
    policy: network.Policy | None = None,
) -> str:
    """Write what `url` gives to the file `path`; its sha256 in lower-case hexadecimal.

    UserError SOURCE_NOT_FOUND, SOURCE_AUTH_FAILED, or SOURCE_INVALID where it is larger than `limit` bytes or not what
    `sha256` says; InfrastructureError SOURCE_UNAVAILABLE after three tries or at the deadline; CalledOff.
    """
    try:
        address = parse_web_address(url, allow_file=allow_file)
    except ValueError as error:
        raise failed(Reason.SOURCE_NOT_FOUND, f"spec.source.archive.url: {error}") from None
    if not login.header:
        login = WebLogin(username=address.username, password=address.password)
    where = without_query(address.url)
    try:
        client = Client(policy=policy, tls=tls_context(ca_file=ca_file), home=address, login=login)
    except (OSError, ValueError) as error:
        raise failed(
            Reason.SOURCE_AUTH_FAILED,
            f"the certificate authority given for {where} is not valid: {error}. Put it into ca.crt as PEM",
        ) from None

    def once() -> str:
        with Path(path).open("wb") as file:
            if address.scheme == "file":
                return _copy_file(address, file)
            return _get(client, address, file, limit, deadline, has_login=bool(login.header))

    try:
        digest = retry_until(deadline, once)
    except TimeoutError:
        raise failed(Reason.SOURCE_UNAVAILABLE, f"{where} did not finish in time") from None
    if sha256 and digest != sha256:
        # Its actual sum is not quoted: it may be that of a page that only the operator can reach.
        raise failed(
            Reason.SOURCE_INVALID,
            f"{where} is not the archive that was asked for: its sha256 is not {sha256}",
        )
    return digest


def _copy_file(address: Address, file: BinaryIO) -> str:
    try:
        source = Path(unquote(address.url.removeprefix("file://"))).open("rb")  # noqa: SIM115
    except OSError as error:
        where = without_query(address.url)
        raise failed(Reason.SOURCE_NOT_FOUND, f"{where} cannot be read: {error.strerror}") from None
    with source:
        shutil.copyfileobj(source, file)
        source.seek(0)
        return hashlib.file_digest(source, "sha256").hexdigest()


def _get(
    client: Client,
    address: Address,
    file: BinaryIO,
    limit: int,
    deadline: Deadline,
    *,
    has_login: bool,
) -> str:
    where = without_query(address.url)
    try:
        answer = client.get(address.url, file, limit=limit, deadline=deadline)
    except HttpError as error:
        raise _ERRORS[error.kind](f"{where} {error.message}") from None
    if answer.status != 200:
        raise _status(where, answer.status, has_login=has_login)
    return answer.digest


def _untrusted(message: str) -> SentinelError:
    return PermanentFailure(
        f"{message}. Put the certificate authority into `ca.crt` of the Secret that "
        "spec.source.archive.secretRef names",
        reason=Reason.SOURCE_UNAVAILABLE,
    )


_ERRORS: dict[str, Callable[[str], SentinelError]] = {
    "denied": lambda message: failed(
        Reason.SOURCE_NOT_FOUND, f"spec.source.archive.url: {message}"
    ),
    "redirect": lambda message: failed(
        Reason.SOURCE_NOT_FOUND, f"{message}. Give the address of the archive itself"
    ),
    "too large": lambda message: failed(
        Reason.SOURCE_INVALID, f"{message}. Leave out what the build does not need"
    ),
    "untrusted": _untrusted,
    "unavailable": lambda message: failed(Reason.SOURCE_UNAVAILABLE, message),
}


def _status(where: str, code: int, *, has_login: bool) -> SentinelError:
    answer = f"the server answers {code} {http.client.responses.get(code, '')}".rstrip()
    if code in (401, 403, 407):
        if has_login:
            do = "Correct the Secret that spec.source.archive.secretRef names, or the address if it was signed"
        else:
            do = (
                "Name a Secret with `username` and `password`, or with `token`, in "
                "spec.source.archive.secretRef; a signed address may have expired"
            )
        return failed(Reason.SOURCE_AUTH_FAILED, f"access to {where} is denied: {answer}. {do}")
    if code >= 500 or code in _RETRIED:
        return failed(Reason.SOURCE_UNAVAILABLE, f"cannot download {where}: {answer}")
    return failed(
        Reason.SOURCE_NOT_FOUND,
        f"there is no archive at {where}: {answer}. Check spec.source.archive.url",
    )
