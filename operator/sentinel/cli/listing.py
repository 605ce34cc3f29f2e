"""`sentinel list`: the Builds of a namespace, or of all, the newest last: beside the prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import yaml

from sentinel.api import GROUP
from sentinel.api.conditions import ConditionType, Phase
from sentinel.cli.cluster import connect, namespace_option, run
from sentinel.cli.table import between, print_table, since, text_at
from sentinel.kube.resources import BUILDS

Json = dict[str, Any]


@click.command("list")
@namespace_option
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Of all namespaces.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["wide", "name", "json", "yaml"]),
    help="wide adds reason, subject and image. Default: a table.",
)
@click.option(
    "--phase",
    "phases",
    multiple=True,
    type=click.Choice([str(each) for each in Phase], case_sensitive=False),
    help="Only those in this phase; may be given several times.",
)
def list_(namespace: str, everywhere: bool, output: str | None, phases: tuple[str, ...]) -> None:
    """List Builds, the newest last."""
    place, builds = run(_list(namespace, everywhere=everywhere))
    if phases:
        builds = [raw for raw in builds if _phase(raw) in phases]
    builds.sort(key=lambda raw: [text_at(raw, "metadata", "creationTimestamp"), _name(raw)])
    if output in ("json", "yaml"):
        _print_objects(builds, output)
    elif output == "name":
        for raw in builds:
            click.echo(f"build.{GROUP}/{_name(raw)}")
    elif not builds:
        click.echo("No Builds found" + (f" in namespace {place}." if place else "."), err=True)
    else:
        now = datetime.now(UTC)
        rows = [_row(raw, now=now, everywhere=everywhere, wide=output == "wide") for raw in builds]
        print_table([_headline(everywhere=everywhere, wide=output == "wide"), *rows])


async def _list(namespace: str, *, everywhere: bool) -> tuple[str, list[Json]]:
    async with await connect() as kube:
        place = "" if everywhere else namespace or kube.namespace
        builds, _ = await kube.list(BUILDS, namespace=place or None)
        return place, builds


def _print_objects(builds: Sequence[Json], output: str) -> None:
    for raw in builds:
        raw["metadata"].pop("managedFields", None)
    objects = {"apiVersion": "v1", "kind": "List", "items": builds}
    if output == "json":
        click.echo(json.dumps(objects, indent=2))
    else:
        # Both escape what a terminal would obey.
        click.echo(yaml.safe_dump(objects, sort_keys=False), nl=False)


def _headline(*, everywhere: bool, wide: bool) -> list[str]:
    names = ["NAME", "PIPELINE", "PHASE", "PROGRESS", "COMMIT", "AGE", "DURATION"]
    return ["NAMESPACE"] * everywhere + names + ["REASON", "SUBJECT", "IMAGE"] * wide


def _row(raw: Json, *, now: datetime, everywhere: bool, wide: bool) -> list[str]:
    row = [
        _name(raw),
        text_at(raw, "spec", "pipeline") or "build",
        _phase(raw),
        text_at(raw, "status", "progress"),
        text_at(raw, "status", "source", "shortCommit"),
        since(text_at(raw, "metadata", "creationTimestamp"), now=now),
        between(
            text_at(raw, "status", "startTime"), text_at(raw, "status", "completionTime"), now=now
        ),
    ]
    if wide:
        row += [
            _reason(raw),
            text_at(raw, "status", "source", "subject"),
            text_at(raw, "status", "image", "digest"),
        ]
    return [text_at(raw, "metadata", "namespace")] * everywhere + [cell or "-" for cell in row]


def _name(raw: Json) -> str:
    return text_at(raw, "metadata", "name")


def _phase(raw: Json) -> str:
    return text_at(raw, "status", "phase") or str(Phase.QUEUED)


def _reason(raw: Json) -> str:
    conditions = raw.get("status", {}).get("conditions", [])
    return next(
        (text_at(each, "reason") for each in conditions if each["type"] == ConditionType.SUCCEEDED),
        "",
    )
