"""Taking a lab away, living or dead, until nothing of it is left but the cache.

Every step looks for what there is: `up` calls this after a lab whose processes died with the
session that started them, `down` after one that works.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from tests.lab import cgroups, cluster, engine, machine, services
from tests.lab.daemon import end_process
from tests.lab.shell import LabError, run, say, stage, succeeds
from tests.lab.state import CACHE, LOGS, PREVIOUS, RUN, STATE, ledger

POD_LOGS = "volumes/*/_data/log/pods"
"""Below an engine's data: the logs of a node's pods. kind gives each node a volume for /var."""
KEPT_PODS = ("sentinel-system_*", "kube-system_*")
KEPT_FILE = 32 * 1024 * 1024
"""Bytes that a pod's log may have to be kept."""


def traces() -> bool:
    """Whether anything of a lab is left on this machine."""
    return STATE.exists() or RUN.exists()


def clear() -> None:
    """Remove everything that a lab made. Returns when it is gone."""
    if not traces():
        return
    with stage("clear the lab away"):
        with suppress(OSError):
            keep_logs()
        found = engine.find()
        if found is not None:
            cluster.delete(found)
        services.stop()
        if found is not None and not found.own:
            _leave_theirs(found)
        engine.stop()
        _end_strays()
        cgroups.remove()
        for place in (STATE, RUN, CACHE / "docker", CACHE / "tmp"):
            _unmount(place)
        if ledger().get("own_engine") and succeeds("ip", "link", "show", engine.BRIDGE):
            run("ip", "link", "delete", engine.BRIDGE)
        machine.restore()
        cgroups.remove()
        for place in (STATE, RUN, CACHE / "tmp"):
            shutil.rmtree(place, ignore_errors=True)
            if place.exists():
                say(f"{place} could not be removed whole")


def keep_logs(*, state: Path = STATE, data: Path = engine.DATA, into: Path = PREVIOUS) -> None:
    """Move what a lab logged to `into`, in place of what the lab before it did: a failed run can be looked at later.

    Those are the servers' logs, the audit log, and those of Sentinel's pods and the cluster's own. Raises OSError.
    """
    folders = [state / LOGS.name, state / cluster.AUDIT.name]
    if not any(folder.exists() for folder in folders):
        return
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for pods in data.glob(POD_LOGS):
        for pattern in KEPT_PODS:
            for folder in pods.glob(pattern):
                kept = into / "pods" / folder.name
                shutil.copytree(folder, kept, ignore=_too_large, ignore_dangling_symlinks=True)
    for folder in folders:
        if folder.exists():
            shutil.move(folder, into / folder.name)
    say(f"the logs of the earlier lab are in {into}")


def _too_large(folder: str, names: list[str]) -> list[str]:
    paths = {name: Path(folder) / name for name in names}
    return [n for n, path in paths.items() if path.is_file() and path.stat().st_size > KEPT_FILE]


def _leave_theirs(found: engine.Engine) -> None:
    """Take our network out of an engine that is not ours, unless others use it."""
    found.docker("network", "rm", engine.NETWORK, check=False)


def _end_strays() -> None:
    """End what an engine of ours left running when it died: its containerd and their shims."""
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            argv = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        server = Path(argv[0]).name.startswith(("dockerd", "containerd", "docker-proxy"))
        ours = any(word.startswith(f"{RUN}/") for word in argv[1:])
        if server and ours:
            with suppress(LabError):
                end_process(int(directory.name), seconds=1)


def _unmount(place: Path) -> None:
    """Unmount whatever is mounted below a directory, last mounted first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == str(place) or point.startswith(f"{place}/"):
            points.append(point)
    for point in reversed(points):
        run("umount", "--lazy", point, check=False)
