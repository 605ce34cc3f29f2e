"""Repositories on the lab's git server, made from folders."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.lab.shell import run
from tests.lab.state import Lab

DATE = "2020-01-01T00:00:00+00:00"
IDENTITY = {
    "GIT_AUTHOR_NAME": "Lab",
    "GIT_AUTHOR_EMAIL": "lab@example.com",
    "GIT_AUTHOR_DATE": DATE,
    "GIT_COMMITTER_NAME": "Lab",
    "GIT_COMMITTER_EMAIL": "lab@example.com",
    "GIT_COMMITTER_DATE": DATE,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}
"""The same folder gives the same commit on every machine, on every day."""


def path(lab: Lab, name: str, *, private: bool = False) -> Path:
    """Directory of a bare repository on the server, whether or not it exists."""
    return Path(lab.git_root) / ("private" if private else "public") / f"{name}.git"


def publish(
    lab: Lab,
    folder: Path,
    name: str,
    private: bool = False,
    *,
    branch: str = "main",
    message: str = "Publish",
    links: Mapping[str, str] | None = None,
) -> str:
    """Commit a folder's content to a branch of a repository and return the repository's URL.

    The repository is made when it is missing. The branch's tree becomes exactly the folder's
    content, and `links` of path → commit to other repositories (submodules); a content that is there already makes
    no new commit.
    """
    bare = path(lab, name, private=private)
    if not bare.exists():
        run("git", "init", "--quiet", "--bare", f"--initial-branch={branch}", bare, env=IDENTITY)
    with tempfile.TemporaryDirectory() as scratch:
        env = {
            **IDENTITY,
            "GIT_DIR": str(bare),
            "GIT_WORK_TREE": str(folder.resolve()),
            "GIT_INDEX_FILE": f"{scratch}/index",
        }
        run("git", "add", "--all", "--force", ".", env=env, cwd=folder)
        for place, linked in (links or {}).items():
            entry = f"160000,{linked},{place}"
            run("git", "update-index", "--add", "--cacheinfo", entry, env=env)
        tree = run("git", "write-tree", env=env).strip()
        old = run("git", "rev-parse", "--verify", "-q", branch, env=env, check=False).strip()
        if old and run("git", "rev-parse", f"{old}^{{tree}}", env=env).strip() == tree:
            return f"{lab.git_url}/{bare.parent.name}/{bare.name}"
        parents = ["-p", old] if old else []
        commit = run("git", "commit-tree", tree, *parents, "-m", message, env=env).strip()
        run("git", "update-ref", f"refs/heads/{branch}", commit, env=env)
    return f"{lab.git_url}/{bare.parent.name}/{bare.name}"


def commit_of(lab: Lab, name: str, ref: str = "main", *, private: bool = False) -> str:
    """The commit that a ref of a published repository points at: 40 hex digits."""
    bare = path(lab, name, private=private)
    return run("git", "-C", bare, "rev-parse", "--verify", f"{ref}^{{commit}}").strip()
