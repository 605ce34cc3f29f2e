"""A project's directory as one archive, for a build on a cluster."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sentinel.api.source import MAX_UPLOAD
from sentinel.errors import UserError
from sentinel.local.files import add_tree
from sentinel.local.project import Project, files_of
from sentinel.plan.plan import IGNORE_FILE

CHUNK = 1024 * 1024
LEVEL = 6
"""Of gzip. 9, the default of `tarfile`, takes three times as long for some percent."""

_GIT_CONFIG = re.compile(
    r"(.+/)?\.git/((modules|worktrees)/.+/)?(config(\.worktree)?|logs/.+)", re.DOTALL
)
"""Files that may hold credentials, which others in the namespace could read in the pod. git works without them. Of
repositories within the project too. `logs` quotes URLs that `git pull` was given."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """An archive of `files` files and `size` bytes; `sha256` is hexadecimal."""

    files: int
    size: int
    sha256: str


def pack(
    project: Project, file: BinaryIO, *, ignore_file: str = "", most: int = MAX_UPLOAD
) -> Packed:
    """Write the project's files to `file` as a tar.gz, without git's own configuration and logs. Blocking.

    Raises UserError where it has more than `most` bytes, or a file cannot be read.
    """
    names = [
        each
        for each in files_of(project, ignore_file=ignore_file or IGNORE_FILE)
        if not _GIT_CONFIG.fullmatch(each)
    ]

    def bounded() -> Iterator[str]:
        for name in names:
            _check(file.tell(), most)
            yield name

    try:
        with tarfile.open(
            fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=LEVEL
        ) as tar:
            add_tree(tar, project.root, bounded(), "")
        size = file.tell()
        _check(size, most)
        file.seek(0)
        seen = hashlib.sha256()
        while data := file.read(CHUNK):
            seen.update(data)
    except OSError as e:
        where = f"{e.filename} cannot be read" if e.filename else "the directory cannot be packed"
        raise UserError(f"{where}: {e.strerror or e}") from e
    return Packed(files=len(names), size=size, sha256=seen.hexdigest())


def _check(size: int, most: int) -> None:
    if size > most:
        raise UserError(
            f"the directory has more than {most // 1024**2} MiB when it is packed: leave files out with "
            ".werckerignore, or push it and build it from git"
        )
