"""git for steps: one commit of a repository as a tree. Hardened as all our git is (`gitcommand.py`)."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sentinel.config.findings import visible
from sentinel.errors import InfrastructureError, SentinelError
from sentinel.source.access import Access
from sentinel.source.address import Address, refspec
from sentinel.source.complaint import Kind, diagnose, quote
from sentinel.source.git import Credentials
from sentinel.source.gitcommand import write_repository
from sentinel.source.process import Ended, TooMuch, run
from sentinel.source.steps.pack import Limits
from sentinel.source.steps.tree import unpacked
from sentinel.source.steps.wanted import invalid, not_found, unavailable

TRIES = 3
_SECONDS = 120.0
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance")

T = TypeVar("T")


class Repository:
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


async def fetch_tree(
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
    repository = Repository(address, credentials, scratch, ca=ca, allow_file=allow_file)
    # The files of a path are fetched when they are packed; of a step's repository all are wanted anyway.
    flags = ("--depth=1", "--filter=blob:none") if path else ("--depth=1",)
    most = 2 * limits.unpacked
    for index, ref in enumerate(refs):
        # A commit that is nobody's newest is in its ref's history, which is fetched whole.
        ended = await repository.attempt(
            *_FETCH,
            *(flags if index == 0 else flags[1:]),
            "origin",
            refspec(ref),
            what=what,
            most=most,
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


async def patiently(action: Callable[[], Awaitable[T]], pause: float) -> T:
    """Try up to TRIES times, as long as it is the network's or the server's fault."""
    for attempt in range(1, TRIES):
        try:
            return await action()
        except InfrastructureError:
            await asyncio.sleep(attempt * pause * random.uniform(0.7, 1.6))  # noqa: S311 - jitter
    return await action()
