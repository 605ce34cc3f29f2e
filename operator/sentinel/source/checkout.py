"""Checking out exactly one commit, and its submodules, in the pod: the part of the fetcher that runs git.

The repository is a stranger's. Nothing of it is run, nothing is written outside the checkout, and no server but the
source's own is shown a credential.
"""

# pathlib costs 5 ms of the fetcher's start:
# ruff: noqa: PTH102, PTH112, PTH114, PTH123, PTH208

from __future__ import annotations

import os
import shutil
import time

from sentinel.source import child
from sentinel.source.access import KEYS, Access
from sentinel.source.address import clean, is_commit, parse_address, refspec
from sentinel.source.complaint import (
    SOURCE_AUTH_FAILED,
    SOURCE_INVALID,
    SOURCE_NOT_FOUND,
    SOURCE_UNAVAILABLE,
    FetchError,
    Kind,
    diagnose,
    explain,
    quote,
)
from sentinel.source.gitcommand import write_ref, write_repository, write_submodule
from sentinel.source.task import TIMEOUT, Task, read_secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sentinel.source.submodules import Submodule

TRIES = 3
MAX_SUBMODULES = 500
"""Of a checkout, all levels together."""
MAX_DEPTH = 10
"""Levels of submodules in submodules."""


class Git:
    """Runs git in one checkout, with what the task gives it for that checkout's server."""

    def __init__(self, task: Task) -> None:
        try:
            self.address = parse_address(task.url, allow_file=task.allow_file)
        except ValueError as error:
            raise FetchError(SOURCE_NOT_FOUND, str(error)) from error
        self.root = self.dest = task.dest
        self.submodule = ""
        self.max_bytes = task.max_bytes
        self.deadline = time.monotonic() + TIMEOUT
        # Ours alone: a fresh directory with mode 0700.
        self.scratch = f"{os.environ.get('TMPDIR') or '/tmp'}/sentinel-git-{os.getpid()}"  # noqa: S108
        os.mkdir(self.scratch, 0o700)
        try:
            self.access = Access(
                self.address,
                {name: read_secret(task.secret_dir, name) for name in KEYS},
                scratch=self.scratch,
                ca=task.ca,
                allow_file=task.allow_file,
            )
        except ValueError as error:
            self.close()
            raise FetchError(SOURCE_AUTH_FAILED, str(error)) from error

    def inside(self, submodule: Submodule) -> Git:
        """The same for a submodule of this checkout: another address, below the same root, under the same bounds."""
        other = object.__new__(Git)
        other.__dict__.update(self.__dict__)
        other.address = submodule.address
        other.dest = f"{self.dest}/{submodule.path}"
        other.submodule = f"{self.submodule}/{submodule.path}".lstrip("/")
        return other

    def run(self, *arguments: str, ref: str) -> str:
        """git's standard output. FetchError in git's own words, which name `ref` where it was not found."""
        try:
            code, out, err = child.run(
                ("git", *arguments),
                cwd=self.dest,
                env=self.access.environment(self.address),
                deadline=self.deadline,
                root=self.root,
                max_bytes=self.max_bytes,
            )
        except TimeoutError:
            raise FetchError(
                SOURCE_UNAVAILABLE,
                f"{self.address.url} did not deliver within {TIMEOUT:.0f} seconds",
            ) from None
        except child.TooMuch as error:
            raise FetchError(
                SOURCE_INVALID,
                f"{self.address.url}: the checkout takes more than {error}",
            ) from None
        if code == 0:
            return out.decode("utf-8", "surrogateescape")
        text = err.decode("utf-8", "replace")
        kind = diagnose(text)
        reason, message = explain(
            address=self.address,
            kind=kind,
            said=quote(text, self.access.hidden),
            ref=ref,
            has_credentials=self.access.offers(self.address),
            submodule=self.submodule,
        )
        raise FetchError(reason, message, kind=kind)

    def close(self) -> None:
        """Remove the key file."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def check_out(task: Task, git: Git) -> None:
    """Have exactly `task.commit` in `task.dest`, with a .git that people can use: branch, tag and remote are set."""
    _check_out(git, task.commit, ref=task.ref, branch=task.branch, tag=task.tag)
    if task.submodules:
        _submodules(task, git, task.commit, depth=1, left=MAX_SUBMODULES)


def _check_out(git: Git, commit: str, *, ref: str = "", branch: str = "", tag: str = "") -> None:
    git_dir = f"{git.dest}/.git"
    write_repository(
        git_dir, url=git.address.url, bare=False, partial=False, branch=branch, fetch=True
    )
    _fetch(git, commit, f"refs/heads/{branch}" if branch else ref)
    if branch:
        write_ref(git_dir, f"refs/heads/{branch}", commit)
        write_ref(git_dir, f"refs/remotes/origin/{branch}", commit)
    else:
        with open(f"{git_dir}/HEAD", "w", encoding="utf-8") as file:
            file.write(commit + "\n")
    if tag:
        write_ref(git_dir, f"refs/tags/{tag}", commit)
    git.run("read-tree", "-u", "--reset", commit, ref=commit)


def _submodules(task: Task, git: Git, commit: str, *, depth: int, left: int) -> int:
    """Check out the submodules of what is in `git.dest`, and theirs. How many more there may be."""
    if not os.path.lexists(f"{git.dest}/.gitmodules"):
        return left
    from sentinel.source import submodules  # noqa: PLC0415 - most projects have none

    at = f"submodule {clean(git.submodule)!r}" if git.submodule else git.address.url
    tree = git.run("ls-tree", "-r", "-z", "--full-tree", commit, ref=commit)
    try:
        # The commit's own file, never the one on the disk, which may be a link.
        modules = git.run("config", "--blob", f"{commit}:.gitmodules", "--list", "-z", ref=commit)
    except FetchError as error:
        raise FetchError(
            SOURCE_INVALID,
            f"{at}: git cannot read .gitmodules of commit {commit[:12]}: correct it",
        ) from error
    try:
        found = submodules.find(
            modules=modules, tree=tree, parent=git.address.url, allow_file=task.allow_file
        )
    except ValueError as error:
        raise FetchError(SOURCE_INVALID, f"{at}: {error}") from error
    left -= len(found)
    if found and (depth > MAX_DEPTH or left < 0):
        raise FetchError(
            SOURCE_INVALID,
            f"{at}: more than {MAX_SUBMODULES} submodules, or more than {MAX_DEPTH} levels of them: "
            "a build fetches no more. Set spec.source.git.submodules to false and fetch those you need in a step",
        )
    for each in found:
        inner = git.inside(each)
        _expect_directory(git.dest, each.path)
        write_submodule(f"{git.dest}/.git", name=each.name, url=each.address.url)
        _check_out(inner, each.commit)
        left = _submodules(task, inner, each.commit, depth=depth + 1, left=left)
    return left


def _expect_directory(root: str, path: str) -> None:
    """git made it, empty, when it checked the parent out; what is anything else would lead our writing elsewhere."""
    place = root
    for part in path.split("/"):
        place = f"{place}/{part}"
        if os.path.islink(place) or not os.path.isdir(place):
            raise FetchError(
                SOURCE_INVALID, f"submodule {clean(path)!r}: its path is not a directory"
            )
    if os.listdir(place):
        raise FetchError(SOURCE_INVALID, f"submodule {clean(path)!r}: its directory is not empty")


def _fetch(git: Git, commit: str, ref: str) -> None:
    fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    try:
        _patiently(lambda: git.run(*fetch, "--depth=1", "origin", commit, ref=commit))
        return
    except FetchError as error:
        if error.kind != Kind.UNADVERTISED:
            raise
    # Servers may refuse a commit that no ref points at. It is in the ref's history unless that was rewritten; without a
    # ref (a submodule, a bare commit id) it can be in any.
    known = bool(ref) and not is_commit(ref)
    refs = (
        (refspec(ref),)
        if known
        else ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
    )
    _patiently(lambda: git.run(*fetch, "origin", *refs, ref=ref or commit))
    try:
        git.run("cat-file", "-e", f"{commit}^{{commit}}", ref=commit)
    except FetchError as error:
        if not known:
            reason, message = explain(
                address=git.address,
                kind=Kind.UNADVERTISED,
                said="",
                ref=commit,
                has_credentials=False,
                submodule=git.submodule,
            )
            raise FetchError(reason, message) from error
        raise FetchError(
            SOURCE_NOT_FOUND,
            f"{git.address.url} does not have commit {commit} any more: {ref.removeprefix('refs/heads/')!r} was "
            "rewritten meanwhile. Submit the Build again",
        ) from None


def _patiently(action: Any) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            action()
            return
        except FetchError as error:
            if error.reason != SOURCE_UNAVAILABLE or attempt == TRIES:
                raise
            # Jitter without `random`, which costs more to import than the whole checkout of a file.
            time.sleep(attempt * (0.3 + os.urandom(1)[0] / 512))
