"""`sentinel retry`: a new Build with the spec of another one, at the commit that this one resolved."""

from __future__ import annotations

import re

import click

from sentinel.api import API_VERSION
from sentinel.cli.cluster import Exit, Found, build_argument, connect, read, run
from sentinel.cli.create import Json, create_numbered, metadata_of
from sentinel.cli.wait import result
from sentinel.cli.watch import watch as follow
from sentinel.config.findings import visible
from sentinel.errors import SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.resources import BUILDS
from sentinel.plan.workflow import pinned


@click.command()
@build_argument
@click.option("--name", "new_name", default="", help="Its name. Default: BUILD-retry-N.")
@click.option("--watch", is_flag=True, help="Follow its log; end with its result, as `wait` does.")
@click.pass_context
def retry(ctx: click.Context, build: str, namespace: str, new_name: str, watch: bool) -> None:
    """Create a new Build with BUILD's spec, at the same commit, and print its name."""
    trouble = Exit.ERRORED if watch else 1
    old, made = run(_retry(build, namespace, new_name), trouble=trouble)
    address = f"-n {visible(made['metadata']['namespace'])} {visible(made['metadata']['name'])}"
    click.echo(visible(made["metadata"]["name"]))
    click.echo(_about(old, made), err=True)
    if not watch:
        click.echo(f"to follow its log: sentinel logs -f {address}", err=True)
        return
    found = run(follow(made["metadata"]["name"], made["metadata"]["namespace"]), trouble=trouble)
    click.echo(result(found), err=True)
    ctx.exit(found.exit)


def again(found: Found, name: str) -> Json:
    """The body of a Build of the same spec, pinned to the revision that `found` had resolved.

    Status, owner references, annotations and our own labels are not copied, but for the installation's: the retry has
    no owner.
    """
    spec = {key: value for key, value in found.spec.items() if key != "cancel"}
    if isinstance(spec.get("source"), dict):
        spec["source"] = pinned(spec["source"], found.status.source)
    metadata = metadata_of(found, name)
    return {"apiVersion": API_VERSION, "kind": "Build", "metadata": metadata, "spec": spec}


def _about(old: Found, made: Json) -> str:
    source = made["spec"].get("source") or {}
    git, archive = source.get("git") or {}, source.get("archive") or {}
    if git.get("commit"):
        at = f"at commit {visible(git['commit'])[:12]}"
    elif archive.get("sha256"):
        at = f"of the archive sha256:{visible(archive['sha256'])[:12]}"
    elif source:
        at = f"at no fixed commit: {visible(old.name)} had not resolved one"
    else:
        at = f"with the same parent as {visible(old.name)}"
    return f"Build {visible(made['metadata']['name'])} created {at}"


async def _retry(name: str, namespace: str, new_name: str) -> tuple[Found, Json]:
    async with await connect() as kube:
        found = await read(kube, name, namespace)
        if not found.finished:
            raise SentinelError(
                f"Build {name} has not finished; `sentinel cancel {found.address}` stops it"
            )
        if (found.spec.get("source") or {}).get("upload"):
            raise SentinelError(
                f"the directory that Build {name} was run with is not kept; `sentinel run --cluster -n "
                f"{visible(found.namespace)}` in the directory runs it again"
            )
        if new_name:
            return found, await kube.create(BUILDS, again(found, new_name))
        return found, await _create(kube, found)


async def _create(kube: Kube, found: Found) -> Json:
    """The first of <name>-retry-1, -2, … that is free; a retry of a retry counts on."""
    base, last = re.fullmatch(r"(.*?)(?:-retry-([0-9]{1,6}))?", found.name, re.DOTALL).groups()  # type: ignore[union-attr]
    return await create_numbered(
        kube, base, "retry", lambda name: again(found, name), first=int(last or 0) + 1
    )
