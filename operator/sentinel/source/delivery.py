"""The fetcher's archives: the source where it is one, and the steps, which the operator put beside it.

A step's archive is a file named by its digest, or a file `<digest>.url` says where the object store has it. Whatever is
unpacked are the very bytes that the Plan was made with. Standard library only, and imported where it is needed.
"""

# pathlib costs the fetcher's start:
# ruff: noqa: PTH108, PTH110, PTH123

from __future__ import annotations

import hashlib
import os

from sentinel.source.complaint import (
    INTERNAL,
    SOURCE_INVALID,
    SOURCE_UNAVAILABLE,
    STEP_INVALID,
    FetchError,
)
from sentinel.source.download import DownloadError, Login, download, without_query
from sentinel.source.unpack import Limits, Refused, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

STEP_LIMITS = Limits(bytes=1024 * 1024 * 1024, entries=100_000)
"""A last net: the operator has looked through every step, with limits of its own."""


def unpack_source(
    url: str, dest: str, *, sha256: str, login: Login, timeout: float, allow_file: bool
) -> None:
    """Have in the empty directory `dest` what the archive holds that has exactly `sha256`. Raises FetchError."""
    path = f"{dest}.archive"
    try:
        download(url, path, login=login, sha256=sha256, timeout=timeout, allow_file=allow_file)
        unpack(path, dest, limits=Limits(), readable=True)
    except DownloadError as error:
        raise FetchError(error.reason, error.message) from None
    except Refused as error:
        raise FetchError(SOURCE_INVALID, f"{without_query(url)}: {error.message}") from None
    finally:
        if os.path.exists(path):
            os.unlink(path)


def place_steps(
    steps: Sequence[tuple[str, str]], *, archives: str, dest: str, timeout: float
) -> None:
    """Unpack the archive of each (step id, digest) into `dest`/<step id>; `archives` has the files.

    Raises FetchError.
    """
    for step, digest in steps:
        path = f"{archives}/{digest}"
        local = "" if os.path.exists(path) else f"{dest}/{step}.archive"
        try:
            if local:
                _download_step(f"{path}.url", local, step, timeout)
            _verify(local or path, digest, step)
            unpack(local or path, f"{dest}/{step}", limits=STEP_LIMITS, strip="none", readable=True)
        except Refused as error:
            raise FetchError(STEP_INVALID, f"step {step}: {error.message}") from None
        finally:
            if local and os.path.exists(local):
                os.unlink(local)


def _download_step(address: str, path: str, step: str, timeout: float) -> None:
    try:
        with open(address, encoding="utf-8") as file:
            url = file.read().strip()
    except FileNotFoundError:
        raise FetchError(
            INTERNAL, f"the archive of step {step} did not come with the pod"
        ) from None
    try:
        download(url, path, login=Login(), timeout=timeout)
    except DownloadError as error:
        # The address is ours: whatever is wrong with it is not the user's.
        raise FetchError(
            SOURCE_UNAVAILABLE,
            f"the object store did not give the archive of step {step}: {error.message}",
        ) from None


def _verify(path: str, digest: str, step: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise FetchError(
            INTERNAL, f"the archive of step {step} has sha256 {found}, expected is {digest}"
        )
