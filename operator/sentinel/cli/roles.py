"""`sentinel operator` and `sentinel agent`: the two long-running roles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import click
from pydantic import ValidationError

from sentinel.errors import SentinelError
from sentinel.observe.log import set_up
from sentinel.settings import Settings


@click.command()
def operator() -> None:
    """Run the operator (in its Deployment, or on your machine against the current kubeconfig)."""
    from sentinel.app import run_operator  # noqa: PLC0415 - kopf and aiohttp, half a second

    _run(run_operator)


@click.command()
def agent() -> None:
    """Run the node agent (in its DaemonSet)."""
    from sentinel.agent.app import run_agent  # noqa: PLC0415 - grpc besides

    _run(run_agent)


def _run(role: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Run a role until it is told to stop; what it cannot begin with is said in one line, not in a traceback."""
    try:
        settings = Settings()
    except ValidationError as e:
        raise click.ClickException(f"the settings in the environment are not valid:\n{e}") from e
    set_up(level=settings.log_level, style=settings.log_format)
    try:
        asyncio.run(role(settings))
    except SentinelError as e:
        raise click.ClickException(e.message) from e
