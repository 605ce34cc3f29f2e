"""One git process of the fetcher's: its own process group, a wall clock, bounds on what it says and what it writes.

The fetcher's counterpart of `process.py`, without asyncio, which costs more to start than a small checkout.
"""

# pathlib costs 5 ms of the start:

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_OUTPUT = 64 * 1024 * 1024
"""Bytes of standard output; past it the process is ended."""
MAX_ERRORS = 64 * 1024
"""Bytes of standard error that are kept, the last ones."""
_CHUNK = 64 * 1024
_LOOK = 0.5
_BLOCK = 4096


class TooMuch(Exception):
    """git wrote more than it may. The message says how much that is."""


def run(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    deadline: float,
    root: str,
    max_bytes: int,
) -> tuple[int, bytes, bytes]:
    """(exit code, standard output, the end of standard error) of a command; nothing of its group outlives the call.

    TimeoutError at `deadline`, on the monotonic clock; TooMuch where the files below `root` pass `max_bytes`.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = _read(process, deadline, root, max_bytes)
        process.wait(timeout=max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
    return process.returncode, out, err


def _read(
    process: subprocess.Popen[bytes], deadline: float, root: str, max_bytes: int
) -> tuple[bytes, bytes]:
    parts: list[bytes] = []
    size, err = 0, b""
    look = time.monotonic() + _LOOK
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            assert stream is not None  # noqa: S101 - for mypy
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                raise TimeoutError
            if now >= look:
                if disk(root, most=max_bytes) > max_bytes:
                    raise TooMuch(
                        f"{max_bytes / 1024**3:.3g} GiB of disk, the operator's source.maxGiB"
                    )
                # Looking at many files takes time that git needs: a twentieth of it at most.
                look = now + max(_LOOK, 20 * (time.monotonic() - now))
            for key, _ in selector.select(min(deadline, look) - now):
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    err = (err + chunk)[-MAX_ERRORS:]
                else:
                    parts.append(chunk)
                    size += len(chunk)
                    if size > MAX_OUTPUT:
                        raise TooMuch(f"{MAX_OUTPUT // 1024**2} MiB for its files' names alone")
    return b"".join(parts), err


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
