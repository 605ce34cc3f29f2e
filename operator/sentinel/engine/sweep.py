"""What must not be forgotten: builds that a watch missed, and finished ones past their time.

Runs every few minutes. It decides nothing about a running build: it offers it to the supervisor, which knows it or not.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from sentinel.api.model import seconds
from sentinel.engine.run import Tools
from sentinel.engine.supervisor import Supervisor
from sentinel.kube.resources import BUILDS
from sentinel.plan.names import FINISHED_LABEL

log = logging.getLogger(__name__)

DEFAULT_TTL = "168h"


async def sweep_forever(tools: Tools, supervisor: Supervisor) -> None:
    """`sweep` now and then every `resync_seconds`; a failed one is logged and tried again next time."""
    while True:
        try:
            await sweep(tools, supervisor)
        except Exception:
            log.exception("resync failed")
        await tools.clock.sleep(tools.settings.resync_seconds)


async def sweep(tools: Tools, supervisor: Supervisor) -> None:
    """Offer every unfinished build, delete the finished ones whose time is over."""
    places: list[str | None] = [*tools.settings.namespaces] or [None]
    for namespace in places:
        active, _ = await tools.kube.list(
            BUILDS, namespace=namespace, labels=f"{FINISHED_LABEL}!=true"
        )
        for raw in active:
            supervisor.offer(raw)
        finished, _ = await tools.kube.list(
            BUILDS, namespace=namespace, labels=f"{FINISHED_LABEL}=true"
        )
        now = tools.clock.now()
        for raw in finished:
            if is_over(raw, now=now):
                meta = raw["metadata"]
                await tools.kube.delete(
                    BUILDS, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]
                )


def is_over(raw: dict[str, Any], *, now: datetime) -> bool:
    """Whether a finished Build has outlived its ttlAfterFinished. 0s means that it stays."""
    try:
        ttl = seconds(raw.get("spec", {}).get("ttlAfterFinished", DEFAULT_TTL))
        ended = datetime.fromisoformat(raw.get("status", {}).get("completionTime", ""))
    except ValueError:
        return False
    return ttl > 0 and now - ended > timedelta(seconds=ttl)
