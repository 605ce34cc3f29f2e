"""`sentinel prune`: what builds left behind and nothing needs any more. The chart's CronJob runs it.

What is kept is in the operator's settings, by the same variables: SENTINEL_RETENTION__…, SENTINEL_STORE__…,
SENTINEL_IMAGES__… and SENTINEL_NAMESPACES. Not here: what may go (`retention/`, `plan/history.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click
from pydantic import ValidationError

from sentinel.cli.cluster import connect, run
from sentinel.cli.table import byte_size
from sentinel.config.findings import visible
from sentinel.errors import SentinelError, UserError
from sentinel.image.dockerconfig import NO_CREDENTIALS, Keychain, keychain_from_docker_config
from sentinel.image.reference import Reference
from sentinel.kube.client import Kube
from sentinel.kube.resources import BUILDS, WORKFLOW_RUNS
from sentinel.plan.history import BUILD, RUN, History, limits_of, read_entry
from sentinel.registry import RegistryClient
from sentinel.retention.builds import read_builds
from sentinel.retention.cluster import check_cluster
from sentinel.retention.found import Stale
from sentinel.retention.images import (
    Candidate,
    chosen_repositories,
    find_candidates,
    read_pods,
    stale_images,
    tagged_otherwise,
)
from sentinel.retention.objects import Objects
from sentinel.settings import Settings
from sentinel.store.objects import ObjectStore


@click.command()
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted, and why.")
@click.option(
    "--builds", is_flag=True, help="Finished Builds and WorkflowRuns past their time or limit."
)
@click.option("--objects", is_flag=True, help="Objects of the store that no Build refers to.")
@click.option("--images", is_flag=True, help="Images in the repositories that the settings name.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="json is one object a line.",
)  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def prune(
    *, dry_run: bool, builds: bool, objects: bool, images: bool, output: str, yes: bool
) -> None:
    """Delete what builds left behind and nothing needs any more.

    Without --builds, --objects and --images it is all that is configured.
    """
    try:
        settings = Settings()
    except ValidationError as e:
        raise click.ClickException(f"the settings in the environment are not valid:\n{e}") from e
    named = builds or objects or images
    if not named:
        builds = True
        objects = settings.store.configured
        images = bool(settings.retention.images.repositories)
    if not dry_run and not yes:
        click.confirm("Delete for good? --dry-run shows what would go", abort=True)
    work = _Prune(settings, dry_run=dry_run, as_json=output == "json")
    run(work.run(builds=builds, objects=objects, images=images))
    work.sum_up()
    if work.failures:
        raise SystemExit(1)


class _Prune:
    """One run: what it has shown, and what went wrong."""

    def __init__(self, settings: Settings, *, dry_run: bool, as_json: bool) -> None:
        self._settings, self._dry_run, self._as_json = settings, dry_run, as_json
        self._now = datetime.now(UTC)
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        self.failures = 0

    async def run(self, *, builds: bool, objects: bool, images: bool) -> None:
        """Each kind by itself: what one cannot do is reported, and the others go on."""
        async with await connect() as kube:
            for wanted, work in (
                (builds, self._builds),
                (objects, self._objects),
                (images, self._images),
            ):
                if not wanted:
                    continue
                try:
                    await work(kube)
                except SentinelError as e:
                    self._failed(e)

    def sum_up(self) -> None:
        """One line at the end, for people."""
        done = "would be deleted" if self._dry_run else "deleted"
        kinds = [f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in self._counts.items()]
        size = f" ({byte_size(self._bytes)} of the store)" if self._bytes else ""
        click.echo(f"{', '.join(kinds) or 'nothing'} {done}{size}", err=True)

    async def _builds(self, kube: Kube) -> None:
        history = History(limits_of(self._settings))
        places: list[str | None] = [*self._settings.namespaces] or [None]
        for place in places:
            async for raw in kube.each(BUILDS, namespace=place):
                history.add(read_entry(raw))
            async for raw in kube.each(WORKFLOW_RUNS, namespace=place):
                history.add(read_entry(raw, kind=RUN))
        for kind, resource in ((BUILD, BUILDS), (RUN, WORKFLOW_RUNS)):
            for each in history.removals(kind=kind, now=self._now):
                entry = each.entry
                if not self._dry_run:
                    await kube.delete(
                        resource, namespace=entry.namespace, name=entry.name, uid=entry.uid
                    )
                self._show([Stale(kind=kind, name=f"{entry.namespace}/{entry.name}", why=each.why)])

    async def _objects(self, kube: Kube) -> None:
        settings = self._settings
        store = ObjectStore.from_settings(settings.store)
        if store is None:
            raise UserError("there is no store: set SENTINEL_STORE__BUCKET or SENTINEL_STORE__URL")
        try:
            await check_cluster(store, kube, prefix=settings.store.prefix)
            builds = await read_builds(kube, settings)
            stored = Objects(store, builds, settings=settings, now=self._now)
            async for found in stored.stale():
                self._show(found if self._dry_run else await stored.remove(found))
        finally:
            store.close()

    async def _images(self, kube: Kube) -> None:
        settings = self._settings
        rules = settings.retention.images
        if not rules.repositories:
            raise UserError("no repository is named: set SENTINEL_RETENTION__IMAGES__REPOSITORIES")
        repositories = chosen_repositories(await read_builds(kube, settings), settings)
        policy = settings.registry_policy()
        for each in repositories:
            policy = policy.with_host(each.registry)
        async with RegistryClient(
            credentials=_logins(rules.docker_config),
            insecure=settings.images.insecure_registries,
            policy=policy,
            ca=settings.ca,
        ) as client:
            found: dict[str, tuple[Reference, list[Candidate]]] = {}
            for each in repositories:
                try:
                    candidates = await find_candidates(client, each, keep_last=rules.keep_last)
                except SentinelError as e:
                    self._failed(e)
                else:
                    found[each.name] = each, candidates
            # After the tags: a Build that pushed one of them is among these, or is gone.
            builds, used = await read_builds(kube, settings), await read_pods(kube, settings)
            for repository, candidates in found.values():
                stale = stale_images(candidates, builds, used, settings=settings, now=self._now)
                try:
                    await self._remove_images(client, repository, list(stale))
                except SentinelError as e:
                    self._failed(e)

    async def _remove_images(
        self, client: RegistryClient, repository: Reference, stale: list[tuple[Candidate, Stale]]
    ) -> None:
        if self._dry_run or not stale:
            self._show(each for _, each in stale)
            return
        tagged = await tagged_otherwise(client, repository)
        for candidate, each in stale:
            if candidate.reference.digest not in tagged:
                await client.delete_manifest(candidate.reference)
                self._show([each])

    def _show(self, gone: Iterable[Stale]) -> None:
        verb = "would delete" if self._dry_run else "deleted"
        for each in gone:
            self._counts[each.kind] += 1
            self._bytes += each.size
            if self._as_json:
                what = {"kind": each.kind, "name": each.name, "why": each.why}
                size = {"bytes": each.size} if each.size else {}
                click.echo(json.dumps({**what, **size, "deleted": not self._dry_run}))
            else:
                click.echo(f"{verb} {each.kind} {visible(each.name)}: {visible(each.why)}")

    def _failed(self, error: SentinelError) -> None:
        self.failures += 1
        click.ClickException(error.message).show()


def _logins(path: str) -> Keychain:
    if not path:
        return NO_CREDENTIALS
    try:
        text = Path(path).read_bytes()
    except OSError as e:
        raise UserError(f"the logins for registries cannot be read: {e}") from e
    return keychain_from_docker_config(text, source=path)
