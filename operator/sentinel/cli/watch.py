"""Following a Build that was just created: its log, then its result."""

from __future__ import annotations

import click

from sentinel.cli.cluster import Found, connect
from sentinel.cli.logs import print_logs
from sentinel.cli.wait import until_finished
from sentinel.errors import SentinelError


async def watch(name: str, namespace: str) -> Found:
    """Print the Build's log until it has finished; the Build then. Raises SentinelError."""
    try:
        await print_logs(name, namespace, follow=True)
    except SentinelError as e:
        # The caller may have no access to the box or the store. The result counts.
        click.echo(e.message, err=True)
    async with await connect() as kube:
        return await until_finished(kube, name, namespace)
