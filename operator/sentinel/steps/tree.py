"""From a step's archive to its tree. Blocking."""

from __future__ import annotations

from pathlib import Path

from sentinel.source.failure import Deadline
from sentinel.source.unpack import ArchiveLimits, Refused, unpack
from sentinel.steps.folder import is_step
from sentinel.steps.pack import StepLimits
from sentinel.steps.wanted import invalid


def unpacked(
    archive: Path, workdir: Path, *, limits: StepLimits, what: str, deadline: Deadline
) -> Path:
    """Unpack into a directory below `workdir`; the step's root in there. UserError(StepInvalid) where it may not be.

    Hosts of git pack a commit below a leading directory, people sometimes theirs too, wercker did not: where all there
    is is one directory that looks like a step, and the root does not, that directory is the root.
    """
    tree = workdir / "tree"
    try:
        unpack(
            str(archive),
            str(tree),
            limits=ArchiveLimits(bytes=limits.unpacked, entries=limits.entries),
            strip="none",
            stopped=lambda: deadline.over,
        )
    except Refused as error:
        deadline.left()
        raise invalid(f"{what} is not unpacked: {error.message}") from error
    below = list(tree.iterdir())
    if len(below) != 1 or below[0].is_symlink() or not is_step(below[0]) or is_step(tree):
        return tree
    return below[0]
