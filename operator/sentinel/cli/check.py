"""`sentinel check`: what is wrong with a wercker.yml, without a cluster.

Exit status: 0 where nothing keeps the file, or the pipeline asked for, from running; 1 where something does; 2 where
there is no file to read.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import click

from sentinel import __version__
from sentinel.config.diagnostics import Diagnostic, Severity, render
from sentinel.config.lacks import lacks
from sentinel.config.load import (
    FILE_NAMES,
    MISNAMED,
    ConfigError,
    Loaded,
    load,
    pipeline_of,
    relevant,
)
from sentinel.plan.asked import Answer, Wanted, about_answers, images_of, with_gone
from sentinel.plan.engines import about_engines
from sentinel.steps.standard import not_standard
from sentinel.text import count_of, printable

Asked: TypeAlias = list[tuple[Wanted, Answer | None]]
"""Boxes and services, and what their registries answered; None where there was nothing to ask."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """All that is printed. `shown` is the file's name; `elsewhere` are steps that only a registry can have."""

    shown: str
    loaded: Loaded
    found: tuple[Diagnostic, ...]
    asked: Asked | None
    elsewhere: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing keeps the file, or the pipeline, from running."""
        return not any(d.severity is Severity.ERROR for d in self.found)


CANNOT_READ = 2
_READ_LIMIT = 8 * 1024 * 1024
"""Bytes: whatever is larger is refused for its size all the same."""


@click.command()
@click.argument("path", default=".", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-o",
    "--output",
    type=click.Choice(["human", "json", "sarif"]),
    default="human",
    show_default=True,
    help="sarif is for code hosts, which annotate changes with it.",
)
@click.option("--pipeline", default="", help="Only the findings of a Build of this pipeline.")
@click.option(
    "--images",
    is_flag=True,
    help="Ask the registries for boxes and services, without a login: whether they exist, their digests and platforms.",
)
@click.option(
    "--architecture",
    default="amd64",
    show_default=True,
    help="Of the nodes, for --images.",
)
@click.pass_context
def check(
    ctx: click.Context, path: Path, *, output: str, pipeline: str, images: bool, architecture: str
) -> None:
    """Check the wercker.yml at PATH: a file, a project's directory, or - for standard input."""
    try:
        shown, data = _read(path)
    except OSError as error:
        click.echo(f"{error.filename or path}: cannot be read: {error.strerror or error}", err=True)
        ctx.exit(CANNOT_READ)
    loaded = load(data)
    found = _findings(loaded, pipeline, shown)
    asked: Asked | None = None
    if images and loaded.config is not None:
        wanted = images_of(loaded.config, pipeline)
        asked = _asked(wanted)
        answers = {each.image: answer for each, answer in asked if answer is not None}
        more = about_answers(wanted, answers, platform=f"linux/{architecture}")
        found = tuple(sorted({*found, *more}))
    elsewhere = not_standard(loaded.config, pipeline) if loaded.config is not None else ()
    checked = Checked(shown=shown, loaded=loaded, found=found, asked=asked, elsewhere=elsewhere)
    write: Callable[[Checked], None] = {"human": _human, "json": _json, "sarif": _sarif}[output]
    write(checked)
    ctx.exit(int(not checked.ok))


def _read(path: Path) -> tuple[str, bytes]:
    if str(path) == "-":
        return "standard input", sys.stdin.buffer.read(_READ_LIMIT)
    if path.is_dir():
        there = next((path / name for name in FILE_NAMES if (path / name).is_file()), None)
        if there is None:
            near = next((each for each in MISNAMED if (path / each).is_file()), None)
            if near is not None:
                raise FileNotFoundError(
                    2, f"{near} is not read; rename it to {FILE_NAMES[1]}", str(path)
                )
            names = f"{FILE_NAMES[1]} (nor {FILE_NAMES[0]} or {FILE_NAMES[2]})"
            raise FileNotFoundError(
                2, f"there is no {names}; `sentinel detect` makes one", str(path)
            )
        path = there
    with path.open("rb") as file:
        return str(path), file.read(_READ_LIMIT)


