"""The fetcher: a build pod's init container puts the source, and the steps' files, onto the read-only volume.

Run as `python3 -I -m sentinel.source.fetch`. Its task is the JSON in $SENTINEL_FETCH; it also lets boxkit install
itself, at the same time. It stands on every build's critical path, so it imports the standard library only, and of
that only what starts fast (a test asserts it).

Ends with 0; with 1 where the user can mend it, 2 where the network or server failed after three tries, 3 where we are
wrong ourselves. Then the termination log holds {"reason", "message"} and stderr has one line with the same message.
Credentials come from mounted files, and leave no trace in the checkout: people run git in it.
"""

# pathlib costs 5 ms of the start:
# ruff: noqa: PTH103, PTH108, PTH112, PTH114, PTH120, PTH123, PTH208

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time

from sentinel.source.checkout import Git, check_out
from sentinel.source.complaint import (
    INTERNAL,
    SOURCE_AUTH_FAILED,
    SOURCE_UNAVAILABLE,
    FetchError,
    quote,
)
from sentinel.source.gitcommand import write_ca_file
from sentinel.source.ignore import leave_out
from sentinel.source.task import TIMEOUT, VARIABLE, Task, read_secret

MAX_MEMORY = 2 * 1024**3
"""Memory of each process in bytes: what a tree with very many files would take without a bound."""

_EXIT = {SOURCE_UNAVAILABLE: 2, INTERNAL: 3}
_MAX_MESSAGE = 2000


def _make_empty(directory: str) -> None:
    """An init container that is restarted finds its own half-done work."""
    os.makedirs(directory, exist_ok=True)
    for entry in os.listdir(directory):
        path = f"{directory}/{entry}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


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
        raise FetchError(INTERNAL, f"cannot start boxkit: {error}") from error


def _installed(process: subprocess.Popen[bytes]) -> None:
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:
        raise FetchError(
            INTERNAL, f"boxkit install failed: {quote(err.decode('utf-8', 'replace'))}"
        )


def _unpack(task: Task) -> None:
    # Slow to import, and most projects are repositories.
    from sentinel.source.delivery import unpack_source  # noqa: PLC0415
    from sentinel.source.download import Login  # noqa: PLC0415

    beside = os.path.dirname(task.dest)
    try:
        ca_file = write_ca_file(beside, task.ca, read_secret(task.secret_dir, "ca.crt"))
    except ValueError as error:
        raise FetchError(SOURCE_AUTH_FAILED, f"`ca.crt` of the Secret holds {error}") from error
    login = Login(
        username=read_secret(task.secret_dir, "username"),
        password=read_secret(task.secret_dir, "password"),
        token=read_secret(task.secret_dir, "token"),
        ca_file=ca_file,
    )
    try:
        unpack_source(
            task.url,
            task.dest,
            sha256=task.sha256,
            login=login,
            timeout=TIMEOUT,
            allow_file=task.allow_file,
        )
    finally:
        if ca_file:
            os.unlink(ca_file)


def _place_steps(task: Task) -> None:
    from sentinel.source.delivery import place_steps  # noqa: PLC0415

    beside = os.path.dirname(task.dest)
    for step, _ in task.steps:
        _make_empty(f"{beside}/{step}")
    place_steps(task.steps, archives=task.steps_dir, dest=beside, timeout=TIMEOUT)


def _place_standard_steps(task: Task) -> None:
    from sentinel.source.shipped import place  # noqa: PLC0415

    beside = os.path.dirname(task.dest)
    for step, name in task.standard_steps:
        _make_empty(f"{beside}/{step}")
        place(name, f"{beside}/{step}")


def fetch(task: Task) -> None:
    """Source and boxkit onto their volumes; FetchError if not."""
    # Whatever user the box runs as must be able to read it.
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(hard, MAX_MEMORY)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    installing = _install(task.kit)
    try:
        cache = f"{os.path.dirname(task.dest)}/cache"
        os.makedirs(cache, exist_ok=True)
        _make_empty(task.dest)
        if task.sha256:
            _unpack(task)
        else:
            git = Git(task)
            try:
                check_out(task, git)
            finally:
                git.close()
        if task.steps:
            _place_steps(task)
        if task.standard_steps:
            _place_standard_steps(task)
        if left_out := leave_out(task.dest, task.ignore_file):
            print(f"{task.ignore_file}: {left_out} files left out", flush=True)
        if installing:
            _installed(installing)
    except BaseException:
        if installing and installing.poll() is None:
            installing.kill()
            installing.wait()
        raise


def main() -> int:
    """Entry point; the exit code."""
    started = time.monotonic()
    log = "/dev/termination-log"
    try:
        task = Task(os.environ.get(VARIABLE, ""))
        log = task.termination_log
        fetch(task)
    except FetchError as error:
        return _fail(log, error.reason, error.message)
    except (
        Exception
    ) as error:  # the operator must learn of it in words, not as a traceback's last lines
        return _fail(log, INTERNAL, f"{type(error).__name__}: {error}")
    print(f"fetched {task.commit or task.sha256} in {time.monotonic() - started:.2f} s", flush=True)
    return 0


def _fail(log: str, reason: str, message: str) -> int:
    message = message[:_MAX_MESSAGE]
    print(f"sentinel fetch: {reason}: {message}", file=sys.stderr, flush=True)
    try:
        with open(log, "w", encoding="utf-8") as file:
            json.dump({"reason": reason, "message": message}, file)
    except OSError as error:
        print(f"sentinel fetch: cannot write {log}: {error}", file=sys.stderr, flush=True)
    return _EXIT.get(reason, 1)


if __name__ == "__main__":
    sys.exit(main())
