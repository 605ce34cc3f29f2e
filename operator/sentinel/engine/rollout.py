"""Whether the node agents are being replaced: a commit then waits for the new agent of its node."""

from __future__ import annotations

import logging
from typing import Any

from sentinel.engine.run import Tools
from sentinel.errors import SentinelError
from sentinel.kube.resources import DAEMON_SETS

log = logging.getLogger(__name__)


async def agents_roll_out(tools: Tools) -> bool:
    """Whether one of the agents' DaemonSets has pods that are not there, not ready, or of an earlier revision.

    False where that cannot be found out.
    """
    settings = tools.settings
    for name in settings.agent_daemon_sets:
        try:
            raw = await tools.kube.get(DAEMON_SETS, namespace=settings.pod_namespace, name=name)
        except SentinelError as e:
            log.info("daemonset %s/%s: %s", settings.pod_namespace, name, e.message)
            continue
        if is_rolling_out(raw):
            return True
    return False


def is_rolling_out(raw: dict[str, Any]) -> bool:
    """Whether a DaemonSet has not come to what its spec says, on every node that it is for."""
    status = raw.get("status") or {}
    desired = int(status.get("desiredNumberScheduled") or 0)
    seen = int(status.get("observedGeneration") or 0)
    return (
        seen < int(raw["metadata"].get("generation") or 0)
        or int(status.get("updatedNumberScheduled") or 0) < desired
        or int(status.get("numberReady") or 0) < desired
    )
