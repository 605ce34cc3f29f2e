"""From a ref to a commit and the first-level files the operator wants to read, in one round of fetching.

It stands on the critical path: a pod can only be composed once wercker.yml was read. So the repository is made by
hand, one `git fetch` brings commit, root tree and the root's files (`--filter=tree:2`), and one `git cat-file` reads
them. For HEAD it is one `git clone`: a fetch does not say which branch HEAD is, and asking apart costs as much again.
Servers without that filter give no blobs, or everything; then the same commands take longer.

Nothing is kept: each call has a directory of its own below `cache_dir`, so no lock and no stale state, and nobody reads
through us what only another user's credentials can fetch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.source import objects, refs
from sentinel.source.access import Access, GitCredentials, check_login
from sentinel.source.address import (
    Address,
    clean,
    is_commit,
    parse_address,
    refspec,
    valid_ref,
)
from sentinel.source.complaint import Kind, diagnose, explain
from sentinel.source.failure import Deadline, retry_until
from sentinel.source.gitcommand import write_repository
from sentinel.source.process import Ended, ProcessLimits
from sentinel.source.repository import FETCH, Repository

__all__ = ["GitCredentials", "Resolved", "resolve"]

MAX_DISK = 512 * 1024 * 1024
"""Bytes a fetch may bring. Only servers that ignore filters come near."""
MAX_OUTPUT = 8 * 1024 * 1024
MAX_MEMORY = 256 * 1024 * 1024
"""Bytes of memory of each git process: it is the operator's memory that a hostile repository would fill."""
MAX_TREE = 4 * 1024 * 1024
"""Bytes of the root directory's tree object, some 100,000 entries."""
ROOT_NAMES = 1000
"""Names of the root directory that are reported."""
MAX_FILE = 1024 * 1024
"""Bytes of a wanted file."""
_COMMIT_HEAD = 64 * 1024
"""Bytes of a commit that are kept, for its subject: the message of a squash merge may have megabytes."""

_FILTERS = (f"combine:tree:2+blob:limit={MAX_FILE + 1}", "blob:none", "")
_CLONE = ("clone", "--quiet", "--bare", "--no-tags", "--single-branch", "--template=", "--depth=1")
_plain_hosts: dict[str, int] = {}
"""Hosts that refused a filter → index of the first of _FILTERS to offer them."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A commit. `branch` or `tag` is the name it was found under, "" if under none; `subject` its first line.

    `files` holds the wanted files that exist, by name; `root` the names in the root directory, at most ROOT_NAMES.
    """

    commit: str
    branch: str
    tag: str
    subject: str
    files: Mapping[str, bytes]
    root: tuple[str, ...] = field(default=(), compare=False)


def resolve(
    *,
    url: str,
    ref: str,
    credentials: GitCredentials | None,
    paths: Sequence[str],
    cache_dir: Path,
    deadline: Deadline,
    ca: str = "",
    allow_file: bool = False,
    policy: network.Policy | None = None,
) -> Resolved:
    """Find `ref` (branch, tag, full commit id, refs/…, "" or HEAD) and read the files `paths` of the root directory.

    A name that is a branch's and a tag's is the branch; a name like pull/1/head is below refs/. `ca` holds certificates
    to trust besides the system's. UserError SOURCE_NOT_FOUND (names close branches and tags), SOURCE_AUTH_FAILED or
    SOURCE_INVALID; InfrastructureError SOURCE_UNAVAILABLE after three tries or at the deadline. Messages quote git and
    hold no credentials and nothing that a server sent.
    """
    try:
        address = parse_address(url, allow_file=allow_file)
    except ValueError as error:
        raise UserError(f"spec.source.git.url: {error}", reason=Reason.SOURCE_NOT_FOUND) from error
    given = credentials or GitCredentials()
    check_login(url, given, field="spec.source.git", policy=policy)
    ref = ref or "HEAD"
    if not valid_ref(ref):
        raise UserError(
            f"spec.source.git.ref: {clean(ref)[:200]!r} cannot be the name of a branch, tag or commit",
            reason=Reason.SOURCE_NOT_FOUND,
        )
    if is_commit(ref):
        ref = ref.lower()
    cache_dir.mkdir(parents=True, exist_ok=True)

    def once() -> Resolved:
        with tempfile.TemporaryDirectory(
            prefix="git-", dir=cache_dir, ignore_cleanup_errors=True
        ) as scratch:
            try:
                access = Access(
                    address,
                    given,
                    scratch=scratch,
                    ca=ca,
                    allow_file=allow_file,
                    policy=policy,
                )
            except ValueError as error:
                raise UserError(
                    f"spec.source.git.secretRef: {error}", reason=Reason.SOURCE_AUTH_FAILED
                ) from error
            return _Resolver(address, access, scratch, deadline, policy).resolve(ref, paths)

    try:
        return retry_until(deadline, once)
    except TimeoutError:
        raise InfrastructureError(
            f"cannot fetch from {address.url}: it did not answer within {deadline.seconds:g} seconds",
            reason=Reason.SOURCE_UNAVAILABLE,
        ) from None


