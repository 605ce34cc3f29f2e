"""A box's changes: measured while it runs, then copied while it is frozen.

Both read the node's disk in a thread, one box at a time. Not here: what comes before and after (`commit.py`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event
from typing import IO

from sentinel.agent.boxindex import IndexWriter
from sentinel.agent.excluded import excluded_places
from sentinel.agent.failures import CommitFailure
from sentinel.agent.layer import PlainLayer, write_layer
from sentinel.agent.residue import mount_residue
from sentinel.agent.runtimes.base import Box, Freeze
from sentinel.agent.scratch import is_below, scratch_root
from sentinel.agent.tally import ChangeLimits, Size
from sentinel.agent.tools import Tools
from sentinel.agent.upperdir import UpperDir
from sentinel.api.imagecommit import ImageCommit, ImageCommitSpec
from sentinel.api.reasons import CommitReason


async def measured(spec: ImageCommitSpec, box: Box, tools: Tools) -> tuple[UpperDir, Size, Event]:
    """The upper directory and its size, within the limits; the event ends reading it."""
    stop = Event()

    def measure() -> tuple[UpperDir, Size]:
        excluded = excluded_places(spec.exclude_paths, layers=(box.upper, *box.lowers))
        residue = mount_residue(box.upper, lowers=box.lowers, mounts=box.mounts)
        root = ""
        if spec.scratch_from:
            root = scratch_root(spec.scratch_from, box, excluded=excluded, residue=residue)
            excluded = {place: rule for place, rule in excluded.items() if is_below(place, root)}
        upper = UpperDir(
            box.upper,
            limits=ChangeLimits(
                apparent_bytes=spec.limits.apparent_bytes, entries=spec.limits.entries
            ),
            excluded=excluded,
            residue=residue,
            root=root,
            stop=stop,
        )
        return upper, upper.measure()

    async with tools.walks:
        upper, size = await tools.threads.run(measure, stop)
    return upper, size, stop


async def copied(
    commit: ImageCommit,
    box: Box,
    upper: UpperDir,
    path: Path,
    *,
    most: int,
    stop: Event,
    tools: Tools,
    since: IO[bytes] | None = None,
    index: IndexWriter | None = None,
) -> tuple[PlainLayer, Freeze]:
    """The changes in a file of `most` bytes, copied while the box is frozen, for `freeze_seconds` at most.

    `since` and `index` as in `write_layer`.
    """
    limit = tools.settings.freeze_seconds
    async with tools.walks, tools.runtime.frozen(box, commit=commit.uid) as freeze:
        try:
            async with asyncio.timeout(limit) as clock:
                plain = await tools.threads.run(
                    lambda: write_layer(
                        upper, path, most=most, stop=stop, since=since, index=index
                    ),
                    stop,
                )
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise CommitFailure(
                CommitReason.TOO_BIG,
                f"copying the box's changes took longer than the {limit:g} s for which a box may be frozen",
            ) from error
    return plain, freeze
