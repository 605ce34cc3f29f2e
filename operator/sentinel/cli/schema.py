"""`sentinel schema`: JSON Schemas for editors."""

from __future__ import annotations

import json

import click

from sentinel.config.schema import wercker_schema


@click.command()
@click.argument("what", type=click.Choice(["wercker"]))
def schema(what: str) -> None:
    """Print the JSON Schema of WHAT, for completion in editors."""
    click.echo(json.dumps(wercker_schema(), indent=2))
