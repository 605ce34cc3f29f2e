"""What must not be forgotten: builds that a watch missed, finished ones past their time, and pods without a Build.

Runs every few minutes. It decides nothing about a running build: it offers it to the supervisor, which knows it or not.
Nothing that one Build holds ends a sweep.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from sentinel.api.model import seconds
from sentinel.engine.leftovers import (
    find_builders,
    find_made,
    remove_builders,
    remove_orphans,
)
from sentinel.engine.run import Tools
from sentinel.engine.supervisor import Supervisor
from sentinel.engine.workflows import Workflows
from sentinel.errors import TransientError
from sentinel.kube.resources import BUILDS, WORKFLOW_RUNS
from sentinel.plan.names import FINISHED_LABEL

log = logging.getLogger(__name__)

DEFAULT_TTL = "168h"


async def sweep_forever(tools: Tools, supervisor: Supervisor, workflows: Workflows) -> None:
    """`sweep` now and then every `resync_seconds`; a failed one is logged and tried again next time."""
    while True:
        try:
            await sweep(tools, supervisor)
            await sweep_runs(tools, workflows)
        except TransientError as e:
            log.warning("resync failed: %s", e.message)
        except Exception:
            log.exception("resync failed")
        await tools.clock.sleep(tools.settings.resync_seconds)


async def sweep(tools: Tools, supervisor: Supervisor) -> None:
    """Offer every unfinished Build, delete the finished ones whose time is over, and what Builds that are gone left."""
    places: list[str | None] = [*tools.settings.namespaces] or [None]
    builders = await find_builders(tools)
    unfinished: set[str] = set()
    for namespace in places:
        made = await find_made(tools, namespace=namespace)
        known: set[str] = set()
        for labels in (f"{FINISHED_LABEL}!=true", f"{FINISHED_LABEL}=true"):
            async for raw in tools.kube.each(BUILDS, namespace=namespace, labels=labels):
                known.add(raw["metadata"]["uid"])
                if (raw["metadata"].get("labels") or {}).get(FINISHED_LABEL) != "true":
                    unfinished.add(raw["metadata"]["uid"])
                await _look_at(tools, supervisor, raw)
        await remove_orphans(tools, made, builds=known)
    await remove_builders(tools, builders, builds=unfinished)


async def _look_at(tools: Tools, supervisor: Supervisor, raw: dict[str, Any]) -> None:
    meta = raw["metadata"]
    try:
        if (meta.get("labels") or {}).get(FINISHED_LABEL) != "true":
            supervisor.offer(raw)
        elif is_over(raw, now=tools.clock.now()):
            await tools.kube.delete(
                BUILDS, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]
            )
    except TransientError as e:
        log.warning(
            "build %s/%s is left for the next resync: %s",
            meta["namespace"],
            meta["name"],
            e.message,
        )
    except Exception:
        log.exception("build %s/%s is left out of the resync", meta["namespace"], meta["name"])


async def sweep_runs(tools: Tools, workflows: Workflows) -> None:
    """Offer every unfinished WorkflowRun, and delete finished ones whose time is over: their Builds go with them."""
    places: list[str | None] = [*tools.settings.namespaces] or [None]
    for namespace in places:
        async for raw in tools.kube.each(WORKFLOW_RUNS, namespace=namespace):
            meta, conditions = raw["metadata"], (raw.get("status") or {}).get("conditions") or []
            if not any(c["type"] == "Finished" and c["status"] == "True" for c in conditions):
                workflows.offer(raw)
            elif is_over(raw, now=tools.clock.now()):
                await tools.kube.delete(
                    WORKFLOW_RUNS, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]
                )


def is_over(raw: dict[str, Any], *, now: datetime) -> bool:
    """Whether a finished Build or WorkflowRun has outlived its ttlAfterFinished. 0s means that it stays."""
    try:
        ttl = seconds(raw.get("spec", {}).get("ttlAfterFinished", DEFAULT_TTL))
        ended = datetime.fromisoformat(raw.get("status", {}).get("completionTime", ""))
        return ttl > 0 and now - ended > timedelta(seconds=ttl)
    except OverflowError:
        # Longer than time goes: a Build made before durations had a maximum. It stays.
        return False
    except ValueError:
        return False
