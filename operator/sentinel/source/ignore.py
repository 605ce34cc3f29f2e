"""What of the source is not copied into the box: the patterns of `.werckerignore`, by git's own rules.

wercker left these files out when it copied the project (wercker.md "The file"); here they go from the
volume that the box gets its copy from, tracked or not. git decides what matches, with an empty repository of its own,
so archives are treated alike. Part of the fetcher: standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from sentinel.source.gitcommand import write_repository


def leave_out(root: str, name: str) -> int:
    """Delete what the file `name` of `root` tells to ignore; how many files that were. Empty directories go too.

    0 where there is no such file, or it lies outside of `root`. `.git` stays. Raises OSError, CalledProcessError.
    """
    top = Path(root).resolve()
    found = ignored(root, name)
    for path in found:
        whole = top / path
        if path.endswith("/"):  # a submodule
            shutil.rmtree(whole)
        else:
            whole.unlink()
        _prune(top, whole.parent)
    return len(found)


def ignored(root: str, name: str) -> list[str]:
    """The files below `root` that its file `name` tells to ignore, relative; a submodule has a slash behind it.

    Empty where there is no such file, or it lies outside of `root`. Raises OSError, CalledProcessError.
    """
    top = Path(root).resolve()
    patterns = (top / name).resolve()
    if not name or not patterns.is_relative_to(top) or not patterns.is_file():
        return []
    return _ignored(str(top), str(patterns))


def _ignored(root: str, patterns: str) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="sentinel-ignore-") as scratch:
        write_repository(scratch, url="", bare=False, partial=False)
        listed = subprocess.run(
            [
                "git",
                f"--git-dir={scratch}",
                f"--work-tree={root}",
                "ls-files",
                "-z",
                "--others",
                "--ignored",
                f"--exclude-from={patterns}",
            ],
            cwd=root,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": "/nonexistent",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "LC_ALL": "C",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
    return [os.fsdecode(each) for each in listed.stdout.split(b"\0") if each]


def _prune(root: Path, below: Path) -> None:
    """Remove a directory that has become empty, and those above it."""
    while below != root:
        try:
            below.rmdir()
        except OSError:
            return
        below = below.parent
