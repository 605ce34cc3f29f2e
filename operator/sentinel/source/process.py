"""One git process of the operator's: its own process group, a wall clock, and bounds on what it may give us.

Killed with its children when the time is over, the caller is cancelled, or it writes too much.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

MAX_OUTPUT = 8 * 1024 * 1024
"""Bytes of standard output that are kept; past it the process is ended."""
MAX_ERRORS = 64 * 1024
MAX_MEMORY = 256 * 1024 * 1024
"""Bytes of memory of each process of ours: it is the operator's memory that a hostile repository would fill."""
_CHUNK = 64 * 1024
_LOOK = 0.5


class TooMuch(Exception):
    """git wrote more than it may. The message says of what."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended: its exit code (negative: a signal), standard output, standard error (its end)."""

    code: int
    out: bytes
    err: str


@contextlib.asynccontextmanager
async def started(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, stdin: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running `git arguments`; whatever happens in the block, nothing of its group outlives it."""
    process = await asyncio.create_subprocess_exec(
        "prlimit",
        f"--data={MAX_MEMORY}",
        "git",
        *arguments,
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if not stdin else asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@contextlib.asynccontextmanager
async def unwrapped() -> AsyncIterator[None]:
    """Raise the first of a task group's errors bare: our callers know errors, not groups."""
    try:
        yield
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def run(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, max_disk: int = 0
) -> Ended:
    """Run git to its end.

    TooMuch where its output passes MAX_OUTPUT, or the files below `cwd` pass `max_disk` bytes (0: no bound).
    """
    async with started(arguments, env=env, cwd=cwd) as process:
        assert process.stdout is not None  # noqa: S101 - for mypy
        assert process.stderr is not None  # noqa: S101
        async with unwrapped(), asyncio.TaskGroup() as group:
            out = group.create_task(_read(process.stdout))
            err = group.create_task(_tail(process.stderr))
            ended = group.create_task(process.wait())
            while max_disk and not ended.done():
                await asyncio.wait([ended], timeout=_LOOK)
                if not ended.done() and _disk(cwd) > max_disk:
                    raise TooMuch(f"more than {max_disk // 1024 // 1024} MiB")
        return Ended(
            code=ended.result(), out=out.result(), err=err.result().decode("utf-8", "replace")
        )


async def _read(stream: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while chunk := await stream.read(_CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_OUTPUT:
            raise TooMuch(f"more than {MAX_OUTPUT // 1024 // 1024} MiB of output")
    return b"".join(parts)


async def _tail(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(_CHUNK):
        kept = (kept + chunk)[-MAX_ERRORS:]
    return kept


def _disk(directory: Path) -> int:
    size = 0
    for path, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += os.lstat(f"{path}/{name}").st_size
    return size
