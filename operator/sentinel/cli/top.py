"""`sentinel top`: the builds that have not ended, with their step, and what their pods use now.

The numbers are those of the metrics API (metrics-server), as for `kubectl top`, services included. Without it, or
without the right to read it, the columns are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from sentinel.api.conditions import ConditionType
from sentinel.cli.cluster import connect, namespace_option, run
from sentinel.cli.table import between, byte_size, print_table, text_at
from sentinel.config.findings import visible
from sentinel.errors import SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.resources import BUILDS, POD_METRICS
from sentinel.plan.names import MANAGED_BY, MANAGED_BY_VALUE

Json = dict[str, Any]
Usage = tuple[Decimal, Decimal]
"""Processors, and bytes of memory."""


@click.command()
@namespace_option
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Of all namespaces.")
def top(namespace: str, everywhere: bool) -> None:
    """Show the Builds that have not ended: phase, step, and what their pods use now."""
    place, builds, used, trouble = run(_read(namespace, everywhere=everywhere))
    if not builds:
        click.echo("No Builds run" + (f" in namespace {place}." if place else "."), err=True)
        return
    now = datetime.now(UTC)
    head = ["NAMESPACE"] * everywhere + [
        "NAME",
        "PHASE",
        "PROGRESS",
        "STEP",
        "FOR",
        "CPU",
        "MEMORY",
    ]
    print_table([head, *(_row(raw, used, now=now, everywhere=everywhere) for raw in builds)])
    if trouble:
        click.echo(trouble, err=True)


async def _read(
    namespace: str, *, everywhere: bool
) -> tuple[str, list[Json], dict[tuple[str, str], Usage], str]:
    async with await connect() as kube:
        place = "" if everywhere else namespace or kube.namespace
        listed, _ = await kube.list(BUILDS, namespace=place or None)
        builds = [raw for raw in listed if not _finished(raw)]
        if not builds:
            return place, [], {}, ""
        try:
            used, trouble = await _usage(kube, place), ""
        except SentinelError as e:
            used = {}
            trouble = f"CPU and memory are not known: {visible(e.message)}; `kubectl top pods` needs the same"
        return place, builds, used, trouble


async def _usage(kube: Kube, place: str) -> dict[tuple[str, str], Usage]:
    """What pods of builds use, by namespace and name."""
    pods, _ = await kube.list(
        POD_METRICS, namespace=place or None, labels=f"{MANAGED_BY}={MANAGED_BY_VALUE}"
    )
    used: dict[tuple[str, str], Usage] = {}
    for raw in pods:
        usages = [each.get("usage") or {} for each in raw.get("containers") or []]
        used[raw["metadata"]["namespace"], raw["metadata"]["name"]] = (
            sum((_amount(each, "cpu") for each in usages), Decimal(0)),
            sum((_amount(each, "memory") for each in usages), Decimal(0)),
        )
    return used


def _amount(usage: Mapping[str, Any], name: str) -> Decimal:
    from kubernetes.utils.quantity import parse_quantity  # noqa: PLC0415 - loaded for this verb only

    try:
        return Decimal(parse_quantity(str(usage.get(name, 0))))  # type: ignore[no-untyped-call]
    except (ValueError, InvalidOperation):
        return Decimal(0)


def _row(
    raw: Json, used: Mapping[tuple[str, str], Usage], *, now: datetime, everywhere: bool
) -> list[str]:
    namespace = text_at(raw, "metadata", "namespace")
    usage = used.get((namespace, text_at(raw, "status", "pod", "name")))
    cells = [
        text_at(raw, "metadata", "name"),
        text_at(raw, "status", "phase") or "Queued",
        text_at(raw, "status", "progress"),
        text_at(raw, "status", "currentStep"),
        between(text_at(raw, "status", "startTime"), "", now=now),
        "" if usage is None else f"{int(usage[0] * 1000)}m",
        "" if usage is None else byte_size(int(usage[1])),
    ]
    return [namespace] * everywhere + [cell or "-" for cell in cells]


def _finished(raw: Json) -> bool:
    conditions = (raw.get("status") or {}).get("conditions") or []
    return any(
        each.get("type") == ConditionType.FINISHED and each.get("status") == "True"
        for each in conditions
    )
