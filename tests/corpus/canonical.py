"""A Config in the canonical form of the corpus (its FORM.md), so that what a file means can be compared.

`python -m tests.corpus.canonical FILE` prints it. Where we tell a pipeline's mistake and the original dropped the
pipeline, or the file, without a word, the form shows what the original did.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentinel.config.codes import Code
from sentinel.config.load import Loaded, load
from sentinel.config.model import Box, Config, Pipeline, Step

_DROPPED = {
    Code.PIPELINE_NOT_MAP,
    Code.PIPELINE_KEY,
    Code.STEPS_NOT_LIST,
    Code.SERVICES_NOT_LIST,
    Code.WRONG_TYPE,
    Code.UNKNOWN_KEY,
}
"""Findings in a pipeline for which the original let it vanish."""


def canonical(loaded: Loaded) -> dict[str, Any]:
    """What was loaded, every key present; `error` is our first message where the whole file is rejected."""
    error = _error(loaded)
    config = (None if error else loaded.config) or Config()
    dropped = {
        d.pipeline for d in loaded.diagnostics if d.code in _DROPPED and d.severity == "error"
    }
    dropped |= {d.pipeline for d in loaded.diagnostics if d.code == Code.WRONG_TYPE}
    # Between the keys of a pipeline that it wrote with nothing under it the original kept a null.
    empty = {d.pipeline for d in loaded.diagnostics if d.code == Code.PIPELINE_EMPTY and not error}
    return {
        "error": error,
        "box": _box(config.box),
        "services": [_box(each) for each in config.services],
        "command_timeout": int(config.command_timeout or 0),
        "no_response_timeout": int(config.no_response_timeout or 0),
        "source_dir": config.source_dir,
        "ignore_file": config.ignore_file,
        "pipelines": dict.fromkeys(empty)
        | {name: _pipeline(p) for name, p in config.pipelines.items() if name not in dropped},
    }


def dumped(loaded: Loaded) -> str:
    """The form's bytes, as text."""
    return json.dumps(canonical(loaded), sort_keys=True, indent=2, ensure_ascii=True) + "\n"


def _error(loaded: Loaded) -> str | None:
    """Why the original rejected the whole file: no YAML, nothing in it, or a step that it could not take."""
    if loaded.config is None:
        return next(d.message for d in loaded.diagnostics if d.severity == "error")
    return next(
        (
            d.message
            for d in loaded.diagnostics
            if d.code == Code.STEP_SHAPE and d.severity == "error"
        ),
        None,
    )


def differences(ours: Any, theirs: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Where the two differ, by path: (ours, theirs)."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in sorted(ours.keys() | theirs.keys()):
            found |= differences(ours.get(key), theirs.get(key), f"{path}/{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        found = {}
        for n, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            found |= differences(one, other, f"{path}/{n}")
        return found
    return {} if ours == theirs else {path: (ours, theirs)}


def _box(box: Box | None) -> dict[str, Any] | None:
    if box is None:
        return None
    flag = "aws-strict-auth"
    return {
        "id": box.id,
        "name": box.name,
        "tag": box.tag,
        "cmd": box.cmd,
        "entrypoint": box.entrypoint,
        "volumes": box.volumes,
        "url": box.url,
        "env": dict(box.env),
        "ports": list(box.ports),
        "auth": {key: True if key == flag else value for key, value in box.auth},
    }


def _pipeline(pipeline: Pipeline) -> dict[str, Any]:
    services = pipeline.services
    return {
        "box": _box(pipeline.box),
        "services": None if services is None else [_box(each) for each in services],
        "base_path": pipeline.base_path,
        "docker": pipeline.docker,
        "steps": _steps(pipeline.steps),
        "after_steps": _steps(pipeline.after_steps),
        "targets": {name: _steps(each) for name, each in pipeline.targets.items()},
    }


def _steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [
        {
            "id": step.identifier,
            "name": step.display_name,
            "cwd": step.cwd,
            "checkpoint": step.checkpoint,
            "data": {**dict(step.properties), **({"code": step.code} if step.code else {})},
        }
        for step in steps
    ]


def main(arguments: list[str]) -> int:
    """Print the form of the file that is named."""
    if len(arguments) != 1:
        print("usage: python -m tests.corpus.canonical FILE", file=sys.stderr)
        return 2
    sys.stdout.write(dumped(load(Path(arguments[0]).read_bytes())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
