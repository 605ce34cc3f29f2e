"""A Config in the canonical form of the corpus (its FORM.md), so that what a file means can be compared.

`python -m tests.corpus.canonical FILE` prints it. Where we tell a mistake and the original dropped the pipeline, or
the whole file, the form shows what the original did: `original` says when. What we read otherwise on purpose stands
in `docs/reference/differences.md`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentinel.config.document import Items, Node, Table, parse
from sentinel.config.findings import Findings
from sentinel.config.load import Loaded, load
from sentinel.config.model import Box, Config, Pipeline, Step
from sentinel.config.root import TOP_KEYS
from sentinel.config.scalars import is_null
from tests.corpus.original import bad_step, is_lost, is_mistyped


def canonical(loaded: Loaded) -> dict[str, Any]:
    """What was loaded, every key present; `error` is our first message where the whole file is rejected."""
    if loaded.config is None:
        return _form(Config(), Table((), 0, 0), _first_error(loaded))
    root = parse(loaded.text, findings=Findings())
    table = root if isinstance(root, Table) else Table((), 0, 0)
    bad = bad_step(table)
    if bad is not None:
        said = (d.message for d in loaded.diagnostics if d.line == bad.line)
        return _form(Config(), Table((), 0, 0), next(said, "a step is empty"))
    return _form(loaded.config, table, None)


def _form(config: Config, root: Table, error: str | None) -> dict[str, Any]:
    sections = {key.text: node for key, node in root.entries if key.text not in TOP_KEYS}
    box = root.get("box")
    return {
        "error": error,
        # Of a list it kept a box without an image.
        "box": _box(Box(id="") if isinstance(box, Items) else config.box),
        "services": _services(config.services, root.get("services")) or [],
        "command_timeout": int(config.command_timeout or 0),
        "no_response_timeout": int(config.no_response_timeout or 0),
        "source_dir": config.source_dir,
        "ignore_file": config.ignore_file,
        "pipelines": {name: None for name, node in sections.items() if is_null(node)}
        | {
            name: _pipeline(config.pipelines[name], node)
            for name, node in sections.items()
            if isinstance(node, Table) and name in config.pipelines and not is_lost(node)
        },
    }


def _first_error(loaded: Loaded) -> str:
    return next(d.message for d in loaded.diagnostics if d.severity == "error")


def dumped(loaded: Loaded) -> str:
    """The form's bytes, as text."""
    return json.dumps(canonical(loaded), sort_keys=True, indent=2, ensure_ascii=True) + "\n"


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


def _pipeline(pipeline: Pipeline, table: Table) -> dict[str, Any]:
    return {
        "box": _box(pipeline.box),
        "services": _services(pipeline.services, table.get("services")),
        "base_path": pipeline.base_path,
        "docker": pipeline.docker,
        "steps": _steps(pipeline.steps, table.get("steps")),
        "after_steps": _steps(pipeline.after_steps, table.get("after-steps")),
        "targets": {name: _steps(each, table.get(name)) for name, each in pipeline.targets.items()},
    }


def _services(services: Sequence[Box] | None, node: Node | None) -> list[Any] | None:
    """Each service, and null where the list has an empty entry. Of a wrongly typed one it kept nothing."""
    if services is None or not isinstance(node, Items):
        return None
    ours = iter(services)
    found: list[Any] = []
    for item in node.items:
        if is_null(item):
            found.append(None)
        elif not isinstance(item, Items):
            box = _box(next(ours))
            found += [] if is_mistyped(item) else [box]
    return found


def _steps(steps: Sequence[Step], node: Node | None) -> list[Any]:
    """Each step, and null where the list has an empty item."""
    ours = iter(steps)
    items = node.items if isinstance(node, Items) else ()
    return [None if is_null(item) else _step(next(ours), item) for item in items]


def _step(step: Step, item: Node) -> dict[str, Any]:
    data = dict(step.properties)
    if step.code or _has_code(item):
        data["code"] = step.code
    return {
        "id": step.identifier,
        "name": step.display_name,
        "cwd": step.cwd,
        "checkpoint": step.checkpoint,
        "data": data,
    }


def _has_code(item: Node) -> bool:
    """Whether the step has the option at all, be it empty."""
    if not isinstance(item, Table):
        return False
    under = (node for _, node in item.entries[:1] if isinstance(node, Table))
    beside = (key.text == "code" for key, _ in item.entries[1:])
    return any(table.get("code") is not None for table in under) or any(beside)


def main(arguments: list[str]) -> int:
    """Print the form of the file that is named."""
    if len(arguments) != 1:
        print("usage: python -m tests.corpus.canonical FILE", file=sys.stderr)
        return 2
    sys.stdout.write(dumped(load(Path(arguments[0]).read_bytes())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
