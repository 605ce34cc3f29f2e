"""Checking out exactly one commit, and its submodules, in the pod: the part of the fetcher that runs git.

The repository is a stranger's. Nothing of it is run, nothing is written outside the checkout, and no server but the
source's own is shown a credential.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.errors import SentinelError
from sentinel.source.access import KEYS, Access, GitCredentials
from sentinel.source.address import Address, clean, is_commit, parse_address, refspec
from sentinel.source.complaint import Kind, diagnose, explain, quote
from sentinel.source.failure import Deadline, failed, retry_until
from sentinel.source.gitcommand import write_ref, write_repository, write_submodule
from sentinel.source.process import Ended, ProcessLimits
from sentinel.source.repository import FETCH, Repository
from sentinel.source.task import Task, read_secret

MAX_SUBMODULES = 500
"""Of a checkout, all levels together."""
MAX_DEPTH = 10
"""Levels of submodules in submodules."""


class Checkout(Repository):
    """A repository with its working tree, `cwd`. `submodule` is its path below the source's, "" for the source."""

    submodule = ""

    def inside(self, address: Address, path: str) -> Checkout:
        """The checkout of a submodule of this one: another address, the same root, the same bounds."""
        other = self.beside(address, cwd=f"{self.cwd}/{path}")
        assert isinstance(other, Checkout)  # noqa: S101 - for mypy
        other.submodule = f"{self.submodule}/{path}".lstrip("/")
        return other

    def error(self, ended: Ended, ref: str) -> SentinelError:
        return failed(
            *self._explain(diagnose(ended.err), quote(ended.err, self.access.hidden), ref)
        )

    def denied(self, why: Exception) -> SentinelError:
        if not self.submodule:
            return super().denied(why)
        return failed(
            Reason.SOURCE_NOT_FOUND,
            f"submodule {clean(self.submodule)!r}: {clean(self.address.url)} is not allowed as a source: {why}",
        )

    def too_much(self, why: str) -> SentinelError:
        return failed(
            Reason.SOURCE_INVALID,
            f"{self.address.url}: the checkout takes more than {why}, the operator's source.maxGiB",
        )

    def check_out(self, commit: str, *, ref: str = "", branch: str = "", tag: str = "") -> None:
        """Have the commit in `cwd`, with a .git that people can use: branch, tag and remote are set."""
        git_dir = f"{self.cwd}/.git"
        write_repository(
            git_dir, url=self.address.url, bare=False, partial=False, branch=branch, fetch=True
        )
        self._fetch(commit, f"refs/heads/{branch}" if branch else ref)
        if branch:
            write_ref(git_dir, f"refs/heads/{branch}", commit)
            write_ref(git_dir, f"refs/remotes/origin/{branch}", commit)
        else:
            Path(git_dir, "HEAD").write_text(commit + "\n", encoding="ascii")
        if tag:
            write_ref(git_dir, f"refs/tags/{tag}", commit)
        self.run("read-tree", "-u", "--reset", commit, ref=commit)

    def _fetch(self, commit: str, ref: str) -> None:
        fetch = (*FETCH, "--no-write-fetch-head")
        if self._tried((*fetch, "--depth=1", "origin", commit), commit) is None:
            return
        # Servers may refuse a commit that no ref points at. It is in the ref's history unless that was rewritten;
        # without a ref (a submodule, a bare commit id) it can be in any.
        known = bool(ref) and not is_commit(ref)
        everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        refs = (refspec(ref),) if known else everything
        if error := self._tried((*fetch, "origin", *refs), ref or commit):
            raise error
        if self.attempt("cat-file", "-e", f"{commit}^{{commit}}").code == 0:
            return
        if not known:
            raise failed(*self._explain(Kind.UNADVERTISED, "", commit, has_credentials=False))
        raise failed(
            Reason.SOURCE_NOT_FOUND,
            f"{self.address.url} does not have commit {commit} any more: {ref.removeprefix('refs/heads/')!r} was "
            "rewritten meanwhile. Submit the Build again",
        )

    def _tried(self, fetch: tuple[str, ...], ref: str) -> SentinelError | None:
        """None where git fetched it, the error where the server does not give it; raises the others."""

        def once() -> SentinelError | None:
            ended = self.attempt(*fetch)
            if ended.code == 0:
                return None
            if diagnose(ended.err) == Kind.UNADVERTISED:
                return self.error(ended, ref)
            raise self.error(ended, ref)

        return retry_until(self.deadline, once)

    def _explain(
        self, kind: str, said: str, ref: str, *, has_credentials: bool | None = None
    ) -> tuple[Reason, str]:
        offered = self.access.offers(self.address) if has_credentials is None else has_credentials
        return explain(
            address=self.address,
            kind=kind,
            said=said,
            ref=ref,
            has_credentials=offered,
            submodule=self.submodule,
        )


