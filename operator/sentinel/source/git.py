"""From a ref to a commit and the first-level files the operator wants to read, in one round of fetching.

It stands on the critical path: a pod can only be composed once wercker.yml was read. So the repository is made by
hand, one `git fetch` brings commit, root tree and the root's files (`--filter=tree:2`), and one `git cat-file` reads
them. For HEAD it is one `git clone`: a fetch does not say which branch HEAD is, and asking apart costs as much again.
Servers without that filter give no blobs, or everything; then the same commands take longer.

Nothing is kept: each call has a directory of its own below `cache_dir`, so no lock, no stale state, and nobody reads
through us what only somebody else's credentials can fetch.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.source import objects, refs
from sentinel.source.access import KEYS, Access
from sentinel.source.address import Address, clean, is_commit, parse_address, refspec, valid_ref
from sentinel.source.complaint import Kind, diagnose, explain, quote
from sentinel.source.gitcommand import write_repository
from sentinel.source.process import Ended, TooMuch, run, started

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRIES = 3
MAX_DISK = 512 * 1024 * 1024
"""Bytes a fetch may bring. Only servers that ignore filters come near."""
ROOT_NAMES = 1000
"""Names of the root directory that are told."""
MAX_FILE = 1024 * 1024
"""Bytes of a wanted file."""

_FILTERS = (f"combine:tree:2+blob:limit={MAX_FILE + 1}", "blob:none", "")
_FETCH = (
    *("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"),
    "--depth=1",
)
_CLONE = ("clone", "--quiet", "--bare", "--no-tags", "--single-branch", "--template=", "--depth=1")
_plain_hosts: dict[str, int] = {}
"""Hosts that refused a filter → index of the first of _FILTERS to offer them."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a git Secret holds: `access.KEYS`."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ssh_key: str = field(default="", repr=False)
    known_hosts: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)

    @classmethod
    def from_secret(cls, data: Mapping[str, str]) -> Credentials:
        """From a Secret's keys; other keys are nothing of ours."""
        return cls(**{name: data.get(key, "") for name, key in cls._names()})

    def as_secret(self) -> dict[str, str]:
        """A Secret's keys with these values."""
        return {key: getattr(self, name) for name, key in self._names()}

    @staticmethod
    def _names() -> list[tuple[str, str]]:
        special = {"ssh-privatekey": "ssh_key", "ca.crt": "ca"}
        return [(special.get(key, key), key) for key in KEYS]


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


async def resolve(
    *,
    url: str,
    ref: str,
    credentials: Credentials | None,
    paths: Sequence[str],
    cache_dir: Path,
    ca: str = "",
    allow_file: bool = False,
    timeout: float = 60,  # noqa: ASYNC109 - part of the interface: it bounds all tries together
) -> Resolved:
    """Find `ref` (branch, tag, full commit id, refs/…, "" or HEAD) and read the files `paths` of the root directory.

    A name that is a branch's and a tag's is the branch; a name like pull/1/head is below refs/. `ca` holds certificates
    to trust besides the system's. UserError SOURCE_NOT_FOUND (names close branches and tags) or SOURCE_AUTH_FAILED;
    InfrastructureError SOURCE_UNAVAILABLE after three tries or `timeout` seconds. Messages quote git and hold no
    credentials.
    """
    try:
        address = parse_address(url, allow_file=allow_file)
    except ValueError as error:
        raise UserError(f"spec.source.git.url: {error}", reason=Reason.SOURCE_NOT_FOUND) from error
    ref = ref or "HEAD"
    if not valid_ref(ref):
        raise UserError(
            f"spec.source.git.ref: {clean(ref)!r} cannot be the name of a branch, tag or commit",
            reason=Reason.SOURCE_NOT_FOUND,
        )
    if is_commit(ref):
        ref = ref.lower()
    given = credentials or Credentials()
    try:
        async with asyncio.timeout(timeout):
            for attempt in range(1, TRIES + 1):
                workdir = _make_workdir(cache_dir)
                try:
                    repository = _Repository(address, given, workdir, ca, allow_file)
                    return await repository.resolve(ref, paths)
                except InfrastructureError:
                    if attempt == TRIES:
                        raise
                finally:
                    shutil.rmtree(workdir, ignore_errors=True)
                await asyncio.sleep(attempt * random.uniform(0.3, 0.8))  # noqa: S311 - jitter
    except TimeoutError:
        raise InfrastructureError(
            f"{address.url} did not answer within {timeout:g} seconds",
            reason=Reason.SOURCE_UNAVAILABLE,
        ) from None
    raise AssertionError("unreachable")


