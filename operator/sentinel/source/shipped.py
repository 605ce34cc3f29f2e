"""The standard steps that lie in our image, and their way onto a build's volume. Standard library only."""

from __future__ import annotations

import shutil
from pathlib import Path

from sentinel.api.reasons import Reason
from sentinel.source.failure import failed

COMMON = "common.sh"
"""The file that all of them source; it is put beside each one's run.sh."""

_PACKAGE = Path(__file__).resolve().parent.parent
_FOR_PEOPLE = shutil.ignore_patterns("step.yml", "README.md")


def steps_folder() -> Path:
    """Where they are: in a checkout beside the package, elsewhere inside it."""
    checkout = _PACKAGE.parent / "steps"
    return checkout if (checkout / COMMON).is_file() else _PACKAGE / "standard"


def place(name: str, dest: str) -> None:
    """Copy the step into the directory `dest`. Raises InternalError where there is no such step."""
    folder = steps_folder() / name
    if "/" in name or not (folder / "run.sh").is_file():
        raise failed(
            Reason.INTERNAL,
            f"this image has no standard step {name!r}: another version planned the build",
        )
    shutil.copytree(folder, dest, ignore=_FOR_PEOPLE, dirs_exist_ok=True)
    shutil.copy(steps_folder() / COMMON, dest)