def check_out(task: Task, deadline: Deadline) -> None:
    """Have exactly `task.commit` in `task.dest`, with its submodules if the task wants them. SentinelError if not."""
    policy = network.Policy.from_json(task.network)
    try:
        address = parse_address(task.url, allow_file=task.allow_file)
    except ValueError as error:
        raise failed(Reason.SOURCE_NOT_FOUND, str(error)) from error
    with tempfile.TemporaryDirectory(prefix="sentinel-git-") as scratch:
        try:
            access = Access(
                address,
                GitCredentials.from_secret(
                    {key: read_secret(task.secret_dir, key) for key in KEYS}
                ),
                scratch=scratch,
                ca=task.ca,
                allow_file=task.allow_file,
                policy=policy,
            )
        except ValueError as error:
            raise failed(Reason.SOURCE_AUTH_FAILED, str(error)) from error
        checkout = Checkout(
            address,
            access,
            cwd=task.dest,
            limits=ProcessLimits(disk=task.max_bytes),
            deadline=deadline,
            policy=policy,
        )
        checkout.check_out(task.commit, ref=task.ref, branch=task.branch, tag=task.tag)
        if task.submodules:
            _submodules(checkout, task, task.commit, depth=1, left=MAX_SUBMODULES)


def _submodules(parent: Checkout, task: Task, commit: str, *, depth: int, left: int) -> int:
    """Check out the submodules of what is in `parent.cwd`, and theirs. How many more there may be."""
    modules_file = Path(parent.cwd, ".gitmodules")
    if not modules_file.exists() and not modules_file.is_symlink():
        return left
    from sentinel.source import submodules  # noqa: PLC0415 - most projects have none

    at = f"submodule {clean(parent.submodule)!r}" if parent.submodule else parent.address.url
    tree = parent.run("ls-tree", "-r", "-z", "--full-tree", commit, ref=commit)
    # The commit's own file, never the one on the disk, which may be a link.
    listed = parent.attempt("config", "--blob", f"{commit}:.gitmodules", "--list", "-z")
    if listed.code != 0:
        raise failed(
            Reason.SOURCE_INVALID,
            f"{at}: git cannot read .gitmodules of commit {commit[:12]}: correct it",
        )
    try:
        found = submodules.find(
            modules=listed.out.decode("utf-8", "surrogateescape"),
            tree=tree,
            parent=parent.address.url,
            allow_file=task.allow_file,
        )
    except ValueError as error:
        raise failed(Reason.SOURCE_INVALID, f"{at}: {error}") from error
    left -= len(found)
    if found and (depth > MAX_DEPTH or left < 0):
        raise failed(
            Reason.SOURCE_INVALID,
            f"{at}: more than {MAX_SUBMODULES} submodules, or more than {MAX_DEPTH} levels of them: "
            "a build fetches no more. Set spec.source.git.submodules to false and fetch those you need in a step",
        )
    for each in found:
        inner = parent.inside(each.address, each.path)
        _expect_directory(parent.cwd, each.path)
        write_submodule(f"{parent.cwd}/.git", name=each.name, url=each.address.url)
        inner.check_out(each.commit)
        left = _submodules(inner, task, each.commit, depth=depth + 1, left=left)
    return left


def _expect_directory(root: str, path: str) -> None:
    """git made it, empty, when it checked the parent out; what is anything else would lead our writing elsewhere."""
    place = Path(root)
    for part in path.split("/"):
        place /= part
        if place.is_symlink() or not place.is_dir():
            raise failed(
                Reason.SOURCE_INVALID, f"submodule {clean(path)!r}: its path is not a directory"
            )
    if any(place.iterdir()):
        raise failed(
            Reason.SOURCE_INVALID, f"submodule {clean(path)!r}: its directory is not empty"
        )
