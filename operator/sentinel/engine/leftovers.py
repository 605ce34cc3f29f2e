"""What a Build that is gone may leave behind, and how it goes.

Everything that a build makes is owned by it, and the cluster deletes it with its owner. Not so after `kubectl delete
--cascade=orphan`: then the owner references are taken off, and a pod would run on until its deadline. Names are
functions of the Build and the attempt, so what is left is known without a right to list Secrets or ConfigMaps.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sentinel.engine.run import Tools
from sentinel.errors import SentinelError
from sentinel.kube.resources import CONFIG_MAPS, IMAGE_COMMITS, PODS, SECRETS, Resource
from sentinel.plan.names import (
    ATTEMPT_LABEL,
    BUILD_LABEL,
    MANAGED_BY,
    MANAGED_BY_VALUE,
    UID_LABEL,
    commit_name,
    pod_name,
    pull_secret_name,
    steps_name,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """Whose objects they are. `number` is 0 for a Build that had no attempt yet."""

    namespace: str
    build: str
    uid: str
    number: int

    @property
    def pod(self) -> str:
        return pod_name(build=self.build, uid=self.uid, attempt=self.number)

    @property
    def steps(self) -> str:
        return steps_name(build=self.build, uid=self.uid, attempt=self.number)

    @property
    def commit(self) -> str:
        return commit_name(build=self.build, uid=self.uid, attempt=self.number)


async def remove_leftovers(tools: Tools, of: Attempt) -> None:
    """Delete what an attempt of a Build that is gone may have made; what is gone already is no error."""
    names: list[tuple[Resource, str]] = [(SECRETS, pull_secret_name(build=of.build, uid=of.uid))]
    if of.number:
        names += [(PODS, of.pod), (CONFIG_MAPS, of.steps), (IMAGE_COMMITS, of.commit)]
    for resource, name in names:
        try:
            await tools.kube.delete(resource, namespace=of.namespace, name=name)
        except SentinelError as e:
            # The next resync tries again, or the namespace is going as well.
            log.info("%s %s/%s is left behind: %s", resource.plural, of.namespace, name, e.message)


async def find_made(tools: Tools, *, namespace: str | None) -> list[dict[str, Any]]:
    """The metadata of all pods and ImageCommits that builds have made, in one namespace or in all."""
    found: list[dict[str, Any]] = []
    for resource in (PODS, IMAGE_COMMITS):
        async for raw in tools.kube.each(
            resource, namespace=namespace, labels=f"{MANAGED_BY}={MANAGED_BY_VALUE}"
        ):
            found.append(raw["metadata"])
    return found


async def remove_orphans(
    tools: Tools, made: Collection[dict[str, Any]], *, builds: Collection[str]
) -> None:
    """Delete those of `made` whose Build is not among the uids `builds`, and what belongs to them.

    `made` must have been listed before `builds`: a Build exists before its pod.
    """
    orphans: dict[Attempt, None] = {}
    for metadata in made:
        labels = metadata.get("labels") or {}
        try:
            of = Attempt(
                metadata["namespace"],
                labels[BUILD_LABEL],
                labels[UID_LABEL],
                int(labels[ATTEMPT_LABEL]),
            )
        except (KeyError, ValueError):
            continue
        # Labels are anybody's to write: what does not have the name of ours is not ours.
        if of.uid not in builds and metadata["name"] in (of.pod, of.commit):
            orphans[of] = None
    for of in orphans:
        log.info("Build %s/%s (%s) is gone: deleting what it left", of.namespace, of.build, of.uid)
        await remove_leftovers(tools, of)
