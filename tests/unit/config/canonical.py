"""A Config in the canonical form of the corpus (its FORM.md), so that what a file means can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sentinel.config.load import Loaded
from sentinel.config.model import Box, Config, Pipeline, Step


def canonical(loaded: Loaded) -> dict[str, Any]:
    """What was loaded, every key present; `error` is our first message where there is no Config."""
    config = loaded.config or Config()
    return {
        "error": None if loaded.config else loaded.diagnostics[0].message,
        "box": _box(config.box),
        "services": [_box(each) for each in config.services],
        "command_timeout": int(config.command_timeout or 0),
        "no_response_timeout": int(config.no_response_timeout or 0),
        "source_dir": config.source_dir,
        "ignore_file": config.ignore_file,
        "pipelines": {name: _pipeline(each) for name, each in config.pipelines.items()},
    }


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
