"""The fetcher's other task: the files of a build's steps, from the archives that the operator put beside it.

Standard library only, as the fetcher. An archive is a file named by its digest, or a file `<digest>.url` says where the
object store has it. The bytes must be the ones that the Plan was made with.
"""

# pathlib costs 5 ms of the start:
# ruff: noqa: PTH110, PTH123

from __future__ import annotations

import hashlib
import os

from sentinel.source.unpack import Limits, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMITS = Limits(bytes=100 * 1024 * 1024, entries=5000)
"""Of one step, unpacked; what the operator's cache takes is smaller or the same."""


class WrongBytes(Exception):
    """An archive is not there, or not the one that its digest names. The message is for a person."""


def place_steps(
    steps: Sequence[tuple[str, str]],
    *,
    archives: str,
    dest: str,
    download: Callable[[str, str], None],
) -> None:
    """Unpack the archive of each (step id, digest) into `dest`/<step id>.

    `archives` is the directory with the files, `download(url, path)` gets one that is elsewhere. Raises WrongBytes,
    and what `download` and `unpack` raise.
    """
    for step, digest in steps:
        path = f"{archives}/{digest}"
        if not os.path.exists(path):
            path = _elsewhere(path, step, download)
        _verify(path, digest, step)
        unpack(path, f"{dest}/{step}", limits=LIMITS, strip="none")


def _elsewhere(path: str, step: str, download: Callable[[str, str], None]) -> str:
    try:
        with open(f"{path}.url", encoding="utf-8") as file:
            url = file.read().strip()
    except FileNotFoundError:
        raise WrongBytes(f"the archive of step {step} did not come with the pod") from None
    local = f"{os.environ.get('TMPDIR') or '/tmp'}/{os.path.basename(path)}"  # noqa: S108 - named by its digest
    download(url, local)
    return local


def _verify(path: str, digest: str, step: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise WrongBytes(f"the archive of step {step} has sha256 {found}, expected is {digest}")
