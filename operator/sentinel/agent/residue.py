"""What mounting left in an upper directory: empty files and directories at the places of mounts.

The runtime made them when it started the box; the box did not, so they do not belong into its image. Not here: the
walk that leaves them out (`upperdir.py`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from sentinel.agent.upperdir import OPEN, is_opaque, open_below

_MAX_LINKS = 40


def mount_residue(upper: Path, *, lowers: Sequence[Path], mounts: frozenset[str]) -> frozenset[str]:
    """What mounting left in the upper directory, as paths relative to it.

    Empty files and directories at the mounts' places, and directories that hold only these, unless the box changed
    them over the base image's.
    """
    layers = (upper, *lowers)
    places = {resolved(layers, mount.strip("/")) for mount in mounts} - {""}
    parents = {
        "/".join(parts[:count])
        for parts in (place.split("/") for place in places)
        for count in range(1, len(parts))
    }
    found: set[str] = set()
    for path in sorted(places | parents, key=lambda path: -path.count("/")):
        with suppress(OSError), _directory(upper, path.split("/")[:-1]) as parent:
            name = path.rpartition("/")[2]
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode):
                if path in places and info.st_size == 0:
                    found.add(path)
            elif stat.S_ISDIR(info.st_mode):
                inner = os.open(name, OPEN | os.O_DIRECTORY, dir_fd=parent)
                try:
                    with os.scandir(inner) as children:
                        rest = {f"{path}/{child.name}" for child in islice(children, 1024)} - found
                    opaque = is_opaque(inner, path)
                finally:
                    os.close(inner)
                below = _look_up(lowers, path)
                if not rest and not opaque and (below is None or _same_directory(below, info)):
                    found.add(path)
    return frozenset(found)


@contextmanager
def _directory(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """A directory below root, reached part by part so that no link on the way is followed. Raises OSError."""
    descriptor = open_below(root, "/".join(parts))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _look_up(layers: Sequence[Path], path: str) -> os.stat_result | None:
    """What a path is in the topmost of these layers that has it; None for nothing, or for "deleted"."""
    *folders, name = path.split("/")
    for layer in layers:
        with suppress(OSError), _directory(layer, folders) as parent:
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            return None if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0 else info
    return None


def _same_directory(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def resolved(layers: Sequence[Path], path: str) -> str:
    """Where a path really is: /var/run/secrets of an image whose /var/run is a link to /run. '' for a loop of links."""
    todo, done = path.split("/")[::-1], list[str]()
    for _ in range(_MAX_LINKS):
        while todo:
            part = todo.pop()
            if part == "..":
                done[-1:] = []
            elif part not in ("", "."):
                done.append(part)
                target = _link(layers, "/".join(done))
                if target is not None:
                    done = [] if target.startswith("/") else done[:-1]
                    todo += target.split("/")[::-1]
                    break
        else:
            return "/".join(done)
    return ""


def _link(layers: Sequence[Path], path: str) -> str | None:
    info = _look_up(layers, path)
    if info is None or not stat.S_ISLNK(info.st_mode):
        return None
    *folders, name = path.split("/")
    for layer in layers:
        with suppress(OSError), _directory(layer, folders) as parent:
            return os.readlink(name, dir_fd=parent)
    return None
