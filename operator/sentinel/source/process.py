"""One git process: its own process group, a deadline, and bounds on memory, on what it says and on what it writes."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentinel.source.failure import Deadline

MAX_OUTPUT = 64 * 1024 * 1024
"""Bytes of standard output, by default; past it the process is ended."""
MAX_ERRORS = 64 * 1024
"""Bytes of standard error that are kept, the last ones."""
_CHUNK = 64 * 1024
_LOOK = 0.5
_BLOCK = 4096


class TooMuch(Exception):
    """git wrote more than it may. The message says how much that is."""


@dataclass(frozen=True, kw_only=True)
class ProcessLimits:
    """Bounds of a process: `output` and the `disk` below its root in bytes; `memory` of each process, 0 for none."""

    output: int = MAX_OUTPUT
    disk: int
    memory: int = 0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended: its exit code (negative: a signal), standard output, the end of standard error."""

    code: int
    out: bytes
    err: str


def run(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    deadline: Deadline,
    root: str,
    limits: ProcessLimits,
    stdin: bytes = b"",
) -> Ended:
    """Run a command to its end; nothing of its group outlives the call. `stdin` must fit into a pipe, 4 KiB.

    TimeoutError or CalledOff at the deadline; TooMuch where its output, or the files below `root`, pass the limits.
    """
    # A process that is limited itself (the resolver's child) hands that down, and saves a program.
    inherited = resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
    bounded = ["prlimit", f"--data={limits.memory}"] if limits.memory and not inherited else []
    process = subprocess.Popen(
        [*bounded, *argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        if process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
        out, err = _read(process, deadline, root, limits)
        while process.returncode is None:
            # One that has closed its output, and lives on.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(deadline.left(_LOOK))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
    return Ended(code=process.returncode, out=out, err=err.decode("utf-8", "replace"))


def _read(
    process: subprocess.Popen[bytes], deadline: Deadline, root: str, limits: ProcessLimits
) -> tuple[bytes, bytes]:
    parts: list[bytes] = []
    size, err = 0, b""
    look = deadline.monotonic() + _LOOK
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            assert stream is not None  # noqa: S101 - for mypy
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            now = deadline.monotonic()
            if now >= look:
                if disk(root, most=limits.disk) > limits.disk:
                    raise TooMuch(_gib(limits.disk))
                # Looking at many files takes time that git needs: a twentieth of it at most.
                look = now + max(_LOOK, 20 * (deadline.monotonic() - now))
            for key, _ in selector.select(deadline.left(_LOOK)):
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    err = (err + chunk)[-MAX_ERRORS:]
                else:
                    parts.append(chunk)
                    size += len(chunk)
                    if size > limits.output:
                        raise TooMuch(f"{limits.output // 1024**2} MiB of names alone")
    return b"".join(parts), err


def _gib(size: int) -> str:
    if size < 1024**3:
        return f"{size / 1024**2:.3g} MiB of disk"
    return f"{size / 1024**3:.3g} GiB of disk"


def disk(root: str, *, most: int) -> int:
    """Bytes that the files below `root` take, an empty one a block; counting ends where they pass `most`."""
    size, directories = 0, [root]
    while directories and size <= most:
        try:
            with os.scandir(directories.pop()) as entries:
                for entry in entries:
                    size += max(entry.stat(follow_symlinks=False).st_blocks * 512, _BLOCK)
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
        except OSError:
            continue  # git moves and removes files meanwhile
    return size
