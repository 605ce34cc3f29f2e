"""`sentinel steps`: the standard steps, and a step registry of one's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sentinel.steps.standard import StandardStep


PUBLISH_TOKEN = "SENTINEL_PUBLISH_TOKEN"  # noqa: S105 - a name
_TOKEN_LENGTH = 16


@click.group()
def steps() -> None:
    """List the standard steps, and serve a step registry."""


@steps.command("list")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def list_(output: str) -> None:
    """List the standard steps: Sentinel's own, for those of wercker's public registry."""
    from sentinel.steps.standard import standard_steps  # noqa: PLC0415

    found = standard_steps().values()
    if output == "json":
        click.echo(json.dumps([_described(each) for each in found], indent=2))
        return
    width = max(len(str(each)) for each in found)
    for each in found:
        click.echo(f"{each!s:<{width}}  {each.manifest.summary}")


@steps.command()
@click.argument("name")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def show(name: str, output: str) -> None:
    """Show the standard step NAME: its options, and which old step it stands for."""
    from sentinel.steps.standard import standard_steps  # noqa: PLC0415

    step = standard_steps().get(name.rpartition("/")[2].partition("@")[0])
    if step is None:
        raise click.ClickException(
            f"there is no standard step {name!r}; `sentinel steps list` shows all of them"
        )
    if output == "json":
        click.echo(json.dumps(_described(step), indent=2))
        return
    click.echo(f"{step} {step.manifest.version}: {step.manifest.summary}")
    click.echo(f"Stands for {step.stands_for}. Found as " + ", ".join(_names(step)) + ".")
    if step.manifest.properties:
        click.echo("\nOptions:")
    for each in step.manifest.properties:
        notes = [each.type or "string", *(["required"] if each.required else [])]
        notes += [f"default {each.default}"] if each.default else []
        click.echo(f"  {each.name} ({', '.join(notes)})")
        if text := step.describe.get(each.name):
            click.echo(f"      {text}")
    if (readme := step.folder / "README.md").is_file():
        click.echo("\n" + readme.read_text(encoding="utf-8").strip())


def _names(step: StandardStep) -> list[str]:
    return [f"{owner}/{step.name}" for owner in step.owners]


def _described(step: StandardStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "names": _names(step),
        "version": step.manifest.version,
        "summary": step.manifest.summary,
        "standsFor": step.stands_for,
        "options": [
            {
                "name": each.name,
                "type": each.type or "string",
                "required": each.required,
                "default": each.default,
                "description": step.describe.get(each.name, ""),
            }
            for each in step.manifest.properties
        ],
    }


@steps.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--listen",
    default="127.0.0.1:8080",
    show_default=True,
    help="host:port; port 0 takes any free one.",
)
@click.option(
    "--url", default="", help="Base URL that clients use, if it is not the one of their request."
)
@click.option(
    "--publish-token-file",
    "token_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Accept uploads with the token in this file (or in $SENTINEL_PUBLISH_TOKEN).",
)
def serve(folder: Path, listen: str, url: str, token_file: Path | None) -> None:
    """Serve the steps in FOLDER, owner/name/ or owner/name/version/, as a step registry.

    With a publish token, `internal/publish-step` can add versions to it.
    """
    # aiohttp takes a quarter of a second, and --help does without.
    from sentinel.steps.folder import list_steps  # noqa: PLC0415

    host, port = _address(listen)
    if url and not url.startswith(("http://", "https://")):
        raise click.BadParameter("it begins with http:// or https://", param_hint="--url")
    token = _token(token_file)
    try:
        found, problems = list_steps(folder)
    except OSError as e:
        raise click.ClickException(f"{e.filename or folder} cannot be read: {e.strerror}") from e
    for problem in problems:
        click.echo(f"{folder}: {problem}", err=True)
    if not found and not token:
        raise click.ClickException(
            f"there is no step in {folder}. A step is a directory owner/name, or owner/name/1.0.0 for each version, "
            "with a run.sh and perhaps a step.yml in it"
        )
    for step in found:
        click.echo(f"{step}" + (f"  {step.manifest.summary}" if step.manifest.summary else ""))
        for warning in step.manifest.warnings:
            click.echo(f"{folder}: {step}: {warning}", err=True)
    try:
        asyncio.run(_serve(folder, host, port, url, said=set(problems), token=token))
    except OSError as e:
        raise click.ClickException(f"cannot listen on {listen}: {e.strerror or e}") from e


async def _serve(
    folder: Path, host: str, port: int, url: str, *, said: set[str], token: str
) -> None:
    from sentinel.steps.serve import StepServer  # noqa: PLC0415 - as above

    def complain(problem: str) -> None:
        if problem not in said:
            click.echo(f"{folder}: {problem}", err=True)

    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    server = StepServer(folder, public_url=url, complain=complain, publish_token=token)
    async with server.running(host, port) as address:
        click.echo(f"step registry at {url or address}" + (", accepts uploads" if token else ""))
        await over.wait()


def _token(file: Path | None) -> str:
    """The publish token, "" for none."""
    if file is not None:
        where, text = str(file), file.read_bytes()[:4096].decode("ascii", "replace")
    elif PUBLISH_TOKEN in os.environ:
        where, text = f"${PUBLISH_TOKEN}", os.environ[PUBLISH_TOKEN]
    else:
        return ""
    token = text.strip()
    if len(token) < _TOKEN_LENGTH or not (
        token.isascii() and token.isprintable() and " " not in token
    ):
        raise click.ClickException(
            f"{where} holds no publish token: it is at least {_TOKEN_LENGTH} visible ASCII characters without spaces, "
            "for example of `openssl rand -hex 32`"
        )
    return token


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(
            f"{listen!r} is not host:port, such as 127.0.0.1:8080 or 0.0.0.0:80",
            param_hint="--listen",
        )
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 - asked for
