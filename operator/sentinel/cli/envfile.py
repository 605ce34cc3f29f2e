"""The variables that `sentinel run` gives to a build: those of its ENVIRONMENT file and of the caller's environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel.errors import UserError

if TYPE_CHECKING:
    from sentinel.local.environ import Given

ENV_FILE = "ENVIRONMENT"


def read_given(env_file: Path | None, folder: Path) -> Given:
    """The variables of the file, and of the caller's environment. Raises UserError for a file that is not text."""
    from sentinel.config.decode import SIZE_LIMIT, DocumentError, decode  # noqa: PLC0415
    from sentinel.local.environ import given_variables  # noqa: PLC0415

    path = env_file or folder / ENV_FILE
    text = ""
    if path.is_file():
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
        try:
            text = decode(data)
        except DocumentError as e:
            raise UserError(f"{path}: {e.diagnostic.message}") from e
    return given_variables(text, os.environ)
