"""From a step's archive to its tree, whoever packed it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from sentinel.source.steps.folder import is_step
from sentinel.source.steps.pack import Limits
from sentinel.source.steps.wanted import invalid
from sentinel.source.unpack import Limits as ArchiveLimits
from sentinel.source.unpack import Refused, unpack

P = ParamSpec("P")
T = TypeVar("T")


async def to_the_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread, and stay until it is over even where we are cancelled: its directory is in use."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


async def unpacked(archive: Path, workdir: Path, *, limits: Limits, what: str) -> Path:
    """Unpack into a directory below `workdir`; the step's root in there. UserError(StepInvalid) where it may not be.

    Hosts of git pack a commit below a leading directory, people sometimes theirs too, wercker did not: where all there
    is is one directory that looks like a step, and the root does not, that directory is the root (§2.2).
    """
    tree = workdir / "tree"
    try:
        await to_the_end(
            unpack,
            str(archive),
            str(tree),
            limits=ArchiveLimits(bytes=limits.unpacked, entries=limits.entries),
            strip="none",
        )
    except Refused as error:
        raise invalid(f"{what} is not unpacked: {error.message}") from error
    return await asyncio.to_thread(_root, tree)


def _root(tree: Path) -> Path:
    below = list(tree.iterdir())
    if len(below) != 1 or below[0].is_symlink() or not is_step(below[0]) or is_step(tree):
        return tree
    return below[0]
