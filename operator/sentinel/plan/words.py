"""`cmd` and `entrypoint` of a box or service as words: split by a shell's rules (wercker.md "Boxes")."""

from __future__ import annotations

import shlex
from typing import Literal

from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.errors import UserError


def words_of(box: Box, field: Literal["cmd", "entrypoint"]) -> tuple[str, ...]:
    """The field's words, none where it is not set. Raises UserError ConfigInvalid where a quote is open."""
    try:
        return tuple(shlex.split(getattr(box, field)))
    except ValueError as error:
        raise UserError(
            f"{field} of {box.id} on line {box.line} of wercker.yml cannot be split into words: {error}. "
            "Check its quotes",
            reason=Reason.CONFIG_INVALID,
        ) from error
