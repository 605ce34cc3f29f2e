"""What has changed in a project's directory while a build runs, and its way into the box: for internal/watch."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sentinel.local.docker import Docker
from sentinel.local.files import add_tree
from sentinel.local.project import Project, files_of

Seen = dict[str, tuple[int, int]]


@dataclass(kw_only=True)
class Changes:
    """Looks at the files of a source again and again. Blocking."""

    project: Project
    ignore_file: str
    _before: Seen = field(init=False)
    _last: Seen = field(init=False)

    def __post_init__(self) -> None:
        self._before = self._last = self._look()

    def settled(self) -> list[str]:
        """The files that are new or different since the last call that found some, once nothing changes any more.

        An editor and a `git checkout` write many files one after the other: they count together.
        """
        now, last = self._look(), self._last
        self._last = now
        if now != last or now == self._before:
            return []
        changed = [name for name, facts in now.items() if self._before.get(name) != facts]
        gone = self._before.keys() - now.keys()
        self._before = now
        # A file that is gone stays in the box, and what runs there is started again all the same.
        return changed or sorted(gone)

    def _look(self) -> Seen:
        found: Seen = {}
        for name in files_of(self.project, ignore_file=self.ignore_file):
            if name.startswith(".git/"):
                continue
            try:
                facts = os.lstat(self.project.root / name)
            except OSError:
                continue
            found[name] = (facts.st_mtime_ns, facts.st_size)
        return found


def send(docker: Docker, box: str, *, root: Path, names: Iterable[str], target: str) -> None:
    """Put files of the source into a running box. Blocking. Raises docker's APIError."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            add_tree(tar, root, names, ".")
        file.seek(0)
        docker.api.put_archive(box, target, file)
