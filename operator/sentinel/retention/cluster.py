"""Which cluster's Builds keep their files in the store: a mark that the operator leaves there when it starts.

A Build that does not exist here may exist in another cluster which uses the same bucket and prefix. So nothing is
deleted where another cluster has left its mark, nor where this one has not: then the kubeconfig and the store do not
belong together.
"""

from __future__ import annotations

import logging

from sentinel.clock import Clock
from sentinel.errors import SentinelError, UserError
from sentinel.kube.client import Kube
from sentinel.kube.resources import NAMESPACES
from sentinel.plan.keys import cluster_mark, clusters_prefix
from sentinel.store.objects import ObjectStore

log = logging.getLogger(__name__)

AGAIN = 60.0
"""Seconds between two tries."""


async def cluster_id(kube: Kube) -> str:
    """The uid of the namespace kube-system, which stands for the cluster everywhere."""
    raw = await kube.get(NAMESPACES, name="kube-system")
    return str(raw["metadata"]["uid"])


async def mark_cluster(store: ObjectStore, kube: Kube, *, prefix: str, clock: Clock) -> None:
    """Leave this cluster's mark, if it is not there. What fails is tried again: `sentinel prune` needs the mark."""
    while True:
        try:
            key = cluster_mark(prefix=prefix, cluster=await cluster_id(kube))
            if await store.head(key) is None:
                await store.put(key, b"sentinel")
            return
        except SentinelError as e:
            log.info("this cluster is not marked in the store yet: %s", e.message)
            await clock.sleep(AGAIN)


async def check_cluster(store: ObjectStore, kube: Kube, *, prefix: str) -> None:
    """Raise UserError unless this cluster is the only one whose builds keep their files under the prefix."""
    ours, head = await cluster_id(kube), clusters_prefix(prefix=prefix)
    found = {info.key.removeprefix(head) for info in await store.list(head)}
    if others := sorted(found - {ours}):
        raise UserError(
            f"nothing is deleted from the store: builds of another cluster ({others[0][:64]}) keep their files under "
            f"the same prefix {prefix!r}. Give each cluster a store.prefix of its own; if that cluster does not exist "
            f"any more, delete the object {head}{others[0][:64]}"
        )
    if ours not in found:
        raise UserError(
            f"nothing is deleted from the store: no operator of this cluster ({ours}) has used it under prefix "
            f"{prefix!r}. Check the kubeconfig and store.prefix; an operator of this release leaves the object "
            f"{head}{ours} there when it starts"
        )
