"""`sentinel steps`: a step registry of one's own."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click


@click.group()
def steps() -> None:
    """Steps of one's own."""


@steps.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--listen",
    default="127.0.0.1:8080",
    show_default=True,
    help="host:port; port 0 takes any free one.",
)
@click.option("--url", default="", help="What clients call us, where that is not what they asked.")
def serve(folder: Path, listen: str, url: str) -> None:
    """Serve the steps in FOLDER, owner/name/ or owner/name/version/, as a step registry."""
    # aiohttp takes a quarter of a second, and --help does without.
    from sentinel.source.steps.folder import list_steps  # noqa: PLC0415

    host, port = _address(listen)
    if url and not url.startswith(("http://", "https://")):
        raise click.BadParameter("it begins with http:// or https://", param_hint="--url")
    try:
        found, problems = list_steps(folder)
    except OSError as e:
        raise click.ClickException(f"{e.filename or folder} cannot be read: {e.strerror}") from e
    for problem in problems:
        click.echo(f"{folder}: {problem}", err=True)
    if not found:
        raise click.ClickException(
            f"there is no step in {folder}. A step is a directory owner/name, or owner/name/1.0.0 for each version, "
            "with a run.sh and perhaps a step.yml in it"
        )
    for step in found:
        click.echo(f"{step}" + (f"  {step.manifest.summary}" if step.manifest.summary else ""))
        for warning in step.manifest.warnings:
            click.echo(f"{folder}: {step}: {warning}", err=True)
    try:
        asyncio.run(_serve(folder, host, port, url, said=set(problems)))
    except OSError as e:
        raise click.ClickException(f"cannot listen on {listen}: {e.strerror or e}") from e


async def _serve(folder: Path, host: str, port: int, url: str, *, said: set[str]) -> None:
    from sentinel.source.steps.serve import StepServer  # noqa: PLC0415 - as above

    def complain(problem: str) -> None:
        if problem not in said:
            click.echo(f"{folder}: {problem}", err=True)

    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    server = StepServer(folder, public_url=url, complain=complain)
    async with server.running(host, port) as address:
        click.echo(f"step registry at {url or address}")
        await over.wait()


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(
            f"{listen!r} is no host:port, such as 127.0.0.1:8080 or 0.0.0.0:80",
            param_hint="--listen",
        )
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 - asked for
