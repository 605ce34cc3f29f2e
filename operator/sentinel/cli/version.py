"""`sentinel version`: the release of this command, and of the cluster's installation if the caller may read it."""

from __future__ import annotations

import asyncio

import click

from sentinel import __version__
from sentinel.api import GROUP
from sentinel.cli.cluster import connect
from sentinel.config.findings import visible
from sentinel.errors import SentinelError
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import Resource

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
VERSION_LABEL = "app.kubernetes.io/version"
SECONDS = 5.0


@click.command()
@click.option("--client", is_flag=True, help="Of this command only; no cluster is needed.")
def version(client: bool) -> None:
    """Show the version of this command and of the cluster's installation."""
    click.echo(f"Client: {__version__}")
    if not client:
        click.echo(f"Server: {asyncio.run(_server())}")


async def _server() -> str:
    try:
        async with asyncio.timeout(SECONDS), await connect() as kube:
            crd = await kube.get(CRDS, name=f"builds.{GROUP}")
    except NotFound:
        return "not installed: the cluster has no Builds"
    except Forbidden:
        return "not shown: you have no right to get the CRD of Builds, whose label it is"
    except SentinelError as e:
        return f"unknown: {visible(e.message)}"
    except TimeoutError:
        return f"unknown: no answer in {SECONDS:.0f} s"
    labels = crd["metadata"].get("labels") or {}
    return visible(
        labels.get(VERSION_LABEL) or "not shown: its CRDs were not installed by the chart"
    )
