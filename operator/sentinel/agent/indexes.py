"""The indexes of boxes that are committed again: which box each is of, and which image it describes.

They are kept between commits, in the spool, within bounds; the oldest goes first. One that is missing costs only space:
the next layer of that box holds everything. After a restart there are none. Not here: their content (`boxindex.py`).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sentinel.agent.spool import Spool

log = logging.getLogger(__name__)

PREFIX = "index-"
"""Of the indexes' files in the spool."""

LARGEST = 64 * 1024 * 1024
"""Bytes of one index: half a million entries."""

TOGETHER = 256 * 1024 * 1024
"""Bytes of all indexes, and at most a sixteenth of the spool."""

BOXES = 64


@dataclass(frozen=True)
class _Kept:
    digest: str
    path: Path
    size: int


class Indexes:
    """At most one index a box; `box` is the runtime's id of its container."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._count = 0

    def open(self, box: str, digest: str) -> IO[bytes] | None:
        """The index of what `box` was when the image `digest` was made of it, None where that is not known."""
        kept = self._kept.get(box)
        if kept is None or not digest or kept.digest != digest:
            return None
        with suppress(OSError):
            return kept.path.open("rb")
        return None

    def keep(self, box: str, digest: str, path: Path) -> None:
        """Keep the index at `path`, which is moved, in place of an earlier one of the box."""
        self.forget(box)
        self._count += 1
        place = self._spool.folder / f"{PREFIX}{self._count}"
        try:
            size = path.stat().st_size
            path.replace(place)
        except OSError as error:
            log.warning("the index of box %s is lost: %s", box, error)
            return
        self._kept[box] = _Kept(digest, place, size)
        self._spool.kept += size
        most = min(TOGETHER, self._spool.most // 16) if self._spool.most else TOGETHER
        while self._spool.kept > most or len(self._kept) > BOXES:
            self.forget(next(iter(self._kept)))

    def make_room(self, size: int) -> None:
        """Delete the oldest as long as they keep a commit that takes `size` bytes from fitting into the spool."""
        while self._kept and size > self._spool.space():
            self.forget(next(iter(self._kept)))

    def forget(self, box: str) -> None:
        """Delete the index of a box, if there is one."""
        kept = self._kept.pop(box, None)
        if kept is not None:
            self._spool.kept -= kept.size
            kept.path.unlink(missing_ok=True)
            self._spool.changed()