class _Resolver(Repository):
    """An empty partial clone below `scratch` that lives for one try."""

    def __init__(
        self,
        address: Address,
        access: Access,
        scratch: str,
        deadline: Deadline,
        policy: network.Policy | None,
    ) -> None:
        super().__init__(
            address,
            access,
            cwd=scratch,
            git_dir=f"{scratch}/repository.git",
            limits=ProcessLimits(output=MAX_OUTPUT, disk=MAX_DISK, memory=MAX_MEMORY),
            deadline=deadline,
            policy=policy,
        )

    def resolve(self, ref: str, paths: Sequence[str]) -> Resolved:
        if ref == "HEAD":
            found, branch, tag = ref, self._clone(), ""
        else:
            found = self._fetch(ref)
            branch, tag = refs.names(self._fetch_head())
            if tag == ref and self._is_branch(ref):
                # Of two with one name git's fetch takes the tag. Here it is what `git clone --branch` takes.
                found, branch, tag = self._fetch(f"refs/heads/{ref}"), ref, ""
        return self._read(found, ref=ref, branch=branch, tag=tag, paths=paths)

    def _clone(self) -> str:
        """Bring HEAD's objects; the branch it is. Detached: one whose tip it is, by git's guess, or ""."""
        ended = self._filtered(_CLONE, "--", self.address.url, self.git_dir)
        if ended.code != 0:
            raise self.error(ended, "HEAD")
        head = Path(self.git_dir, "HEAD").read_text("utf-8", "replace").strip()
        return head.partition("ref: refs/heads/")[2]

    def _is_branch(self, name: str) -> bool:
        listed = self.run("ls-remote", "--heads", "origin", f"refs/heads/{name}", ref=name)
        return any(line.endswith(f"\trefs/heads/{name}") for line in listed.splitlines())

    def _fetch(self, ref: str) -> str:
        """Bring the ref's objects; the id it has, which may be that of an annotated tag."""
        write_repository(self.git_dir, url=self.address.url, bare=True, partial=True)
        ended = self._filtered((*FETCH, "--depth=1"), "origin", refspec(ref))
        if ended.code != 0:
            kind = diagnose(ended.err)
            if kind == Kind.REF:
                ref = self._find(ref)
                ended = self._filtered((*FETCH, "--depth=1"), "origin", refspec(ref))
            elif kind == Kind.UNADVERTISED and "unadvertised" in ended.err:
                # An old server gives commits only by way of refs: take the history of all of them.
                everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
                ended = self._filtered(FETCH, "origin", *everything)
                if ended.code == 0:
                    return ref
            if ended.code != 0:
                raise self.error(ended, ref)
        return self._fetch_head().partition("\t")[0]

    def _filtered(self, command: Sequence[str], *arguments: str) -> Ended:
        """Run a clone or fetch with the narrowest filter that the host takes."""
        first = _plain_hosts.get(self.address.host, 0)
        for index in range(first, len(_FILTERS)):
            flags = (f"--filter={_FILTERS[index]}",) if _FILTERS[index] else ()
            ended = self.attempt(*command, *flags, *arguments)
            if ended.code == 0 or diagnose(ended.err) != Kind.FILTER:
                break
            if len(_plain_hosts) > 1000:
                _plain_hosts.clear()
            _plain_hosts[self.address.host] = min(index + 1, len(_FILTERS) - 1)
        return ended

    def _fetch_head(self) -> str:
        return Path(self.git_dir, "FETCH_HEAD").read_text("utf-8", "replace").partition("\n")[0]

    def _find(self, ref: str) -> str:
        """A commit id whose beginning `ref` is, if a branch or tag has it; else UserError with names like it."""
        listed = self.run("ls-remote", "--heads", "--tags", "--refs", "origin", ref=ref)
        rows = [line.split("\t", 1) for line in listed.splitlines() if "\t" in line]
        if len(ref) >= 7:
            commits = {commit for commit, _ in rows if commit.startswith(ref.lower())}
            if len(commits) == 1:
                return commits.pop()
        _, message = explain(
            address=self.address,
            kind=Kind.REF,
            said="",
            ref=ref,
            has_credentials=self.access.offers(self.address),
        )
        raise UserError(
            message + refs.suggest(ref, [name for _, name in rows]), reason=Reason.SOURCE_NOT_FOUND
        )

    def _read(
        self, found: str, *, ref: str, branch: str, tag: str, paths: Sequence[str]
    ) -> Resolved:
        reader = objects.Reader(
            cwd=self.git_dir, env=self.environment, deadline=self.deadline, memory=MAX_MEMORY
        )
        with reader:
            commit = reader.read(f"{found}^{{commit}}", most=_COMMIT_HEAD, cut=True)
            if commit is None and found == "HEAD":
                # A clone of nothing succeeds; this tells what there is instead.
                self._find(found)
            if commit is None or commit.kind != "commit":
                raise UserError(
                    f"{self.address.url}: {clean(ref)!r} is not a commit, and no tag of one",
                    reason=Reason.SOURCE_NOT_FOUND,
                )
            tree = reader.read(f"{found}^{{tree}}", most=MAX_TREE)
            if tree is not None and tree.size > MAX_TREE:
                raise UserError(
                    f"{self.address.url}: the root directory of {commit.id[:12]} has too many entries: its tree has "
                    f"{tree.size >> 20} MiB, more than {MAX_TREE >> 20}. Move files into directories",
                    reason=Reason.SOURCE_INVALID,
                )
            data = tree.data if tree else b""
            files = self._files(reader, commit.id, data, paths)
        names = (entry.name for entry in islice(objects.entries(data), ROOT_NAMES))
        return Resolved(
            commit=commit.id,
            branch=branch,
            tag=tag,
            subject=clean(objects.subject(commit.data))[:256],
            files=files,
            root=tuple(names),
        )

    def _files(
        self, reader: objects.Reader, commit: str, tree: bytes, paths: Sequence[str]
    ) -> dict[str, bytes]:
        """The regular files of the root that are called so, or that a symbolic link there of that name names."""
        files = {}
        for path, entry in sorted(
            objects.pick(tree, paths).items(), key=lambda item: list(paths).index(item[0])
        ):
            if entry.is_link:
                link = reader.read(entry.id, most=4096)
                target = link.data.decode("utf-8", "replace") if link else ""
                target = target.removeprefix("./")
                found = objects.pick(tree, [target]).get(target)
            else:
                found = entry
            if found is None or not found.is_file:
                continue
            blob = reader.read(found.id, most=MAX_FILE)
            if blob is None:
                raise self.unavailable(f"the server did not send {path} of commit {commit[:12]}")
            if blob.size > MAX_FILE:
                raise UserError(
                    f"{self.address.url}: {path} at {commit[:12]} is larger than {MAX_FILE // 1024} KiB",
                    reason=Reason.CONFIG_INVALID,
                )
            files[path] = blob.data
        return files
