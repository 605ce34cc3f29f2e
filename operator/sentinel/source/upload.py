"""A directory that is sent to the pod: waiting for it, and receiving it.

`receive` runs beside the fetcher in the same container, by exec, and so does whatever else a user of the namespace runs
there: the fetcher believes nothing but the digest. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sentinel.api.reasons import Reason
from sentinel.source.failure import Deadline, failed
from sentinel.source.task import Task
from sentinel.source.unpack import ArchiveLimits, Refused, unpack

QUIET_SECONDS = 120.0
"""For each CHUNK to arrive, until the fetcher gives up."""
LOOK_EVERY = 0.1
"""Seconds between two looks for the archive."""
STARTS_WITHIN = 10.0
"""Seconds from the start of the receiver until the fetcher waits."""
CHUNK = 256 * 1024
"""Bytes that the receiver writes at once."""
ENTRIES = 300_000
"""Files, links and directories: `.git` is among them."""

_REMEDY = (
    "run `sentinel run --cluster` again, and leave it running until it prints the log of the first step; it needs "
    "`create` on pods/exec"
)


class NotReceived(Exception):
    """The archive was not taken. Its text is for the client."""


def unpack_upload(task: Task, deadline: Deadline, *, quiet: float = QUIET_SECONDS) -> None:
    """Have in the empty directory `task.dest` what arrives, with exactly the task's size and sha256. SentinelError."""
    archive, waiting = _archive(task), _waiting(task)
    try:
        waiting.touch()
        _wait(task, deadline, quiet)
        waiting.unlink(missing_ok=True)
        limits = ArchiveLimits(bytes=task.max_bytes, entries=ENTRIES)
        with _verified(archive, task) as checked:
            unpack(checked, task.dest, limits=limits, strip="none", readable=True)
    except Refused as error:
        raise failed(Reason.SOURCE_INVALID, f"the directory: {error.message}") from None
    finally:
        for path in (waiting, archive, *_parts(task)):
            path.unlink(missing_ok=True)


def receive(task: Task, stream: BinaryIO) -> None:
    """Put exactly `task.upload` bytes of `stream` where the fetcher waits for them. Raises NotReceived, OSError.

    No bytes are read unless it waits, which it does for one archive.
    """
    archive, waiting = _archive(task), _waiting(task)
    begun = Deadline(STARTS_WITHIN)
    while not waiting.exists():
        if begun.over:
            raise NotReceived("the fetcher does not wait for a directory, or has one already")
        time.sleep(LOOK_EVERY)
    # After a cut a second receiver may start before the first one knows of it.
    part = archive.with_name(f"{archive.name}.{os.getpid()}-{os.urandom(4).hex()}")
    seen, left = hashlib.sha256(), task.upload
    try:
        with part.open("xb") as file:
            while left:
                data = stream.read(min(CHUNK, left))
                if not data:
                    raise NotReceived(f"the connection ended {left} bytes before the end")
                file.write(data)
                file.flush()
                seen.update(data)
                left -= len(data)
        if seen.hexdigest() != task.sha256:
            raise NotReceived(f"what was sent has sha256 {seen.hexdigest()}, not {task.sha256}")
        if waiting.exists():
            part.rename(archive)
    except FileNotFoundError:
        raise NotReceived("the fetcher has stopped waiting") from None
    finally:
        part.unlink(missing_ok=True)


def _wait(task: Task, deadline: Deadline, quiet: float) -> None:
    """Return when the archive is there. Raises UserError SourceNotFound where nothing comes, or too slowly."""
    archive, before = _archive(task), -1
    patience = Deadline(quiet)
    print(f"waiting for the directory: {task.upload} bytes", flush=True)
    while not archive.exists():
        arrived = sum(_size(each) for each in _parts(task))
        if arrived != before:
            before, patience = arrived, Deadline(quiet)
        if deadline.over:
            raise failed(
                Reason.SOURCE_NOT_FOUND,
                f"the directory did not arrive within {deadline.seconds:.0f} s: {arrived} of {task.upload} bytes. "
                "Leave files out with .werckerignore, or send it over a faster connection",
            )
        if patience.over:
            raise failed(
                Reason.SOURCE_NOT_FOUND,
                f"the directory did not arrive: no byte of {task.upload} in {quiet:.0f} s: {_REMEDY}"
                if not arrived
                else f"the directory did not arrive: {arrived} of {task.upload} bytes, and no more in {quiet:.0f} s: "
                f"{_REMEDY}",
            )
        time.sleep(LOOK_EVERY)


def _waiting(task: Task) -> Path:
    """A file that is there while the fetcher waits."""
    dest = Path(task.dest)
    return dest.with_name(f"{dest.name}.waiting")


def _archive(task: Task) -> Path:
    dest = Path(task.dest)
    return dest.with_name(f"{dest.name}.upload")


def _parts(task: Task) -> list[Path]:
    archive = _archive(task)
    return list(archive.parent.glob(f"{archive.name}.*"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _verified(archive: Path, task: Task) -> Iterator[str]:
    """A path of the file that was announced, whatever another process puts in place of `archive` from now on.

    Raises UserError SourceInvalid for anything else. No link is followed, and a FIFO is not waited for.
    """
    what = f"what arrived is not a file of {task.upload} bytes, as spec.source.upload has it"
    try:
        opened = os.open(archive, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise failed(Reason.SOURCE_INVALID, what) from None
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_size != task.upload:
            raise failed(Reason.SOURCE_INVALID, what)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != task.sha256:
            raise failed(
                Reason.SOURCE_INVALID,
                f"what arrived has sha256 {sha256}; spec.source.upload has {task.sha256}",
            )
        yield f"/proc/self/fd/{opened}"
