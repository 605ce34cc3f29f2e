"""A project's directory as a build's source: its wercker.yml, what git knows of it, and which files belong to it.

In a git repository these are the files that git tracks or would add, as they are now, and `.git` itself: what a commit
of everything would build. Elsewhere all files.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentinel.api.reasons import Reason
from sentinel.config.load import FILE_NAMES, MISNAMED
from sentinel.errors import UserError
from sentinel.plan.model import PlanSource
from sentinel.source.ignore import ignored

OWN = ".sentinel"
"""What a run leaves in the project: cache, output, artifacts and logs. Never a part of the source."""

MOST_CONFIG = 8 * 1024 * 1024
"""Bytes: whatever is larger is refused for its size all the same."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """`config` names the file that `text` was read from; `source` is what variables say of it."""

    root: Path
    config: str
    text: bytes
    source: PlanSource
    repository: bool


def read_project(folder: Path) -> Project:
    """The project in `folder`. Raises UserError ConfigMissing."""
    root = folder.resolve()
    if not root.is_dir():
        raise UserError(f"{folder} is not a directory", reason=Reason.CONFIG_MISSING)
    name = next((each for each in FILE_NAMES if (root / each).is_file()), None)
    if name is None:
        near = next((each for each in MISNAMED if (root / each).is_file()), None)
        remedy = (
            f"{near} is not read: rename it to {FILE_NAMES[1]}"
            if near
            else "`sentinel detect --write` makes a first one"
        )
        raise UserError(
            f"{folder} has no wercker.yml (nor ewok.yml or .wercker.yml): {remedy}",
            reason=Reason.CONFIG_MISSING,
        )
    with (root / name).open("rb") as file:
        text = file.read(MOST_CONFIG)
    top = _git(root, "rev-parse", "--show-toplevel").strip()
    return Project(
        root=root,
        config=name,
        text=text,
        source=_source(root) if top else PlanSource(url=root.name),
        repository=bool(top),
    )


def files_of(project: Project, *, ignore_file: str) -> list[str]:
    """The paths below the root that belong to the source, links and files, sorted; `ignore_file` leaves out more."""
    root = project.root
    names = set(_listed(root) if project.repository else _walk(root, "."))
    if project.repository and (root / ".git").is_dir():
        names.update(_walk(root, ".git"))
    left_out = ignored(str(root), ignore_file)
    folders = tuple(each for each in left_out if each.endswith("/"))
    return sorted(
        each
        for each in names.difference(left_out)
        if each.partition("/")[0] != OWN and not each.startswith(folders)
    )


def _source(root: Path) -> PlanSource:
    commit, _, subject = _git(root, "log", "-1", "--format=%H%n%s").strip().partition("\n")
    return PlanSource(
        url=_git(root, "config", "--get", "remote.origin.url").strip() or root.name,
        commit=commit,
        branch=_git(root, "symbolic-ref", "--short", "-q", "HEAD").strip(),
        subject=subject[:256],
    )


def _listed(root: Path) -> Iterator[str]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in listed.split("\0"):
        path = root / name
        if not name or not os.path.lexists(path):
            continue
        if (
            path.is_dir() and not path.is_symlink()
        ):  # a submodule, or a repository in the repository
            yield from _walk(root, name)
        else:
            yield name


def _walk(root: Path, below: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root / below):
        where = os.path.relpath(folder, root)
        if where == ".":
            folders[:] = [each for each in folders if each != OWN]
        linked = [each for each in folders if (Path(folder) / each).is_symlink()]
        for each in (*files, *linked):
            yield each if where == "." else f"{where}/{each}"


def _git(root: Path, *arguments: str) -> str:
    """What git prints; "" where it fails, or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return ""
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""
