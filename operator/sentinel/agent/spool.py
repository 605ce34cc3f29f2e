"""The spool: the node's disk space for layers, shared by all commits that are under way.

A commit reserves the most that it can write before its box is frozen, and nothing is written beyond that. Not here:
writing (`layer.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sentinel.agent.failures import CommitFailure
from sentinel.agent.tally import gib
from sentinel.api.reasons import CommitReason

log = logging.getLogger(__name__)

PREFIX = "commit-"
"""Of the folders in the spool that are ours."""


@dataclass(eq=False)
class Reservation:
    """A folder for one commit's files, and the bytes that may lie in it."""

    folder: Path
    owner: str
    size: int
    _spool: Spool

    def shrink(self, size: int) -> None:
        """Give back what is not needed any more."""
        self.size = min(self.size, size)
        self._spool.changed()


class Spool:
    """A directory of which `most` bytes may be used, whatever the disk has; 0 for no such limit.

    `kept` are bytes of files in it that stay between commits (`indexes.py`).
    """

    def __init__(self, folder: Path, *, most: int = 0) -> None:
        self.folder = folder
        self.most = most
        self.kept = 0
        self._reserved: list[Reservation] = []
        self._changes = asyncio.Event()

    @asynccontextmanager
    async def reserved(self, size: int, *, owner: str) -> AsyncIterator[Reservation]:
        """Space for `size` bytes, waited for while other commits use it; their files go with the block.

        `owner` is a namespace: it does not get a second reservation while its own take half of the spool.
        Raises CommitFailure(NoSpace) when it would not fit into the empty spool.
        """
        while not self.fits(size, owner=owner):
            self._changes.clear()
            log.info("%s waits for %s of the spool", owner, gib(size))
            await self._changes.wait()
        try:
            # A thread whose commit was given up may still make a file there. The next agent removes what is left.
            with tempfile.TemporaryDirectory(
                dir=self.folder, prefix=PREFIX, ignore_cleanup_errors=True
            ) as folder:
                reservation = Reservation(Path(folder), owner, size, self)
                self._reserved.append(reservation)
                try:
                    yield reservation
                finally:
                    self._reserved.remove(reservation)
        finally:
            self.changed()

    def changed(self) -> None:
        """Let those who wait look again."""
        self._changes.set()

    def fits(self, size: int, *, owner: str) -> bool:
        """Whether `reserved` would not have to wait now. Raises CommitFailure(NoSpace) as it does."""
        space = self.space()
        if size > space:
            raise CommitFailure(
                CommitReason.NO_SPACE,
                f"making a layer of the box's changes takes up to {gib(size)} at {self.folder} on the node, which "
                f"has {gib(space)}",
            )
        taken = sum(each.size for each in self._reserved)
        own = sum(each.size for each in self._reserved if each.owner == owner)
        return size <= space - taken and (own == 0 or own + size <= space / 2)

    def space(self) -> int:
        """Bytes that all commits together may use now: what the disk has free, and what they use already."""
        place = os.statvfs(self.folder)
        used = sum(path.stat().st_size for each in self._reserved for path in each.folder.iterdir())
        space = place.f_bavail * place.f_frsize + used
        return min(space, self.most - self.kept) if self.most else space
