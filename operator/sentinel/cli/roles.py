"""The long-running roles: `sentinel operator`, `resolver`, `agent`, `reporter` and `results`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
from pydantic import ValidationError

from sentinel.errors import SentinelError
from sentinel.observe.log import set_up
from sentinel.observe.stop import exit_on_sigterm
from sentinel.settings import Settings


@click.command()
def operator() -> None:
    """Run the operator (in its Deployment, or on your machine against the current kubeconfig)."""
    exit_on_sigterm()
    from sentinel.app import run_operator  # noqa: PLC0415 - kopf and aiohttp, half a second

    _run(run_operator)


@click.command()
def agent() -> None:
    """Run the node agent (in its DaemonSet)."""
    exit_on_sigterm()
    from sentinel.agent.app import run_agent  # noqa: PLC0415 - grpc besides

    _run(run_agent)


@click.command()
def resolver() -> None:
    """Run the resolver (beside the operator, in its pod): it reads sources, registries and steps for it."""
    exit_on_sigterm()
    from sentinel.resolver.main import serve  # noqa: PLC0415 - aiohttp and the rest

    settings = _settings()
    if not settings.resolver.socket:
        raise click.ClickException("set SENTINEL_RESOLVER__SOCKET to the path of its socket")
    serve(settings.resolver)


@click.command()
def reporter() -> None:
    """Run the reporter (in its Deployment): it reports builds to wercker-api and other receivers."""
    exit_on_sigterm()
    from sentinel.reports.app import run_reporter  # noqa: PLC0415 - aiohttp and the rest

    _run(run_reporter)


@click.command()
def results() -> None:
    """Run the results server (in its Deployment): logs and output of Builds, behind the API server."""
    exit_on_sigterm()
    from sentinel.results.app import run_results  # noqa: PLC0415 - aiohttp and the rest

    _run(run_results)


NESTING = 24_000
"""Calls and nested values in this process. The API server takes objects of 10,000 levels (sigs.k8s.io/json); one that
Python cannot read, or kopf cannot copy, would end the watch of all Builds. For as many levels as this, json takes less
than 4 of the 8 MiB of a thread's stack.
"""


def _run(role: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Run a role until SIGTERM; a wrong setting is reported in one line, not as a traceback."""
    settings = _settings()
    sys.setrecursionlimit(NESTING)
    try:
        asyncio.run(role(settings))
    except SentinelError as e:
        raise click.ClickException(e.message) from e


def _settings() -> Settings:
    """The settings in the environment, and logging as they have it."""
    try:
        settings = Settings()
    except ValidationError as e:
        raise click.ClickException(f"the settings in the environment are not valid:\n{e}") from e
    set_up(level=settings.log_level, style=settings.log_format)
    return settings
