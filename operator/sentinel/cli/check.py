"""`sentinel check`: what is wrong with a wercker.yml, before anything is pushed. Needs no cluster.

Exit codes: 0 it can be run, 1 it has errors, 2 it cannot be read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from sentinel.config.diagnostics import Diagnostic, Severity, render
from sentinel.config.load import FILE_NAMES, ConfigError, Loaded, load, pipeline_of

UNREADABLE = 2


@click.command()
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--pipeline", default="", help="Only what keeps this pipeline from running.")
@click.option(
    "--output",
    type=click.Choice(["human", "json"]),
    default="human",
    show_default=True,
    help="For people, or for programs.",
)
def check(path: Path, pipeline: str, output: str) -> None:
    """Check PATH, a wercker.yml or a project's directory, and say everything that is wrong with it.

    Exits with 0 if it can be run, with 1 if it has errors, with 2 if it cannot be read.
    """
    file = _find(path)
    try:
        data = file.read_bytes()
    except OSError as e:
        _give_up(f"{file}: {e.strerror}")
    loaded = load(data)
    findings = _findings(loaded, pipeline, path=str(file))
    failed = any(each.severity is Severity.ERROR for each in findings)
    if output == "json":
        click.echo(_as_json(file, loaded, findings))
    else:
        _show(file, loaded, findings)
    sys.exit(1 if failed else 0)


def _find(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in FILE_NAMES:
        if (path / name).exists():
            return path / name
    _give_up(f"{path}: there is no {', '.join(FILE_NAMES[:-1])} or {FILE_NAMES[-1]} in it")


def _give_up(message: str) -> NoReturn:
    click.echo(f"sentinel check: {message}", err=True)
    sys.exit(UNREADABLE)


def _findings(loaded: Loaded, pipeline: str, *, path: str) -> tuple[Diagnostic, ...]:
    if not pipeline:
        return loaded.diagnostics
    findings = [each for each in loaded.diagnostics if each.pipeline in ("", pipeline)]
    try:
        pipeline_of(loaded, pipeline, path=path)
    except ConfigError as e:
        findings += [each for each in e.diagnostics if each not in findings]
    return tuple(findings)


def _show(file: Path, loaded: Loaded, findings: Sequence[Diagnostic]) -> None:
    colour = sys.stdout.isatty()
    for each in findings:
        click.echo(render(each, path=str(file), text=loaded.text, colour=colour) + "\n")
    errors = sum(each.severity is Severity.ERROR for each in findings)
    warnings = len(findings) - errors
    if findings:
        click.echo(f"{file}: {_count(errors, 'error')}, {_count(warnings, 'warning')}")
    if not errors:
        click.echo(f"{file}: fine; pipelines: {', '.join(_pipelines(loaded)) or 'none'}")


def _pipelines(loaded: Loaded) -> list[str]:
    known = loaded.config.pipelines if loaded.config is not None else {}
    return [f"{name} ({_count(len(each.steps), 'step')})" for name, each in known.items()]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _as_json(file: Path, loaded: Loaded, findings: Sequence[Diagnostic]) -> str:
    known = loaded.config.pipelines if loaded.config is not None else {}
    document = {
        "file": str(file),
        "pipelines": list(known),
        "diagnostics": [asdict(each) for each in findings],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
