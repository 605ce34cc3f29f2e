"""Why a commit ends without an image, as one exception with a reason of the closed list.

Not here: errors of the registry and of the API server, which `commit.py` translates where they end a commit.
"""

from __future__ import annotations

from sentinel.api.reasons import CommitReason
from sentinel.errors import SentinelError


class CommitFailure(SentinelError):
    """The commit ends as Failed; `why` is its reason, the message what a person reads."""

    def __init__(self, why: CommitReason, message: str) -> None:
        super().__init__(message)
        self.why = why


class RuntimeFailure(CommitFailure):
    """The node's runtime did not do what it was asked to. On a busy node it may do so at the next try."""

    def __init__(self, message: str) -> None:
        super().__init__(CommitReason.RUNTIME_ERROR, message)


class CommitRefused(CommitFailure):
    """The commit ends as Refused: it must not be done, and nothing was touched (images.md)."""
