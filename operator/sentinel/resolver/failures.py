"""Errors as they go from a child to the operator."""

from __future__ import annotations

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.resolver.messages import MESSAGE, Failure


def failure_of(error: SentinelError) -> Failure:
    """An error as it goes to the operator."""
    kind = "internal"
    if isinstance(error, UserError):
        kind = "user"
    elif isinstance(error, InfrastructureError):
        kind = "infrastructure"
    return Failure.model_validate(
        {
            "kind": kind,
            "reason": error.reason or Reason.INTERNAL,
            "message": error.message[:MESSAGE],
        }
    )
