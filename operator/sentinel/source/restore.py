"""The cache of a build, restored by boxkit beside the fetching of the source.

What becomes of it never fails a build: boxkit writes a report beside itself, and the box reads that. Standard library
only, as `fetch`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

_SPARE = 30.0
"""Seconds after boxkit's own limit."""


@contextmanager
def restoring(cache: Mapping[str, Any]) -> Iterator[None]:
    """Restore what the task `cache` says while the block runs, and wait for it at its end; empty: nothing."""
    process = _start(cache) if cache else None
    if process is None:
        yield
        return
    try:
        yield
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=float(cache.get("seconds", 0)) + _SPARE)
    finally:
        if process.poll() is None:
            process.kill()
        if code := process.wait():
            print(f"cache: boxkit restore ended with {code}", flush=True)


def _start(cache: Mapping[str, Any]) -> subprocess.Popen[bytes] | None:
    try:
        process = subprocess.Popen(["boxkit", "restore"], stdin=subprocess.PIPE)
    except OSError as error:
        print(f"cache: cannot start boxkit: {error}", flush=True)
        return None
    assert process.stdin is not None  # noqa: S101 - a pipe
    with suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(json.dumps(dict(cache)).encode())
    return process