def _findings(loaded: Loaded, pipeline: str, shown: str) -> tuple[Diagnostic, ...]:
    if loaded.config is not None:
        more = {*loaded.diagnostics, *lacks(loaded.config), *about_engines(loaded.config)}
        loaded = replace(loaded, diagnostics=with_gone(sorted(more), loaded.config))
    if not pipeline:
        return loaded.diagnostics
    found = relevant(loaded, pipeline)
    try:
        pipeline_of(loaded, pipeline, path=shown)
    except ConfigError as error:
        return (*found, *(d for d in error.diagnostics if d not in found))
    return found


def _asked(wanted: Sequence[Wanted]) -> Asked:
    # Imported here: HTTP is half of the start-up time, and this is the only use of it.
    from sentinel.cli.images import ask  # noqa: PLC0415

    answers = ask(each.image for each in wanted if each.image)
    return [(each, answers.get(each.image)) for each in wanted]


def _human(checked: Checked) -> None:
    shown, loaded, found = checked.shown, checked.loaded, checked.found
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")  # no-color.org
    for each in found:
        # click strips colours where they are not shown; ours are right already.
        click.echo(render(each, path=shown, text=loaded.text, colour=colour) + "\n", color=colour)
    for line in dict.fromkeys(_about_image(*each) for each in checked.asked or ()):
        click.echo(f"{shown}: {line}")
    errors = sum(d.severity is Severity.ERROR for d in found)
    if found:
        click.echo(
            f"{shown}: {count_of(errors, 'error')}, {count_of(len(found) - errors, 'warning')}"
        )
    if not errors:
        known = loaded.config.pipelines if loaded.config else {}
        named = [f"{name} ({count_of(len(each.steps), 'step')})" for name, each in known.items()]
        listed = ", ".join(named) or "none, so nothing can be run; add build: with steps: under it"
        click.echo(f"{shown}: fine; pipelines: {listed}")
    if checked.elsewhere:
        names = printable(", ".join(checked.elsewhere))
        click.echo(f"{shown}: needs a step registry (setting steps.registry) for: {names}")


def _about_image(wanted: Wanted, answer: Answer | None) -> str:
    name = wanted.image or wanted.written
    was = f" (for {wanted.written})" if wanted.image and wanted.image != wanted.written else ""
    if answer is None:
        why = "variables name it" if "$" in wanted.written else "there is no image of that name"
        known = f"not looked up: {why}"
    elif answer.reason is not None:
        known = f"{answer.reason}"
    else:
        known = f"{answer.digest} {', '.join(answer.platforms)}".rstrip()
    return printable(f"{wanted.what} {name}{was}: {known}")


def _json(checked: Checked) -> None:
    loaded, asked = checked.loaded, checked.asked
    more = {} if asked is None else {"images": [_image_json(*each) for each in asked]}
    click.echo(
        json.dumps(
            {
                "file": checked.shown,
                "ok": checked.ok,
                "pipelines": list(loaded.config.pipelines) if loaded.config else [],
                "diagnostics": [
                    {
                        "code": each.code,
                        "severity": each.severity,
                        "line": each.line,
                        "column": each.column,
                        "message": each.message,
                        "hint": each.hint,
                        "pipeline": each.pipeline,
                    }
                    for each in checked.found
                ],
                "registrySteps": list(checked.elsewhere),
                **more,
            },
            indent=2,
        )
    )


def _image_json(wanted: Wanted, answer: Answer | None) -> dict[str, Any]:
    answer = answer or Answer()
    return {
        "kind": wanted.what,
        "name": wanted.written,
        "image": wanted.image,
        "line": wanted.line,
        "pipeline": wanted.pipeline,
        "digest": answer.digest,
        "platforms": list(answer.platforms),
        "reason": answer.reason or "",
        "message": answer.message,
    }


def _sarif(checked: Checked) -> None:
    """SARIF 2.1.0, one run."""
    rules = sorted({str(each.code) for each in checked.found})
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "sentinel check",
                        "version": __version__,
                        "rules": [{"id": rule} for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(checked.shown, each) for each in checked.found],
            }
        ],
    }
    click.echo(json.dumps(log, indent=2))


def _result(shown: str, each: Diagnostic) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(Path(shown).as_posix())}}
    if each.line:
        place["region"] = {"startLine": each.line, "startColumn": max(1, each.column)}
    text = each.message + (f". Hint: {each.hint}" if each.hint else "")
    return {
        "ruleId": str(each.code),
        "level": str(each.severity),
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }
