"""The fetcher: a build pod's init container puts the source, and the steps' files, onto the read-only volume.

Run as `python3 -I -m sentinel.source.fetch`. Its task is the JSON in $SENTINEL_FETCH; it also lets boxkit install
itself, at the same time. It stands on every build's critical path, so it imports the standard library and this
package only (a test asserts it).

Ends with 0; with 1 where the user can mend it, 2 where the network or server failed after three tries, 3 where we are
wrong ourselves. Then the termination log holds {"reason", "message"} and stderr has one line with the same message.
Credentials come from mounted files, and leave no trace in the checkout: people run git in it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from sentinel.api.reasons import Reason
from sentinel.errors import SentinelError
from sentinel.source.checkout import check_out
from sentinel.source.complaint import quote
from sentinel.source.failure import Deadline, failed
from sentinel.source.ignore import leave_out
from sentinel.source.restore import restoring
from sentinel.source.task import TIMEOUT, VARIABLE, Task
from sentinel.text import count_of

MAX_MEMORY = 2 * 1024**3
"""Memory of each process in bytes: what a tree with very many files would take without a bound."""

_EXIT = {Reason.SOURCE_UNAVAILABLE: 2, Reason.INTERNAL: 3}
_MAX_MESSAGE = 2000


def _make_empty(directory: Path) -> None:
    """An init container that is restarted finds its own half-done work."""
    directory.mkdir(parents=True, exist_ok=True)
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _install(kit: str) -> subprocess.Popen[bytes] | None:
    if not kit:
        return None
    try:
        return subprocess.Popen(
            ["boxkit", "install", kit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise failed(Reason.INTERNAL, f"cannot start boxkit: {error}") from error


def _installed(process: subprocess.Popen[bytes]) -> None:
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:
        said = quote(err.decode("utf-8", "replace"))
        raise failed(Reason.INTERNAL, f"boxkit install failed: {said}")


def fetch(task: Task) -> None:
    """Source and boxkit onto their volumes; SentinelError if not."""
    # Whatever user the box runs as must be able to read it.
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(hard, MAX_MEMORY)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    installing = _install(task.kit)
    dest = Path(task.dest)
    deadline = Deadline(TIMEOUT)
    try:
        (dest.parent / "cache").mkdir(parents=True, exist_ok=True)
        _make_empty(dest)
        _place_source(task, deadline)
        if task.steps:
            from sentinel.source.delivery import place_steps  # noqa: PLC0415

            for step, _ in task.steps:
                _make_empty(dest.parent / step)
            place_steps(
                task.steps,
                archives=task.steps_dir,
                dest=str(dest.parent),
                deadline=deadline,
                ca=task.store_ca,
            )
        if task.standard_steps:
            from sentinel.source.shipped import place  # noqa: PLC0415

            for step, name in task.standard_steps:
                _make_empty(dest.parent / step)
                place(name, str(dest.parent / step))
        if left_out := leave_out(task.dest, task.ignore_file):
            print(f"{task.ignore_file}: {count_of(left_out, 'file')} left out", flush=True)
        if installing:
            _installed(installing)
    except BaseException:
        if installing and installing.poll() is None:
            installing.kill()
            installing.wait()
        raise


def _place_source(task: Task, deadline: Deadline) -> None:
    """The project into `task.dest`. What most builds do not need is slow to import."""
    if task.outputs:
        from sentinel.source.delivery import place_outputs  # noqa: PLC0415

        place_outputs(task, deadline)
    elif task.upload:
        from sentinel.source.upload import unpack_upload  # noqa: PLC0415

        unpack_upload(task, deadline)
    elif task.sha256:
        from sentinel.source.delivery import unpack_source  # noqa: PLC0415

        unpack_source(task, deadline)
    else:
        check_out(task, deadline)


def main() -> int:
    """Entry point; the exit code."""
    started = time.monotonic()
    log = "/dev/termination-log"
    try:
        task = Task.parse(os.environ.get(VARIABLE, ""))
        log = task.termination_log
        with restoring(task.cache and {**task.cache, "ca": task.store_ca}):
            fetch(task)
    except SentinelError as error:
        return _fail(log, error.reason or Reason.INTERNAL, error.message)
    except TimeoutError as error:
        return _fail(log, Reason.SOURCE_UNAVAILABLE, f"the source was {error}")
    except Exception as error:
        return _fail(log, Reason.INTERNAL, f"{type(error).__name__}: {error}")
    print(f"fetched {task.commit or task.sha256} in {time.monotonic() - started:.2f} s", flush=True)
    return 0


def _fail(log: str, reason: Reason, message: str) -> int:
    message = message[:_MAX_MESSAGE]
    print(f"sentinel fetch: {reason}: {message}", file=sys.stderr, flush=True)
    try:
        Path(log).write_text(json.dumps({"reason": reason, "message": message}), "utf-8")
    except OSError as error:
        print(f"sentinel fetch: cannot write {log}: {error}", file=sys.stderr, flush=True)
    return _EXIT.get(reason, 1)


if __name__ == "__main__":
    sys.exit(main())
