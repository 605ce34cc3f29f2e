"""`sentinel env`: an ENVIRONMENT file of wercker as what a Build wants: a Secret, and its spec.env."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import yaml

from sentinel.config.decode import SIZE_LIMIT, DocumentError, decode
from sentinel.plan.envfile import EnvFile, read_env_file


@click.command()
@click.argument(
    "file",
    default="ENVIRONMENT",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, allow_dash=True),
)
@click.option(
    "--secret", default="environment", show_default=True, help="The Secret for protected variables."
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["env", "secret"]),
    default="env",
    show_default=True,
    help="env: the list for a Build's spec. secret: the Secret that it refers to, for kubectl apply.",
)
def env(file: Path, secret: str, output: str) -> None:
    """Print the variables of FILE (X_NAME=public, XXX_NAME=protected) as YAML for a Build.

    Variables X_… and XXX_… of the environment that are not empty go before those of FILE.
    """
    with click.open_file(str(file), "rb") as stream:
        data = stream.read(SIZE_LIMIT + 1)
    try:
        text = decode(data)
    except DocumentError as e:
        fault = e.diagnostic
        place = f"{file}:{fault.line}" if fault.line else str(file)
        raise click.ClickException(
            "; ".join(filter(None, (f"{place}: {fault.message}", fault.hint)))
        ) from e
    found = read_env_file(text, environ=os.environ)
    for warning in found.warnings:
        click.echo(f"{file}: {warning}", err=True)
    made = env_of(found, secret) if output == "env" else secret_of(found, secret)
    click.echo(yaml.safe_dump(made, sort_keys=False, allow_unicode=True), nl=False)


def env_of(found: EnvFile, secret: str) -> dict[str, Any]:
    """`env` of a Build's spec, in the file's order; protected values are only referred to."""
    return {
        "env": [
            {
                "name": each.name,
                "valueFrom": {"secretKeyRef": {"name": secret, "key": each.name}},
            }
            if each.protected
            else {"name": each.name, "value": each.value}
            for each in found.variables
        ]
    }


def secret_of(found: EnvFile, name: str) -> dict[str, Any]:
    """The Secret with the protected values, each under its variable's name."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "Opaque",
        "stringData": {each.name: each.value for each in found.variables if each.protected},
    }
