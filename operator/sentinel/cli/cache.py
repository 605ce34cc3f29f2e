"""`sentinel cache`: which caches builds have left in the object store, and removing them.

The store is reached with the caller's own access: SENTINEL_STORE__BUCKET, __ENDPOINT, __PREFIX, __ACCESS_KEY_ID,
__SECRET_ACCESS_KEY; for a directory store __URL, __KEY and __PREFIX. The cluster is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from sentinel.cli.table import byte_size, print_table, rough
from sentinel.config.findings import visible
from sentinel.errors import GoneError, SentinelError
from sentinel.plan.keys import CacheKey, cache_prefix, parse_cache
from sentinel.settings import Settings
from sentinel.store.objects import ObjectInfo, ObjectStore

Command = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which caches of a namespace: an empty field takes any."""

    namespace: str
    application: str = ""
    pipeline: str = ""
    key: str = ""

    def takes(self, found: CacheKey) -> bool:
        """Whether a cache is one of them. Names are compared as they are cut to shape in keys."""
        wanted = CacheKey.of(
            namespace=self.namespace,
            space=found.space,
            app_id=self.application,
            pipeline=self.pipeline,
            key=self.key,
        )
        return (
            found.namespace == wanted.namespace
            and (not self.application or found.application == wanted.application)
            and (not self.pipeline or found.pipeline == wanted.pipeline)
            and (not self.key or found.key == wanted.key)
        )


@click.group()
def cache() -> None:
    """List and clear the caches that builds keep."""


def _selecting(command: Command) -> Command:
    for option in (
        click.option("--key", default="", help="Only those with this spec.cache.key."),
        click.option("--pipeline", default="", help="Only those of this pipeline."),
        click.option("--application", default="", help="Only those of the application of this id."),
        click.option(
            "-n", "--namespace", default="default", show_default=True, help="The Builds' namespace."
        ),
    ):
        command = option(command)
    return command


@cache.command("ls")
@_selecting
def list_caches(namespace: str, application: str, pipeline: str, key: str) -> None:
    """List caches, the largest first."""
    wanted = Selection(namespace=namespace, application=application, pipeline=pipeline, key=key)
    found = _run(wanted, remove=False)
    if not found:
        click.echo(f"No cache in namespace {namespace}.", err=True)
        return
    _print(found)


@cache.command("clear")
@_selecting
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clear_caches(namespace: str, application: str, pipeline: str, key: str, yes: bool) -> None:
    """Remove caches: the next build starts with an empty one. Builds that run now may save theirs again."""
    wanted = Selection(namespace=namespace, application=application, pipeline=pipeline, key=key)
    found = _run(wanted, remove=False)
    if not found:
        click.echo(f"No cache in namespace {namespace}.", err=True)
        return
    _print(found)
    if not yes:
        click.confirm(f"Remove {len(found)} of them?", abort=True)
    removed = _run(wanted, remove=True)
    click.echo(f"{len(removed)} removed.")


def _run(wanted: Selection, *, remove: bool) -> list[tuple[CacheKey, ObjectInfo]]:
    try:
        return asyncio.run(_select(wanted, remove=remove))
    except SentinelError as e:
        raise click.ClickException(e.message) from e


async def _select(wanted: Selection, *, remove: bool) -> list[tuple[CacheKey, ObjectInfo]]:
    settings = Settings().store
    store = ObjectStore.from_settings(settings)
    if store is None:
        raise GoneError(
            "no store: set SENTINEL_STORE__BUCKET, SENTINEL_STORE__ENDPOINT and, where the operator has them, "
            "SENTINEL_STORE__PREFIX, SENTINEL_STORE__ACCESS_KEY_ID and SENTINEL_STORE__SECRET_ACCESS_KEY; for a "
            "directory store SENTINEL_STORE__URL and SENTINEL_STORE__KEY (docs/howto/store.md)"
        )
    try:
        prefix = cache_prefix(prefix=settings.prefix, namespace=wanted.namespace)
        found = [
            (parsed, info)
            for info in await store.list(prefix)
            if (parsed := parse_cache(info.key, prefix=settings.prefix)) and wanted.takes(parsed)
        ]
        if remove:
            await asyncio.gather(*(store.delete(info.key) for _, info in found))
        return sorted(found, key=lambda pair: (-pair[1].size, pair[1].key))
    finally:
        store.close()


def _print(found: Sequence[tuple[CacheKey, ObjectInfo]]) -> None:
    now = datetime.now(UTC)
    rows: list[tuple[str, ...]] = [("APPLICATION", "PIPELINE", "KEY", "SIZE", "AGE")]
    for key, info in found:
        age = rough((now - info.modified).total_seconds()) if info.modified else "?"
        names = (visible(text) for text in (key.application, key.pipeline, key.key or "-"))
        rows.append((*names, byte_size(info.size), age))
    print_table(rows)
