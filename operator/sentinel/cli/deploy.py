"""`sentinel deploy`: a new Build that goes on from another one, with its image and its output."""

from __future__ import annotations

import click

from sentinel.api import API_VERSION
from sentinel.api.conditions import Phase
from sentinel.cli.cluster import Exit, Found, build_argument, connect, read, run
from sentinel.cli.create import Json, create_numbered, metadata_of
from sentinel.cli.wait import result
from sentinel.cli.watch import watch as follow
from sentinel.config.findings import visible
from sentinel.errors import SentinelError
from sentinel.kube.resources import BUILDS
from sentinel.text import dns_label

NOT_COPIED = frozenset(
    ("cancel", "config", "deployTarget", "inputs", "parent", "pipeline", "retries", "source")
)
"""Fields that describe the parent. `retries` too: a deploy that has begun must not begin again by itself."""


@click.command()
@build_argument
@click.option("--pipeline", default="deploy", show_default=True, help="The pipeline to run.")
@click.option("--target", default="", help="A target section of the pipeline.")
@click.option("--name", "new_name", default="", help="Its name. Default: BUILD-PIPELINE-N.")
@click.option("--watch", is_flag=True, help="Follow its log; end with its result, as `wait` does.")
@click.pass_context
def deploy(
    ctx: click.Context,
    build: str,
    namespace: str,
    *,
    pipeline: str,
    target: str,
    new_name: str,
    watch: bool,
) -> None:
    """Create a Build that deploys BUILD, and print its name.

    It begins when BUILD has succeeded, in its image and with its output as the source. Variables, Secrets and settings
    of the pod are those of BUILD.
    """
    trouble = Exit.ERRORED if watch else 1
    made = run(_deploy(build, namespace, new_name, pipeline, target), trouble=trouble)
    name, place = made["metadata"]["name"], made["metadata"]["namespace"]
    click.echo(visible(name))
    if not watch:
        click.echo(
            f"to follow its log: sentinel logs -f -n {visible(place)} {visible(name)}", err=True
        )
        return
    found = run(follow(name, place), trouble=trouble)
    click.echo(result(found), err=True)
    ctx.exit(found.exit)


def child(found: Found, name: str, *, pipeline: str, target: str) -> Json:
    """The body of a Build that goes on from `found`."""
    spec = {key: value for key, value in found.spec.items() if key not in NOT_COPIED}
    spec |= {"parent": {"name": found.name}, "pipeline": pipeline}
    if target:
        spec["deployTarget"] = target
    metadata = metadata_of(found, name)
    return {"apiVersion": API_VERSION, "kind": "Build", "metadata": metadata, "spec": spec}


async def _deploy(name: str, namespace: str, new_name: str, pipeline: str, target: str) -> Json:
    async with await connect() as kube:
        found = await read(kube, name, namespace)
        if found.finished and found.phase is not Phase.SUCCEEDED:
            raise SentinelError(
                f"Build {name} ended as {found.phase}, and only one that succeeded can be deployed; "
                f"`sentinel describe {found.address}` shows why"
            )

        def make(new: str) -> Json:
            return child(found, new, pipeline=pipeline, target=target)

        if new_name:
            return await kube.create(BUILDS, make(new_name))
        word = dns_label(pipeline, limit=40) or "deploy"
        return await create_numbered(kube, found.name, word, make)
