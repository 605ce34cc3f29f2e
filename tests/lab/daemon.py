"""Server processes that outlive the command that starts them, and finding them again.

A daemon is remembered by its process id and the moment it started, so that a process that
later got the same id is never taken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.shell import LabError
from tests.lab.state import LOGS, STATE

PIDS = STATE / "pids"


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A named server of the lab."""

    name: str

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    @property
    def _file(self) -> Path:
        return PIDS / f"{self.name}.json"

    def pid(self) -> int | None:
        """The process id while the process we started still runs."""
        try:
            written = json.loads(self._file.read_text())
        except FileNotFoundError:
            return None
        alive = started(written["pid"]) == written["started"]
        return int(written["pid"]) if alive else None

    def start(self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
        """Start the server in a session of its own, its words going to `log`."""
        PIDS.mkdir(parents=True, exist_ok=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                cwd="/",
                start_new_session=True,
            )
        self._file.write_text(json.dumps({"pid": process.pid, "started": started(process.pid)}))

    def stop(self, *, seconds: float = 20) -> None:
        """End the server: asked first, killed when it has not gone after `seconds`."""
        pid = self.pid()
        if pid is not None:
            end_process(pid, seconds=seconds)
        self._file.unlink(missing_ok=True)

    def expect(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `ready` answers true. Raises LabError with the log's end if it dies first."""
        end = time.monotonic() + seconds
        while not ready():
            if self.pid() is None or time.monotonic() > end:
                words = self.log.read_text(errors="replace").strip()[-1500:]
                raise LabError(f"{self.name} does not answer; {self.log} ends with: {words}")
            time.sleep(0.05)


def started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; none for no process or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def end_process(pid: int, *, seconds: float) -> None:
    """Send TERM, then KILL after `seconds`; return when the process is gone."""
    birth = started(pid)
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        end = time.monotonic() + patience
        while time.monotonic() < end:
            _reap(pid)
            if started(pid) != birth or birth is None:
                return
            time.sleep(0.05)
    raise LabError(f"process {pid} cannot be stopped")


def _reap(pid: int) -> None:
    """Take the exit status of a child of ours, which otherwise stays as a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
