"""The API server's audit log, which is more than one file: at 100 MB it is renamed to audit-<time>.log.

A position in the log is a number of bytes from the beginning of the oldest file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def end(log: str) -> int:
    """The position after the last byte. `log` is `Lab.audit_log`."""
    with _files(Path(log)) as files:
        return sum(file.seek(0, os.SEEK_END) for file in files)


def events(log: str, *, begin: int = 0, holding: str = "") -> Iterator[dict[str, Any]]:
    """Events from a position on, the oldest first; only those whose JSON holds that text."""
    with _files(Path(log)) as files:
        for file in files:
            size = file.seek(0, os.SEEK_END)
            file.seek(min(begin, size))
            begin = max(0, begin - size)
            for line in file:
                # The last line may be written just now.
                if line.endswith(b"\n") and holding.encode() in line:
                    yield json.loads(line)


@contextmanager
def _files(log: Path) -> Iterator[list[BinaryIO]]:
    """All files, the oldest first, also if one is renamed while we look."""
    with ExitStack() as stack:
        found: list[BinaryIO] = []
        with suppress(FileNotFoundError):  # renamed, and the next one is not there yet
            found.append(stack.enter_context(log.open("rb")))
        known = {os.fstat(file.fileno()).st_ino for file in found}
        renamed = [
            stack.enter_context(path.open("rb"))
            for path in sorted(log.parent.glob(f"{log.stem}-*{log.suffix}"))
            if path.stat().st_ino not in known
        ]
        yield [*renamed, *found]
