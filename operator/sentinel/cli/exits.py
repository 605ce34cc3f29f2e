"""Exit codes of the verbs whose result is a build's."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `sentinel run`, `sentinel wait` and `sentinel retry --watch` (docs/reference/cli.md)."""

    SUCCEEDED = 0
    FAILED = 1
    ERRORED = 2
    CANCELLED = 3
    TIMED_OUT = 124
    INTERRUPTED = 130
