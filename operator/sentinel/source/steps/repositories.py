"""One git repository for each step: a template of URLs, tags as versions. And steps in a project's own repository.

`git+https://host/{owner}/step-{name}.git`: a tag `1.2.3` or `v1.2.3` is that version, `*` the highest of them; a
repository without such tags gives what its HEAD is, whose manifest may say which version. Only the one commit is
fetched, and packed as git archives it, `export-ignore` honoured, without `.git`.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sentinel.config.findings import visible
from sentinel.errors import InfrastructureError, SentinelError
from sentinel.source.access import Access
from sentinel.source.address import Address, is_commit, parse_address, valid_ref
from sentinel.source.complaint import Kind, diagnose, quote
from sentinel.source.git import Credentials
from sentinel.source.gitcommand import write_repository
from sentinel.source.process import Ended, TooMuch, run
from sentinel.source.steps.folder import manifest_of
from sentinel.source.steps.pack import Limits
from sentinel.source.steps.registry import Release
from sentinel.source.steps.tree import unpacked
from sentinel.source.steps.versions import LATEST, bare, choose, ordered
from sentinel.source.steps.wanted import (
    WantedStep,
    invalid,
    no_such_step,
    not_found,
    unavailable,
)

TRIES = 3
_SECONDS = 120.0
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance")
_TAGS = "refs/tags/"

T = TypeVar("T")


class RepositoryTemplate:
    """A registry of repositories. `template` is a URL with {owner} and {name} in it; `scratch` a directory to work in.

    `token` is the password that git offers to the template's host, and to no other; `ca` holds certificates (PEM) that
    are trusted besides the system's.
    """

    def __init__(
        self,
        template: str,
        *,
        scratch: Path,
        token: str = "",
        ca: str = "",
        pause: float = 0.3,
    ) -> None:
        self._template = template
        self._credentials = Credentials(password=token)
        self._scratch = scratch
        self._ca = ca
        self._pause = pause
        self.title = f"git+{self._address('{owner}', '{name}').url}"

    async def look_up(self, wanted: WantedStep) -> Release:
        address = self._address(wanted.owner, wanted.name)
        listing = await _patiently(lambda: self._list(address, wanted), self._pause)
        rows = [line.split("\t", 1) for line in listing.splitlines() if "\t" in line]
        # The line with ^{} behind is the commit that an annotated tag is of; it comes after the tag's own.
        tags = {
            name.removeprefix(_TAGS).removesuffix("^{}"): commit
            for commit, name in rows
            if name.startswith(_TAGS)
        }
        head = next((commit for commit, name in rows if name == "HEAD"), "")
        version = choose(wanted.version, tags)
        if version is None and not head:
            raise not_found(f"step {wanted}: the repository {address.url} is empty")
        if version is None and wanted.version != LATEST:
            if tagged := ordered(tags):
                raise no_such_step(wanted, where=address.url, versions=tagged)
            # Nobody tags here: whether HEAD is that version is seen when it is fetched.
            return self._release(
                wanted, address, version=bare(wanted.version), ref="HEAD", commit=head
            )
        if version is None:
            return self._release(wanted, address, version="", ref="HEAD", commit=head)
        return self._release(
            wanted, address, version=bare(version), ref=f"{_TAGS}{version}", commit=tags[version]
        )

    def _release(
        self, wanted: WantedStep, address: Address, *, version: str, ref: str, commit: str
    ) -> Release:
        at = commit[:12] if ref == "HEAD" else ref.removeprefix(_TAGS)
        return Release(
            owner=wanted.owner,
            name=wanted.name,
            version=version,
            place=ref,
            origin=f"{address.url} at {at}",
            mark=commit,
            settled=True,
        )

    async def fetch(self, release: Release, workdir: Path, *, limits: Limits) -> Path:
        address = self._address(release.owner, release.name)
        tree = await _patiently(
            lambda: _tree(
                address,
                self._credentials,
                refs=(release.place,),
                commit=release.mark,
                path="",
                what=f"step {release.owner}/{release.name}",
                workdir=workdir,
                limits=limits,
                ca=self._ca,
            ),
            self._pause,
        )
        if release.place == "HEAD" and release.version:
            stated = (await asyncio.to_thread(manifest_of, tree)).version
            if bare(stated) != release.version:
                raise not_found(
                    f"step {release.owner}/{release.name}@{release.version}: {address.url} has no tag that is a "
                    f"version, and its newest commit is {visible(stated) or 'of no version'}"
                )
        return tree

    async def _list(self, address: Address, wanted: WantedStep) -> str:
        with tempfile.TemporaryDirectory(dir=self._scratch) as workdir:
            repository = _Repository(address, self._credentials, Path(workdir), ca=self._ca)
            return await repository.run(
                "ls-remote", "origin", "HEAD", f"{_TAGS}*", what=f"step {wanted}"
            )

    def _address(self, owner: str, name: str) -> Address:
        return parse_address(self._template.replace("{owner}", owner).replace("{name}", name))


@dataclass(frozen=True, kw_only=True)
class Project:
    """The repository that a build is of, at its commit: where `file://./steps/x` is looked for.

    `ref` is the one the commit was found under, for servers that do not give commits by their id.
    """

    url: str
    commit: str
    ref: str = ""
    credentials: Credentials | None = None
    ca: str = ""
    allow_file: bool = False


class ProjectStep:
    """One step that lies in the project's own repository. Nothing of it is kept for other builds to find."""

    def __init__(self, project: Project, path: str, *, pause: float = 0.3) -> None:
        self._project = project
        self._path = path
        self._pause = pause
        self._address = parse_address(project.url, allow_file=project.allow_file)
        self.title = self._address.url

    async def look_up(self, wanted: WantedStep) -> Release:
        return Release(
            owner=wanted.owner,
            name=wanted.name,
            version="",
            place=self._path,
            origin=f"{self._path} of the project's source",
            mark=self._project.commit,
        )

    async def fetch(self, release: Release, workdir: Path, *, limits: Limits) -> Path:
        project = self._project
        refs: tuple[str, ...] = (project.commit,)
        if project.ref and valid_ref(project.ref) and not is_commit(project.ref):
            refs += (project.ref,)
        return await _patiently(
            lambda: _tree(
                self._address,
                project.credentials or Credentials(),
                refs=refs,
                commit=project.commit,
                path="" if self._path == "." else self._path,
                what=f"step {release.owner}/{release.name}",
                workdir=workdir,
                limits=limits,
                ca=project.ca,
                allow_file=project.allow_file,
            ),
            self._pause,
        )


