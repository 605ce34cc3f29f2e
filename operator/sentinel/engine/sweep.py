"""What must not be forgotten: builds that a watch missed, finished ones past their time, and pods without a Build.

Runs every few minutes. It decides nothing about a running build: it offers it to the supervisor, which knows it or not.
Nothing that one Build holds ends a sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from sentinel.engine.leftovers import (
    find_builders,
    find_made,
    remove_builders,
    remove_orphans,
)
from sentinel.engine.run import Tools
from sentinel.engine.supervisor import Supervisor
from sentinel.engine.workflows import Workflows
from sentinel.errors import SentinelError, TransientError
from sentinel.kube.resources import BUILDS, WORKFLOW_RUNS, Resource
from sentinel.plan.history import BUILD, RUN, History, Removal, limits_of, read_entry
from sentinel.plan.names import FINISHED_LABEL, INSTANCE_LABEL, of_instance

log = logging.getLogger(__name__)

MOST_DELETED = 500
"""Builds that one sweep deletes, and as many WorkflowRuns; the next one goes on."""


async def sweep_forever(tools: Tools, supervisor: Supervisor, workflows: Workflows) -> None:
    """`sweep` now and then every `resync_seconds`; a failed one is logged and tried again next time."""
    while True:
        try:
            history = await sweep(tools, supervisor)
            await sweep_runs(tools, workflows, history)
        except TransientError as e:
            log.warning("resync failed: %s", e.message)
        except Exception:
            log.exception("resync failed")
        await tools.clock.sleep(tools.settings.resync_seconds)


async def sweep(tools: Tools, supervisor: Supervisor) -> History:
    """Offer every unfinished Build, delete the finished ones whose time is over or that are no more among the last
    ones, and what Builds that are gone left. What it has seen of Builds is returned.
    """
    places: list[str | None] = [*tools.settings.namespaces] or [None]
    builders = await find_builders(tools)
    history = History(limits_of(tools.settings))
    unfinished: set[str] = set()
    instance = tools.settings.instance
    for namespace in places:
        made = await find_made(tools, namespace=namespace)
        known: set[str] = set()
        for labels in (f"{FINISHED_LABEL}!=true", f"{FINISHED_LABEL}=true"):
            selector = of_instance(instance, labels)
            async for raw in tools.kube.each(BUILDS, namespace=namespace, labels=selector):
                known.add(raw["metadata"]["uid"])
                if (raw["metadata"].get("labels") or {}).get(FINISHED_LABEL) != "true":
                    unfinished.add(raw["metadata"]["uid"])
                _look_at(supervisor, history, raw)
        if instance:
            # Another installation's now, or not adopted yet: what we made for them before is not an orphan.
            others = tools.kube.each(
                BUILDS,
                namespace=namespace,
                labels=f"{INSTANCE_LABEL}!={instance}",
                metadata_only=True,
            )
            known |= {raw["metadata"]["uid"] async for raw in others}
        await remove_orphans(tools, made, builds=known)
    await remove_builders(tools, builders, builds=unfinished)
    due = list(history.removals(kind=BUILD, now=tools.clock.now()))
    await _remove(tools, BUILDS, due)
    return history


def _look_at(supervisor: Supervisor, history: History, raw: dict[str, Any]) -> None:
    meta = raw["metadata"]
    try:
        history.add(read_entry(raw))
        if (meta.get("labels") or {}).get(FINISHED_LABEL) != "true":
            supervisor.offer(raw)
    except Exception:
        log.exception("build %s/%s is left out of the resync", meta["namespace"], meta["name"])


async def sweep_runs(tools: Tools, workflows: Workflows, history: History) -> None:
    """Offer every unfinished WorkflowRun, and delete finished ones as Builds are: their Builds go with them.

    `history` has all Builds.
    """
    places: list[str | None] = [*tools.settings.namespaces] or [None]
    for namespace in places:
        async for raw in tools.kube.each(
            WORKFLOW_RUNS, namespace=namespace, labels=of_instance(tools.settings.instance)
        ):
            entry = read_entry(raw, kind=RUN)
            history.add(entry)
            if not entry.finished:
                workflows.offer(raw)
    due = list(history.removals(kind=RUN, now=tools.clock.now()))
    await _remove(tools, WORKFLOW_RUNS, due)


async def _remove(tools: Tools, resource: Resource, due: Collection[Removal]) -> None:
    """Delete what goes. What cannot be deleted is tried again by the next sweep."""
    for each in [*due][:MOST_DELETED]:
        entry = each.entry
        try:
            await tools.kube.delete(
                resource, namespace=entry.namespace, name=entry.name, uid=entry.uid
            )
        except SentinelError as e:
            log.warning(
                "%s %s/%s is left for the next resync: %s",
                entry.kind,
                entry.namespace,
                entry.name,
                e.message,
            )
        else:
            log.info("deleted %s %s/%s: %s", entry.kind, entry.namespace, entry.name, each.why)
