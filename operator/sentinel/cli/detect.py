"""`sentinel detect`: a wercker.yml for a project that has none."""

from __future__ import annotations

from pathlib import Path

import click

from sentinel.config.detect import detect as detect_kind
from sentinel.config.load import FILE_NAMES


@click.command()
@click.argument(
    "folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--write", is_flag=True, help="Write it to wercker.yml in that directory.")
def detect(folder: Path, write: bool) -> None:
    """Print a wercker.yml that suits the project in FOLDER."""
    names = [each.name for each in folder.iterdir()]
    found = detect_kind(names)
    if not write:
        click.echo(found.text, nl=False)
        return
    there = next((name for name in FILE_NAMES if name in names), "")
    if there:
        raise click.ClickException(f"{folder / there} exists and is not changed")
    (folder / "wercker.yml").write_text(found.text, encoding="utf-8")
    click.echo(f"{folder / 'wercker.yml'}: for a {found.kind} project", err=True)