class _Repository:
    """An empty repository below `workdir`, for one try."""

    def __init__(
        self,
        address: Address,
        given: Credentials,
        workdir: Path,
        *,
        ca: str = "",
        allow_file: bool = False,
    ) -> None:
        access = Access(
            address, given.as_secret(), scratch=str(workdir), ca=ca, allow_file=allow_file
        )
        self.address = address
        self._git_dir = workdir / "repository.git"
        self._has_credentials = access.offers(address)
        self._hidden = access.hidden
        self._environment = access.environment(address) | {"GIT_DIR": str(self._git_dir)}
        write_repository(str(self._git_dir), url=address.url, bare=True, partial=True)

    async def run(self, *arguments: str, what: str, most: int = 0) -> str:
        """git's standard output. The errors of steps where it fails, or writes more than `most` bytes (0: no bound)."""
        ended = await self.attempt(*arguments, what=what, most=most)
        if ended.code != 0:
            raise self.error(ended, what)
        return ended.out.decode("utf-8", "replace")

    async def attempt(self, *arguments: str, what: str, most: int = 0) -> Ended:
        """As `run`, whatever git's exit code is."""
        try:
            async with asyncio.timeout(_SECONDS):
                return await run(arguments, env=self._environment, cwd=self._git_dir, max_disk=most)
        except TimeoutError:
            raise unavailable(
                f"{what}: {self.address.url} did not answer within {_SECONDS:g} seconds"
            ) from None
        except TooMuch as error:
            raise invalid(f"{what}: {self.address.url} sends {error}") from None

    def error(self, ended: Ended, what: str) -> SentinelError:
        """Whose fault git's failure is."""
        kind, said = diagnose(ended.err), quote(ended.err, self._hidden)
        url = self.address.url
        if kind == Kind.REPOSITORY:
            return not_found(f"{what}: there is no repository {url}: git says: {said}")
        if kind in (Kind.REF, Kind.UNADVERTISED):
            return unavailable(f"{what} changed in {url} while it was fetched: git says: {said}")
        if kind == Kind.AUTH and not self._has_credentials:
            # Hosts of git do not tell strangers what does not exist.
            return not_found(
                f"{what}: there is no repository {url}, or it is private and the operator's setting steps.token is "
                f"empty: git says: {said}"
            )
        return unavailable(f"{what}: cannot fetch from {url}: git says: {said}")


async def _tree(
    address: Address,
    credentials: Credentials,
    *,
    refs: tuple[str, ...],
    commit: str,
    path: str,
    what: str,
    workdir: Path,
    limits: Limits,
    ca: str = "",
    allow_file: bool = False,
) -> Path:
    """Fetch `commit` by the first of `refs` that brings it; the tree below its `path`, in a directory of `workdir`."""
    scratch = Path(tempfile.mkdtemp(dir=workdir))
    repository = _Repository(address, credentials, scratch, ca=ca, allow_file=allow_file)
    # The files of a path are fetched when they are packed; of a step's repository all are wanted anyway.
    flags = ("--depth=1", "--filter=blob:none") if path else ("--depth=1",)
    most = 2 * limits.unpacked
    for index, ref in enumerate(refs):
        # A commit that is nobody's newest is in its ref's history, which is fetched whole.
        ended = await repository.attempt(
            *_FETCH, *(flags if index == 0 else flags[1:]), "origin", ref, what=what, most=most
        )
        last = index == len(refs) - 1
        if ended.code == 0 or last or diagnose(ended.err) != Kind.UNADVERTISED:
            break
    if ended.code != 0:
        raise repository.error(ended, what)
    place = f"{commit}:{path}" if path else commit
    if path and not await repository.run("ls-tree", "-d", commit, path, what=what):
        raise not_found(f"{what}: there is no directory {visible(path)} in the project's source")
    await repository.run(
        *("-c", "tar.umask=022", "archive", "--format=tar", f"--output={scratch / 'step.tar'}"),
        place,
        what=what,
        most=most,
    )
    return await unpacked(
        scratch / "step.tar", scratch, limits=limits, what=f"{what}: {address.url}"
    )


async def _patiently(action: Callable[[], Awaitable[T]], pause: float) -> T:
    for attempt in range(1, TRIES):
        try:
            return await action()
        except InfrastructureError:
            await asyncio.sleep(attempt * pause * random.uniform(0.7, 1.6))  # noqa: S311 - jitter
    return await action()
