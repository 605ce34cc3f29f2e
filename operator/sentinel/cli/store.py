"""`sentinel store`: a directory as the object store, for installations without an S3 server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from pydantic import ValidationError

from sentinel.api.model import quantity
from sentinel.errors import SentinelError
from sentinel.observe.log import set_up
from sentinel.settings import Settings


def _bytes(_: click.Context, __: click.Parameter, text: str) -> int:
    try:
        return quantity(text) if text not in ("", "0") else 0
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a quantity, such as 20Gi") from error


_PORT = click.IntRange(0, 65535)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--path",
    required=True,
    type=click.Path(path_type=Path),
    help="The directory. It must exist, and has one server at a time.",
)
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=_PORT,
    help="Port to listen on; 0: any free one.",
)
@click.option(
    "--health-port", default=0, type=_PORT, help="Port of /livez, /readyz and /metrics; 0: none."
)
@click.option(
    "--limit",
    default="",
    callback=_bytes,
    help="Most that all objects may have together, e.g. 20Gi. Default: what the disk has.",
)
@click.option(
    "--reserve",
    default="100Mi",
    show_default=True,
    callback=_bytes,
    help="What is left free of the disk.",
)
@click.option(
    "--largest",
    default="16Gi",
    show_default=True,
    callback=_bytes,
    help="Most that one object may have.",
)
@click.option("--tls-cert", type=_FILE, help="Certificate (PEM) to serve https with.")
@click.option("--tls-key", type=_FILE, help="Its key.")
def store(
    *,
    path: Path,
    host: str,
    port: int,
    health_port: int,
    limit: int,
    reserve: int,
    largest: int,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Serve a directory as the object store. SENTINEL_STORE__KEY holds the key that URLs are signed with."""
    from sentinel.store.app import Served, run_store  # noqa: PLC0415 - aiohttp

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    try:
        settings = Settings()
    except ValidationError as e:
        raise click.ClickException(f"the settings in the environment are not valid:\n{e}") from e
    secret = settings.store.key.get_secret_value()
    if not secret:
        raise click.ClickException(
            "set SENTINEL_STORE__KEY to a key of 32 characters or more, such as the output of `openssl rand -hex 32`; "
            "the operator and the command line must have the same"
        )
    set_up(level=settings.log_level, style=settings.log_format)
    served = Served(
        path=path,
        host=host,
        port=port,
        limit=limit,
        reserve=reserve,
        largest=largest,
        tls=(tls_cert, tls_key) if tls_cert and tls_key else None,
        health_port=health_port,
    )
    try:
        asyncio.run(run_store(served, secret=secret))
    except SentinelError as e:
        raise click.ClickException(e.message) from e
