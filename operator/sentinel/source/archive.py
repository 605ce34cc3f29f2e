"""An archive as the operator sees it: which bytes it is, what is in its root directory, and whether it may be unpacked.

It is downloaded and looked through to its end before a pod exists, so that a hostile, damaged or missing archive ends
the build at once; of its files only those of the root directory are written, and nothing is kept. The pod downloads
it again and gets exactly these bytes, by their digest.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.source.access import GitCredentials, check_login
from sentinel.source.address import without_query
from sentinel.source.download import download
from sentinel.source.failure import Deadline, failed
from sentinel.source.gitcommand import write_ca_file
from sentinel.source.http import WebLogin
from sentinel.source.unpack import ArchiveLimits, Refused, unpack

ROOT_NAMES = 1000
"""Names of the root directory that are reported."""
MAX_FILE = 1024 * 1024
"""Bytes of a wanted file."""
TIMEOUT = 300.0
"""Seconds for download and unpacking together."""

_UNPACKING = threading.BoundedSemaphore(2)
"""So many are looked through at once: one with many entries takes up to 100 MiB of memory."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """An archive. `digest` is its sha256 in hexadecimal.

    `files` holds the wanted files that exist, by name; `root` the names in the root directory, at most ROOT_NAMES.
    """

    digest: str
    files: Mapping[str, bytes]
    root: tuple[str, ...] = field(default=(), compare=False)


def inspect(
    *,
    url: str,
    sha256: str,
    credentials: GitCredentials | None,
    paths: Sequence[str],
    cache_dir: Path,
    deadline: Deadline,
    ca: str = "",
    allow_file: bool = False,
    policy: network.Policy | None = None,
) -> Inspected:
    """Download the archive, look through it, and read the files `paths` of its root directory.

    `ca` holds certificates (PEM) that are trusted besides the system's and the Secret's.

    UserError SOURCE_NOT_FOUND, SOURCE_AUTH_FAILED, SOURCE_INVALID (the wrong digest, too large, or nothing that may be
    unpacked: which entry and why); InfrastructureError SOURCE_UNAVAILABLE.
    """
    given = credentials or GitCredentials()
    check_login(url, given, field="spec.source.archive", policy=policy)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="archive-", dir=cache_dir) as directory:
        here = Path(directory)
        try:
            ca_file = write_ca_file(directory, ca, given.ca)
        except ValueError as error:
            raise UserError(
                f"`ca.crt` of the Secret that spec.source.archive.secretRef names holds {error}",
                reason=Reason.SOURCE_AUTH_FAILED,
            ) from None
        digest = download(
            url,
            str(here / "archive"),
            login=WebLogin(username=given.username, password=given.password, token=given.token),
            ca_file=ca_file,
            sha256=sha256,
            deadline=deadline,
            allow_file=allow_file,
            policy=policy,
        )
        while not _UNPACKING.acquire(timeout=0.2):
            if deadline.over:
                raise _slow(url)
        try:
            unpack(
                str(here / "archive"),
                str(here / "tree"),
                limits=ArchiveLimits(),
                peek=MAX_FILE + 1,
                stopped=lambda: deadline.over,
            )
        except Refused as error:
            if deadline.over:
                raise _slow(url) from None
            raise UserError(
                f"{without_query(url)}: {error.message}", reason=Reason.SOURCE_INVALID
            ) from None
        finally:
            _UNPACKING.release()
        tree = here / "tree"
        return Inspected(
            digest=digest,
            files={name: text for name in paths if (text := _read(tree, name, url)) is not None},
            root=tuple(sorted(path.name for path in tree.iterdir()))[:ROOT_NAMES],
        )


def _slow(url: str) -> Exception:
    return failed(
        Reason.SOURCE_UNAVAILABLE,
        f"{without_query(url)} was not looked through within {TIMEOUT:g} seconds",
    )


def _read(tree: Path, name: str, url: str) -> bytes | None:
    """A file of the root directory, or one there that a symbolic link names; as from git, others lead nowhere."""
    path = (tree / name).resolve()
    if path.parent != tree.resolve() or not path.is_file():
        return None
    text = path.read_bytes()
    if len(text) > MAX_FILE:
        raise UserError(
            f"{without_query(url)}: {name} is larger than {MAX_FILE // 1024} KiB",
            reason=Reason.CONFIG_INVALID,
        )
    return text