def _make_workdir(cache_dir: Path) -> Path:
    cache_dir.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="git-", dir=cache_dir))


class _Repository:
    """An empty partial clone in `workdir` that lives for one try."""

    def __init__(
        self, address: Address, credentials: Credentials, workdir: Path, ca: str, allow_file: bool
    ) -> None:
        try:
            access = Access(
                address,
                credentials.as_secret(),
                scratch=str(workdir),
                ca=ca,
                allow_file=allow_file,
            )
        except ValueError as error:
            raise UserError(
                f"spec.source.git.secretRef: {error}", reason=Reason.SOURCE_AUTH_FAILED
            ) from error
        self._address = address
        self._workdir = workdir
        self._git_dir = workdir / "repository.git"
        self._has_credentials = access.offers(address)
        self._hidden = access.hidden
        self._environment = access.environment(address)
        self._environment["GIT_DIR"] = str(self._git_dir)

    async def resolve(self, ref: str, paths: Sequence[str]) -> Resolved:
        if ref == "HEAD":
            found, branch, tag = ref, await self._clone(), ""
        else:
            found = await self._fetch(ref)
            branch, tag = refs.names(self._fetch_head())
            if tag == ref and await self._is_branch(ref):
                # Of two with one name git's fetch takes the tag. Here it is what `git clone --branch` takes.
                found, branch, tag = await self._fetch(f"refs/heads/{ref}"), ref, ""
        return await self._read(found, ref=ref, branch=branch, tag=tag, paths=paths)

    async def _clone(self) -> str:
        """Bring HEAD's objects; the branch it is. Detached: one whose tip it is, by git's guess, or ""."""
        ended = await self._filtered(_CLONE, "--", self._address.url, str(self._git_dir))
        if ended.code != 0:
            raise self._error(ended, "HEAD")
        head = (self._git_dir / "HEAD").read_text(encoding="utf-8", errors="replace").strip()
        return head.partition("ref: refs/heads/")[2]

    async def _is_branch(self, name: str) -> bool:
        listed = await self._run("ls-remote", "--heads", "origin", f"refs/heads/{name}")
        if listed.code != 0:
            raise self._error(listed, name)
        lines = listed.out.decode("utf-8", "replace").splitlines()
        return any(line.endswith(f"\trefs/heads/{name}") for line in lines)

    async def _fetch(self, ref: str) -> str:
        """Bring the ref's objects; the id it has, which may be that of an annotated tag."""
        write_repository(str(self._git_dir), url=self._address.url, bare=True, partial=True)
        ended = await self._filtered(_FETCH, "origin", refspec(ref))
        if ended.code != 0:
            kind = diagnose(ended.err)
            if kind == Kind.REF:
                ref = await self._find(ref)
                ended = await self._filtered(_FETCH, "origin", refspec(ref))
            elif kind == Kind.UNADVERTISED and "unadvertised" in ended.err:
                # An old server gives commits only by way of refs: take the history of all of them.
                everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
                ended = await self._filtered(_FETCH[:-1], "origin", *everything)
                if ended.code == 0:
                    return ref
            if ended.code != 0:
                raise self._error(ended, ref)
        return self._fetch_head().partition("\t")[0]

    async def _filtered(self, command: Sequence[str], *arguments: str) -> Ended:
        """Run a clone or fetch with the narrowest filter that the host takes."""
        first = _plain_hosts.get(self._address.host, 0)
        for index in range(first, len(_FILTERS)):
            flags = (f"--filter={_FILTERS[index]}",) if _FILTERS[index] else ()
            ended = await self._run(*command, *flags, *arguments)
            if ended.code == 0 or diagnose(ended.err) != Kind.FILTER:
                break
            if len(_plain_hosts) > 1000:
                _plain_hosts.clear()
            _plain_hosts[self._address.host] = min(index + 1, len(_FILTERS) - 1)
        return ended

    def _fetch_head(self) -> str:
        text = (self._git_dir / "FETCH_HEAD").read_text(encoding="utf-8", errors="replace")
        return text.partition("\n")[0]

    async def _find(self, ref: str) -> str:
        """A commit id whose beginning `ref` is, if a branch or tag has it; else UserError with names like it."""
        listed = await self._run("ls-remote", "--heads", "--tags", "--refs", "origin")
        if listed.code != 0:
            raise self._error(listed, ref)
        lines = listed.out.decode("utf-8", "replace").splitlines()
        rows = [line.split("\t", 1) for line in lines if "\t" in line]
        if len(ref) >= 7:
            commits = {commit for commit, _ in rows if commit.startswith(ref.lower())}
            if len(commits) == 1:
                return commits.pop()
        _, message = explain(
            address=self._address,
            kind=Kind.REF,
            said="",
            ref=ref,
            has_credentials=self._has_credentials,
        )
        raise UserError(
            message + refs.suggest(ref, [name for _, name in rows]), reason=Reason.SOURCE_NOT_FOUND
        )

    async def _read(
        self, found: str, *, ref: str, branch: str, tag: str, paths: Sequence[str]
    ) -> Resolved:
        async with started(
            ["cat-file", "--batch"], env=self._environment, cwd=self._git_dir, stdin=True
        ) as process:
            store = objects.Reader(process)
            commit = await store.read(f"{found}^{{commit}}")
            if commit is None and found == "HEAD":
                # A clone of nothing succeeds; this tells what there is instead.
                await self._find(found)
            if commit is None or commit.kind != "commit":
                raise UserError(
                    f"{self._address.url}: {clean(ref)!r} is not a commit, and no tag of one",
                    reason=Reason.SOURCE_NOT_FOUND,
                )
            tree = await store.read(f"{found}^{{tree}}")
            entries = objects.parse_tree(tree.data) if tree else {}
            files = {}
            for path in paths:
                entry = objects.follow(entries, path) or await self._follow_link(
                    store, entries, path
                )
                if entry is None:
                    continue
                blob = await store.read(entry.id)
                if blob is None:
                    raise InfrastructureError(
                        f"{self._address.url} did not deliver {path} of commit {commit.id[:12]}",
                        reason=Reason.SOURCE_UNAVAILABLE,
                    )
                if len(blob.data) > MAX_FILE:
                    raise UserError(
                        f"{self._address.url}: {path} at {commit.id[:12]} is larger than {MAX_FILE // 1024} KiB",
                        reason=Reason.CONFIG_INVALID,
                    )
                files[path] = blob.data
        return Resolved(
            commit=commit.id,
            branch=branch,
            tag=tag,
            subject=clean(objects.subject(commit.data))[:256],
            files=files,
            root=tuple(entries)[:ROOT_NAMES],
        )

    async def _follow_link(
        self, store: objects.Reader, entries: Mapping[str, objects.Entry], path: str
    ) -> objects.Entry | None:
        """The entry a symbolic link of the root directory names in the root directory; others lead nowhere."""
        entry = entries.get(path)
        if entry is None or not entry.is_link:
            return None
        link = await store.read(entry.id)
        target = link.data.decode("utf-8", "replace") if link else ""
        return objects.follow(entries, target.removeprefix("./"))

    async def _run(self, *arguments: str) -> Ended:
        try:
            return await run(arguments, env=self._environment, cwd=self._workdir, max_disk=MAX_DISK)
        except TooMuch as error:
            raise UserError(
                f"{self._address.url} sends {error} for a single commit. Its server does not support partial "
                "clones (uploadpack.allowFilter)",
                reason=Reason.SOURCE_INVALID,
            ) from None

    def _error(self, ended: Ended, ref: str) -> SentinelError:
        word, message = explain(
            address=self._address,
            kind=diagnose(ended.err),
            said=quote(ended.err, self._hidden),
            ref=ref,
            has_credentials=self._has_credentials,
        )
        reason = Reason(word)
        if reason is Reason.SOURCE_UNAVAILABLE:
            return InfrastructureError(message, reason=reason)
        return UserError(message, reason=reason)
