"""Control groups of the lab's own engine, below the group that we ourselves run in.

Only for cgroup version 1: with version 2 Docker's defaults do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from tests.lab.state import ledger, note

ROOT = Path("/sys/fs/cgroup")
NAME = "sentinel-lab"


def hierarchies() -> list[Path]:
    """The mounted hierarchies of version 1, and the version 2 tree that may lie beside them.

    None on a machine with version 2 alone.
    """
    if (ROOT / "cgroup.controllers").exists() or not ROOT.exists():
        return []
    return sorted(entry for entry in ROOT.iterdir() if (entry / "cgroup.procs").exists())


def make_parent() -> str | None:
    """Make the parent group in every hierarchy and return its path, the same in all.

    Docker takes one path for all hierarchies, and we may run in a different group in each.
    The longest of our own paths is below our group in the hierarchy that matters.
    """
    trees = hierarchies()
    if not trees:
        return None
    ours = [line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    # A lab started from inside a lab's container would nest for ever; cut at our own name.
    longest = max(ours, key=len).split(f"/{NAME}")[0].rstrip("/")
    parent = f"{longest}/{NAME}"
    made: list[str] = []
    for tree in trees:
        group = tree
        for part in parent.strip("/").split("/"):
            group = group / part
            if not group.exists():
                made.append(str(group))
                note(cgroups=made)
                group.mkdir()
                _fill_cpuset(group)
    return parent


def _fill_cpuset(group: Path) -> None:
    """A version 1 cpuset starts empty and takes no process until it has both values."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (group / name).exists():
            (group / name).write_text((group.parent / name).read_text())


def remove() -> None:
    """Kill what still runs in the groups that we made, and remove them."""
    made = ledger().get("cgroups", [])
    assert isinstance(made, list)
    tops = [Path(path) for path in made]
    for top in tops:
        if top.name == NAME:
            _kill_all(top)
    for top in sorted(tops, key=lambda path: len(path.parts), reverse=True):
        groups = [Path(path) for path, _, _ in os.walk(top, topdown=False)]
        # A group made on the way down to ours may hold others' groups: those stay.
        for group in groups if top.name == NAME else [top]:
            with contextlib.suppress(OSError):
                group.rmdir()
    note(cgroups=[str(top) for top in tops if top.exists()])


def _kill_all(top: Path) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pids = [pid for path, _, _ in os.walk(top) for pid in _members(Path(path))]
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []
