"""`sentinel cancel`: set spec.cancel of a Build."""

from __future__ import annotations

import click

from sentinel.cli.cluster import Found, build_argument, connect, read, run
from sentinel.config.findings import visible
from sentinel.kube.resources import BUILDS


@click.command()
@build_argument
def cancel(build: str, namespace: str) -> None:
    """Cancel BUILD: its steps are stopped, and its after-steps do not run. A finished one stays as it is."""
    found = run(_cancel(build, namespace))
    name = visible(found.name)
    if found.finished:
        click.echo(f"Build {name} has already finished: {found.phase}")
    else:
        click.echo(f"Build {name} is being cancelled; `sentinel wait {found.address}` waits for it")


async def _cancel(name: str, namespace: str) -> Found:
    async with await connect() as kube:
        found = await read(kube, name, namespace)
        if not found.finished and not found.spec.get("cancel"):
            await kube.patch(
                BUILDS,
                name=found.name,
                namespace=found.namespace,
                body={"spec": {"cancel": True}},
                field_manager="sentinel-cli",
            )
        return found
