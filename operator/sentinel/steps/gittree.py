"""git for steps: one commit of a repository as a tree, in the words of steps. Hardened as all our git is. Blocking."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sentinel import network
from sentinel.config.findings import visible
from sentinel.errors import SentinelError
from sentinel.source.access import Access, GitCredentials
from sentinel.source.address import Address, refspec
from sentinel.source.complaint import Kind, diagnose, quote
from sentinel.source.failure import Deadline
from sentinel.source.gitcommand import write_repository
from sentinel.source.process import Ended, ProcessLimits
from sentinel.source.repository import FETCH, Repository
from sentinel.steps.pack import StepLimits
from sentinel.steps.tree import unpacked
from sentinel.steps.wanted import invalid, not_found, unavailable

_MEMORY = 256 * 1024 * 1024
_OUTPUT = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Host:
    """How repositories are reached: with what, trusting whom, and where they may be."""

    credentials: GitCredentials = field(default_factory=GitCredentials)
    ca: str = ""
    allow_file: bool = False
    policy: network.Policy | None = None


class StepRepository(Repository):
    """An empty repository, for one try. `what` is the step in messages."""

    what = ""

    def error(self, ended: Ended, ref: str) -> SentinelError:
        kind, said = diagnose(ended.err), quote(ended.err, self.access.hidden)
        url = self.address.url
        if kind == Kind.REPOSITORY:
            return not_found(f"{self.what}: there is no repository {url}: git: {said}")
        if kind in (Kind.REF, Kind.UNADVERTISED):
            return unavailable(f"{self.what} changed in {url} while it was fetched: git: {said}")
        if kind == Kind.AUTH and not self.access.offers(self.address):
            # Hosts of git do not tell strangers what does not exist.
            return not_found(
                f"{self.what}: there is no repository {url}, or it is private and the operator's setting steps.token "
                f"is empty: git: {said}"
            )
        return self.unavailable(f"git: {said}")

    def denied(self, why: Exception) -> SentinelError:
        return invalid(f"{self.what}: {self.address.url} is not allowed as a source: {why}")

    def unavailable(self, why: str) -> SentinelError:
        return unavailable(f"{self.what}: cannot fetch from {self.address.url}: {why}")

    def too_much(self, why: str) -> SentinelError:
        return invalid(f"{self.what}: {self.address.url} sends more than {why}")


@contextmanager
def opened(
    address: Address, host: Host, *, what: str, scratch: Path, most: int, deadline: Deadline
) -> Iterator[StepRepository]:
    """An empty repository below `scratch` that may take `most` bytes of disk."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        access = Access(
            address,
            host.credentials,
            scratch=directory,
            ca=host.ca,
            allow_file=host.allow_file,
            policy=host.policy,
        )
        git_dir = f"{directory}/repository.git"
        write_repository(git_dir, url=address.url, bare=True, partial=True)
        repository = StepRepository(
            address,
            access,
            cwd=git_dir,
            git_dir=git_dir,
            limits=ProcessLimits(output=_OUTPUT, disk=most, memory=_MEMORY),
            deadline=deadline,
            policy=host.policy,
        )
        repository.what = what
        yield repository


def fetch_tree(
    address: Address,
    host: Host,
    *,
    refs: tuple[str, ...],
    commit: str,
    path: str,
    what: str,
    workdir: Path,
    limits: StepLimits,
    deadline: Deadline,
) -> Path:
    """Fetch `commit` by the first of `refs` that brings it; the tree below its `path`, in a directory of `workdir`."""
    scratch = Path(tempfile.mkdtemp(dir=workdir))
    most = 2 * limits.unpacked
    with opened(
        address, host, what=what, scratch=scratch, most=most, deadline=deadline
    ) as repository:
        # The files of a path are fetched when they are packed; of a step's repository all are wanted anyway.
        flags = ("--depth=1", "--filter=blob:none") if path else ("--depth=1",)
        for index, ref in enumerate(refs):
            # A commit that is no ref's newest is in its ref's history, which is fetched whole.
            ended = repository.attempt(
                *FETCH, *(flags if index == 0 else flags[1:]), "origin", refspec(ref)
            )
            last = index == len(refs) - 1
            if ended.code == 0 or last or diagnose(ended.err) != Kind.UNADVERTISED:
                break
        if ended.code != 0:
            raise repository.error(ended, what)
        place = f"{commit}:{path}" if path else commit
        if path and not repository.run("ls-tree", "-d", commit, path):
            raise not_found(
                f"{what}: there is no directory {visible(path)} in the project's source"
            )
        archive = scratch / "step.tar"
        repository.run(
            *("-c", "tar.umask=022", "archive", "--format=tar", f"--output={archive}"), place
        )
    return unpacked(
        archive, scratch, limits=limits, what=f"{what}: {address.url}", deadline=deadline
    )
