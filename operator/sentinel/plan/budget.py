"""How many bytes a build's variables may grow to while they are expanded: a few kilobytes of `$A$A…` are gigabytes."""

from __future__ import annotations

from sentinel.api.reasons import Reason
from sentinel.errors import UserError

VARIABLE_LIMIT = 128 * 1024
"""Bytes of `NAME=value` and its NUL: Linux refuses a longer one in execve (MAX_ARG_STRLEN)."""

ENVIRONMENT_LIMIT = 1024 * 1024
"""Bytes of all variables of a build, and of what is expanded for its pod."""


class Budget:
    """Bytes that are left. One is shared by all expansions of a plan, so that many small ones count as one large."""

    def __init__(self, limit: int = ENVIRONMENT_LIMIT) -> None:
        self._limit = limit
        self._left = limit

    def take(self, size: int, *, where: str) -> None:
        """Count `size` bytes, before they are made where that is possible. Raises UserError ConfigInvalid, naming
        the place where the budget was passed."""
        self._left -= size
        if self._left < 0:
            raise UserError(
                f"with {where} the variables of box and services take more than {self._limit} bytes together: use "
                "fewer or shorter values, or put large ones into files of the project",
                reason=Reason.CONFIG_INVALID,
            )


def size_of(name: str, value: str) -> int:
    """Bytes of one variable in an environment: `NAME=value` and its NUL."""
    return (
        len(name.encode("utf-8", "surrogatepass")) + len(value.encode("utf-8", "surrogatepass")) + 2
    )
