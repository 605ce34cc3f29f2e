"""The operator's process as this machine sees it: its pid, its cgroup, and what they took.

The lab's node is a container on this machine, so every process of the cluster stands in our own /proc.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.install import NAMESPACE
from tests.kubectl import Kubectl
from tests.lab.state import Lab

CGROUP = Path("/sys/fs/cgroup")
COMMAND = b"sentinel\0operator"
SELECTOR = "app.kubernetes.io/component=operator"


@dataclass(frozen=True)
class OperatorProcess:
    """The first process of the operator's container; `pod` is its pod's uid."""

    pid: int
    pod: str

    def rss_mib(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(each for each in status.splitlines() if each.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def cpu_ms(self) -> float:
        """Processor time that the container's cgroup took so far in milliseconds, ended children included."""
        for line in Path(f"/proc/{self.pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            place = path.lstrip("/")
            if "cpuacct" in controllers.split(","):
                return int((CGROUP / controllers / place / "cpuacct.usage").read_text()) / 1e6
        stat = CGROUP / place / "cpu.stat"
        usage = next(x for x in stat.read_text().splitlines() if x.startswith("usage_usec"))
        return int(usage.split()[1]) / 1e3

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer would do it."""
        os.kill(self.pid, signal.SIGKILL)


def running(lab: Lab) -> OperatorProcess:
    """The operator's process. Raises RuntimeError if there is none."""
    for pod in Kubectl(lab).list("pods", namespace=NAMESPACE, selector=SELECTOR):
        found = of_pod(pod["metadata"]["uid"])
        if found is not None:
            return found
    raise RuntimeError("the operator does not run")


def parts(lab: Lab) -> dict[str, OperatorProcess]:
    """The first process of each container of the operator's pod, by role: operator, and resolver if there is one."""
    for pod in Kubectl(lab).list("pods", namespace=NAMESPACE, selector=SELECTOR):
        found = {
            role: of_pod(pod["metadata"]["uid"], command=b"sentinel\0" + role.encode())
            for role in ("operator", "resolver")
        }
        if found["operator"] is not None:
            return {role: each for role, each in found.items() if each is not None}
    raise RuntimeError("the operator does not run")


def of_pod(uid: str, *, command: bytes = COMMAND) -> OperatorProcess | None:
    """The operator's process in that pod, once it has been executed: runc waits in its place before."""
    for pid in _pids():
        try:
            cgroup = Path(f"/proc/{pid}/cgroup").read_text().replace("_", "-")
            if uid not in cgroup or command not in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        # A child that has not executed anything yet has its parent's command line.
        line = next(each for each in status.splitlines() if each.startswith("NSpid:"))
        if line.split()[-1] == "1":
            return OperatorProcess(pid, uid)
    return None


def marked(marker: str) -> int | None:
    """The process of the cluster in whose command line `marker` stands, and in whose parent's it does not."""
    known = {}
    for pid in _pids():
        try:
            if marker in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"):
                known[pid] = int(_stat(pid)[1])
        except (OSError, IndexError):
            continue
    return next((pid for pid, parent in known.items() if parent not in known), None)


def _pids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name; the name may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
