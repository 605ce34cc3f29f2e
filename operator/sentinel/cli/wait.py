"""`sentinel wait`: until a Build has finished; its result is the exit code."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from sentinel.cli.cluster import Exit, Found, build_argument, connect, read, run
from sentinel.cli.options import duration
from sentinel.cli.table import between
from sentinel.config.findings import visible
from sentinel.errors import GoneError, TransientError
from sentinel.kube.client import Kube

LOOK_EVERY = 1.0
"""Seconds between two looks at the Build."""
PATIENCE = 300.0
"""Seconds without an answer of the API server, which may restart, until waiting is given up."""


@click.command()
@build_argument
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=duration,
    help="Give up after this time, such as 90s or 1h30m. Default: never.",
)
@click.pass_context
def wait(ctx: click.Context, build: str, namespace: str, timeout: float | None) -> None:
    """Wait until BUILD has finished.

    Exit code: 0 if it succeeded, 1 if it failed, 2 if it errored or could not be watched, 3 if it was cancelled, 124
    after --timeout.
    """
    found = run(_wait(build, namespace, timeout), trouble=Exit.ERRORED)
    if found is None:
        place = f"-n {namespace} {build}" if namespace else build
        click.echo(
            f"Error: Build {build} has not finished in time; `sentinel describe {place}` shows how far it is",
            err=True,
        )
        ctx.exit(Exit.TIMED_OUT)
    click.echo(result(found))
    ctx.exit(found.exit)


def result(found: Found) -> str:
    """How a finished build ended, and where to look if it did not succeed."""
    took = between(found.status.start_time, found.status.completion_time, now=datetime.now(UTC))
    head = f"Build {visible(found.name)}: {found.phase}" + (f" in {took}" if took else "")
    condition = found.condition
    if found.exit is Exit.SUCCEEDED or condition is None:
        return head
    why = visible(f"{condition.reason}: {condition.message}")
    return f"{head}: {why}\n`sentinel describe {found.address}` shows more"


async def _wait(name: str, namespace: str, limit: float | None) -> Found | None:
    try:
        async with asyncio.timeout(limit), await connect() as kube:
            return await until_finished(kube, name, namespace)
    except TimeoutError:
        return None


async def until_finished(kube: Kube, name: str, namespace: str) -> Found:
    """The Build once it has finished. Raises GoneError where it is deleted meanwhile."""
    loop = asyncio.get_running_loop()
    found = await read(kube, name, namespace)
    uid, heard = found.raw["metadata"].get("uid"), loop.time()
    while not found.finished:
        await asyncio.sleep(LOOK_EVERY)
        try:
            found = await read(kube, name, namespace)
        except GoneError:
            raise GoneError(f"Build {name} was deleted before it had finished") from None
        except TransientError:
            if loop.time() - heard > PATIENCE:
                raise
            continue
        heard = loop.time()
        if found.raw["metadata"].get("uid") != uid:
            raise GoneError(f"Build {name} was deleted, and another one of its name was created")
    return found
