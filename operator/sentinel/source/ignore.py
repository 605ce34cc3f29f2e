"""What of the source is not copied into the box: the patterns of `.werckerignore`, by git's own rules.

wercker left these files out when it copied the project (`wercker-semantics.md` §1.2, §5.1); here they go from the
volume that the box gets its copy from, tracked or not. git decides what matches, with an empty repository of its own,
so archives are treated alike. Part of the fetcher: standard library only, and what starts fast.
"""

# pathlib costs 5 ms of the start:
# ruff: noqa: PTH108, PTH113, PTH120

from __future__ import annotations

import os
import shutil
import subprocess

from sentinel.source.gitcommand import write_repository


def leave_out(root: str, name: str) -> int:
    """Delete what the file `name` of `root` tells to ignore; how many files that were. Empty directories go too.

    0 where there is no such file, or it lies outside of `root`. `.git` stays. Raises OSError, CalledProcessError.
    """
    root = os.path.realpath(root)
    patterns = os.path.realpath(f"{root}/{name}")
    if not name or not patterns.startswith(f"{root}/") or not os.path.isfile(patterns):
        return 0
    found = _ignored(root, patterns)
    for path in found:
        whole = f"{root}/{path}"
        if path.endswith("/"):  # a submodule
            shutil.rmtree(whole)
        else:
            os.unlink(whole)
        _prune(root, os.path.dirname(path.rstrip("/")))
    return len(found)


def _ignored(root: str, patterns: str) -> list[str]:
    scratch = f"{os.environ.get('TMPDIR') or '/tmp'}/sentinel-ignore-{os.getpid()}"  # noqa: S108
    os.mkdir(scratch, 0o700)  # noqa: PTH102
    try:
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
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return [os.fsdecode(each) for each in listed.stdout.split(b"\0") if each]


def _prune(root: str, below: str) -> None:
    """Remove a directory that has become empty, and those above it."""
    while below:
        try:
            os.rmdir(f"{root}/{below}")  # noqa: PTH106
        except OSError:
            return
        below = os.path.dirname(below)
