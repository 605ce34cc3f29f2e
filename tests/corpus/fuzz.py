"""Coverage-guided fuzzing of the reader of wercker.yml: `python -m tests.corpus.fuzz [-runs=100000] [FOLDER]`.

Needs atheris, which is not among our requirements: `pip install atheris`. The suite's own fuzzing (hypothesis, in
tests/unit/config) needs nothing. Any exception but those that end a run is a bug.
"""

from __future__ import annotations

import sys
from importlib import import_module

from sentinel.config.diagnostics import render


def main(arguments: list[str]) -> None:
    """Run until it is stopped, or for `-runs`."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["sentinel.config"]):
        door = import_module("sentinel.config.load")

    def one(data: bytes) -> None:
        loaded = door.load(data)
        for each in loaded.diagnostics[:5]:
            render(each, path="w", text=loaded.text)
        try:
            door.pipeline_of(loaded, "build")
        except door.ConfigError as error:
            if not error.diagnostics:
                raise AssertionError("an error without a finding") from error

    atheris.Setup(arguments, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
