"""What a Build that is gone may leave behind, and how it goes.

Everything that a build makes is owned by it, and the cluster deletes it with its owner. Not so after `kubectl delete
--cascade=orphan`: then the owner references are taken off, and a pod would run on until its deadline. Names are
functions of the Build and the attempt, so what is left is known without a right to list Secrets or ConfigMaps.

Labels and names are anybody's to write, so only what we signed is deleted. ImageCommits are not signed: nobody else may
create one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from sentinel.engine.ours import NO_ATTEMPT, is_signed, sealed_plan
from sentinel.engine.run import Tools
from sentinel.errors import SentinelError
from sentinel.kube.errors import NotFound
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
from sentinel.plan.seal import Identity, check_object, open_plan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """Whose objects they are. `number` is 0 for a Build that had no attempt yet."""

    namespace: str
    build: str
    uid: str
    number: int

    @property
    def identity(self) -> Identity:
        """What its objects are signed for."""
        return Identity(self.namespace, self.build, self.uid, self.number)

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
            raw = await tools.kube.get(resource, namespace=of.namespace, name=name)
            _check_signature(tools, resource, raw, of)
            uid = raw["metadata"]["uid"]
            await tools.kube.delete(resource, namespace=of.namespace, name=name, uid=uid)
        except NotFound:
            continue
        except SentinelError as e:
            # The next resync tries again, or the namespace is going as well.
            log.info("%s %s/%s is left behind: %s", resource.plural, of.namespace, name, e.message)


def _check_signature(tools: Tools, resource: Resource, raw: dict[str, Any], of: Attempt) -> None:
    """Raise NotVerified for what was not made by us for that attempt."""
    if resource is PODS:
        open_plan(sealed_plan(raw), identity=of.identity, keys=tools.keys)
    elif resource is CONFIG_MAPS:
        check_object(raw, kind="ConfigMap", identity=of.identity, keys=tools.keys)
    elif resource is SECRETS:
        own = replace(of.identity, attempt=NO_ATTEMPT)
        check_object(raw, kind="Secret", identity=own, keys=tools.keys)


async def find_made(tools: Tools, *, namespace: str | None) -> list[dict[str, Any]]:
    """The metadata of all pods and ImageCommits that builds have made, in one namespace or in all."""
    found: list[dict[str, Any]] = []
    for resource in (PODS, IMAGE_COMMITS):
        async for raw in tools.kube.each(
            resource, namespace=namespace, labels=f"{MANAGED_BY}={MANAGED_BY_VALUE}"
        ):
            if resource is IMAGE_COMMITS or is_signed(raw, keys=tools.keys):
                found.append(raw["metadata"])
    return found


def _attempt_of(metadata: dict[str, Any]) -> Attempt:
    """Whose an object says it is, by its labels. Raises LookupError or ValueError where it says nothing."""
    labels = metadata.get("labels") or {}
    return Attempt(
        metadata["namespace"],
        labels[BUILD_LABEL],
        labels[UID_LABEL],
        int(labels[ATTEMPT_LABEL]),
    )


async def remove_orphans(
    tools: Tools, made: Collection[dict[str, Any]], *, builds: Collection[str]
) -> None:
    """Delete those of `made` whose Build is not among the uids `builds`, and what belongs to them.

    `made` must have been listed before `builds`: a Build exists before its pod.
    """
    orphans: dict[Attempt, None] = {}
    for metadata in made:
        try:
            of = _attempt_of(metadata)
        except (LookupError, ValueError):
            continue
        if of.uid not in builds and metadata["name"] in (of.pod, of.commit):
            orphans[of] = None
    for of in orphans:
        log.info("Build %s/%s (%s) is gone: deleting what it left", of.namespace, of.build, of.uid)
        await remove_leftovers(tools, of)
