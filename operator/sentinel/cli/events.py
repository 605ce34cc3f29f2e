"""The warnings about a Build and its pod."""

from __future__ import annotations

from typing import Any

from sentinel.cli.cluster import Found
from sentinel.kube.client import Kube
from sentinel.kube.resources import CORE_EVENTS

Json = dict[str, Any]

MOST_EVENTS = 5


async def read_warnings(kube: Kube, found: Found) -> list[Json]:
    """The last warnings about the Build and its pod, the newest last, without those about its end."""
    uids = [str(found.raw["metadata"].get("uid") or "")]
    if found.status.pod is not None:
        uids.append(found.status.pod.uid)
    events: list[Json] = []
    for uid in filter(None, uids):
        some, _ = await kube.list(
            CORE_EVENTS,
            namespace=found.namespace,
            fields=f"involvedObject.uid={uid},type=Warning",
        )
        events += [each for each in some if each.get("reason") not in ("Finished", "StepFailed")]
    return sorted(events, key=time_of)[-MOST_EVENTS:]


def time_of(event: Json) -> str:
    """When it was last seen, as the API server writes times."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next(filter(None, times), None) or event["metadata"].get("creationTimestamp") or "")
