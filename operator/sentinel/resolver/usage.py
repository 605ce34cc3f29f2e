"""What process trees take: read from /proc, for limits that no single process has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "file"),
    (
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_cache",
    ),
)
"""Where the two versions of cgroups have a container's memory: limit, usage, and the page cache in it."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process: CPU seconds of its own and of the children that it waited for; anonymous memory in bytes."""

    pid: int
    parent: int
    cpu: float
    memory: int


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A process and all that come from it."""

    pids: tuple[int, ...]
    cpu: float
    memory: int


def processes() -> dict[int, Process]:
    """All processes that can be seen, by pid."""
    found: dict[int, Process] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - twice a second
        if name.isdigit() and (process := _read(int(name))) is not None:
            found[process.pid] = process
    return found


def tree(known: dict[int, Process], root: int) -> Tree:
    """The tree below `root`, `root` included."""
    below: dict[int, list[int]] = {}
    for process in known.values():
        below.setdefault(process.parent, []).append(process.pid)
    pids, todo = [], [root]
    while todo:
        pid = todo.pop()
        if pid in known:
            pids.append(pid)
            todo += below.get(pid, [])
    members = [known[pid] for pid in pids]
    return Tree(
        pids=tuple(pids),
        cpu=sum(each.cpu for each in members),
        memory=sum(each.memory for each in members),
    )


def disk(root: str, *, most: int) -> int:
    """Bytes that the files below `root` take; counting ends where they pass `most`."""
    size, directories = 0, [root]
    while directories and size <= most:
        try:
            with os.scandir(directories.pop()) as entries:
                for entry in entries:
                    size += max(entry.stat(follow_symlinks=False).st_blocks * 512, 4096)
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
        except OSError:
            continue
    return size


def container_memory() -> tuple[int, int] | None:
    """Bytes that this container uses, its page cache not counted, and may use. None where nothing limits it."""
    for directory, limit, used, cache in _CGROUPS:
        try:
            most = (directory / limit).read_text(encoding="ascii").strip()
            if most == "max" or int(most) > 1 << 60:
                return None
            lines = (directory / "memory.stat").read_text(encoding="ascii").splitlines()
            stat = dict(line.split() for line in lines)
            taken = int((directory / used).read_text(encoding="ascii"))
            return taken - int(stat.get(cache, 0)), int(most)
        except (OSError, ValueError):
            continue
    return None


def _read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            # The name in parentheses may hold anything.
            fields = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return None
    if fields[0] == b"Z":
        return None
    return Process(
        pid=pid,
        parent=int(fields[1]),
        cpu=sum(map(int, fields[11:15])) / _TICKS,
        memory=(resident - shared) * _PAGE,
    )
