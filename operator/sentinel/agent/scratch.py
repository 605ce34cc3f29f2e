"""Which directory of a box becomes the root of an image from scratch.

Only what the steps wrote is at hand, the overlay's upper directory: a directory that is elsewhere too, in a volume or
in the box's image, is refused, because a part of it would be missing. Not here: reading it (`upperdir.py`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sentinel.agent.failures import CommitFailure
from sentinel.agent.residue import resolved
from sentinel.agent.runtimes.base import Box
from sentinel.agent.upperdir import is_opaque, open_below
from sentinel.api.reasons import CommitReason


def scratch_root(
    directories: Sequence[str],
    box: Box,
    *,
    excluded: Mapping[str, str],
    residue: Collection[str],
) -> str:
    """The first of these absolute directories with something in it, relative to the upper directory.

    `excluded` and `residue` are as in `UpperDir`. Raises CommitFailure: Unsupported, RuntimeError.
    """
    for directory in directories:
        path = directory.removeprefix("/")
        if not path or any(part in ("", ".", "..") for part in path.split("/")):
            raise _refused(f"{directory!r} is not the path of a directory below /")
        mounts = {each.strip("/"): each for each in box.mounts}
        volume = next((each for at, each in mounts.items() if at and is_below(path, at)), None)
        if volume is not None:
            raise _refused(
                f"{directory} lies in the volume mounted at {volume}, and volumes are not part of the box: it must run "
                "as root, on an image without a VOLUME there"
            )
        rule = next((rule for place, rule in excluded.items() if is_below(path, place)), None)
        if rule is not None:
            raise _refused(f"{directory} is left out of images by {rule} of image.excludePaths")
        try:
            if resolved((box.upper, *box.lowers), path) != path:
                raise _refused(f"{directory} is a link, or reached through one")
            if _is_in_image(box, path):
                raise _refused(
                    f"files of {directory} are in the box's own image, and only what steps wrote is read: remove the "
                    "directory in an earlier step, and make it again with what the image needs"
                )
            if _is_filled(box.upper, path, residue):
                return path
        except NotADirectoryError as error:
            raise _refused(f"{directory} is not a directory") from error
        except OSError as error:
            raise CommitFailure(
                CommitReason.RUNTIME_ERROR, f"{directory} cannot be read: {error.strerror}"
            ) from error
    raise _refused(f"nothing is in {' or '.join(directories)}")


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it; both relative to one place. Everything lies in ""."""
    return not folder or path == folder or path.startswith(f"{folder}/")


def _is_filled(upper: Path, path: str, residue: Collection[str]) -> bool:
    with suppress(FileNotFoundError), _directory(upper, path) as directory:
        return any(f"{path}/{name}" not in residue for name in _names(directory))
    return False


def _is_in_image(box: Box, path: str) -> bool:
    """Whether the box sees files of its image in a directory."""
    if _hides(box.upper, path):
        return False
    for layer in box.lowers:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            _directory(layer, path) as directory,
        ):
            if any(True for _ in _names(directory)):
                return True
        if _hides(layer, path):
            return False
    return False


def _hides(layer: Path, path: str) -> bool:
    """Whether a layer hides what those below it have in a directory: the directory or one above it is opaque, or
    something else is in its place."""
    for end in range(1, path.count("/") + 2):
        part = "/".join(path.split("/")[:end])
        try:
            with _directory(layer, part) as directory:
                if is_opaque(directory, part):
                    return True
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            return True
    return False


@contextmanager
def _directory(top: Path, path: str) -> Iterator[int]:
    descriptor = open_below(top, path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _names(directory: int) -> Iterator[str]:
    """The names in a directory of an overlay, those of deleted files left out."""
    with os.scandir(directory) as found:
        for each in found:
            with suppress(FileNotFoundError):
                info = each.stat(follow_symlinks=False)
                if not (stat.S_ISCHR(info.st_mode) and info.st_rdev == 0):
                    yield each.name


def _refused(why: str) -> CommitFailure:
    return CommitFailure(CommitReason.UNSUPPORTED, f"no image from scratch: {why}")
