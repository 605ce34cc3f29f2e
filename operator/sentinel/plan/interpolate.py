"""`$NAME` in the fields of boxes and services: replaced before there is a container.

This is wercker's second engine: names only, no defaults and no escape. In steps the box's own shell expands.

What is expanded counts against a budget: a few kilobytes of `$A$A…` are gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sentinel.api.build import EnvVar
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


_USE = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def public_values(env: Sequence[EnvVar]) -> dict[str, str]:
    """The literal values of spec.env that no Secret has gone into; what wercker.yml may interpolate."""
    values: dict[str, str] = {}
    for each in env:
        values.pop(each.name, None)
        if each.value_from is None and "$(" not in each.value:
            values[each.name] = each.value
    return values


def hidden_names(env: Sequence[EnvVar]) -> frozenset[str]:
    """Variables of spec.env whose value is not known when the plan is made, or may hold a Secret's."""
    return frozenset({each.name for each in env if each.value_from or "$(" in each.value})


def interpolate(
    text: str,
    *,
    public: Mapping[str, str],
    hidden: frozenset[str] = frozenset(),
    where: str,
    budget: Budget | None = None,
) -> str:
    """`$NAME` and `${NAME}` in a field of box or service replaced, an unknown name by nothing.

    The result counts against `budget` while it grows. Raises UserError ConfigInvalid where `text` refers to a variable
    from a Secret, since such a field is readable in the pod's spec, and where the result is longer than a variable
    can be.
    """
    if "$" not in text:
        return text
    budget = budget or Budget()
    parts: list[str] = []
    size = end = 0

    def add(part: str) -> None:
        nonlocal size
        more = len(part.encode("utf-8", "surrogatepass"))
        size += more
        if size > VARIABLE_LIMIT:
            raise UserError(
                f"{where} in wercker.yml is longer than {VARIABLE_LIMIT} bytes with its variables replaced",
                reason=Reason.CONFIG_INVALID,
            )
        budget.take(more, where=where)
        parts.append(part)

    for match in _USE.finditer(text):
        name = match[1] or match[2]
        if name in hidden:
            raise UserError(
                f"{where} in wercker.yml uses ${name}, which comes from a Secret: it would stand readable in the pod. "
                f"Use ${name} in a step instead, or give it a literal value in spec.env",
                reason=Reason.CONFIG_INVALID,
            )
        add(text[end : match.start()])
        add(public.get(name, ""))
        end = match.end()
    add(text[end:])
    return "".join(parts)
