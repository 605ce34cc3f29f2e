"""What a Build that is gone may leave behind, and how it goes.

Everything that a build makes is owned by it, and the cluster deletes it with its owner. Not so after `kubectl delete
--cascade=orphan`: then the owner references are taken off, and a pod would run on until its deadline. Names are
functions of the Build and the attempt, so what is left is known without a right to list Secrets or ConfigMaps.

Tenants can write labels and names, so only what is signed is deleted. ImageCommits are not signed: no one else may
create one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from sentinel.engine.builder import BUILDERS
from sentinel.engine.ours import is_signed
from sentinel.engine.run import Tools
from sentinel.errors import NotVerified, SentinelError
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import CONFIG_MAPS, IMAGE_COMMITS, PODS, SECRETS, Resource
from sentinel.plan.names import (
    MANAGED_BY,
    MANAGED_BY_VALUE,
    UID_LABEL,
    AttemptId,
    labelled,
    of_instance,
    sealed_plan,
)
from sentinel.plan.seal import check_object, open_plan

log = logging.getLogger(__name__)


async def remove_leftovers(tools: Tools, of: AttemptId) -> None:
    """Delete what an attempt of a Build that is gone may have made; what is gone already is no error."""
    names: list[tuple[Resource, str]] = [(SECRETS, of.pull_secret)]
    if of.attempt:
        names += [
            (SECRETS, of.cache),
            (SECRETS, of.outputs),
            (PODS, of.pod),
            (CONFIG_MAPS, of.steps),
            (IMAGE_COMMITS, of.commit),
        ]
    for resource, name in names:
        try:
            await delete_signed(tools, resource, of, name)
        except SentinelError as e:
            # The next resync tries again, or the namespace is going as well.
            log.info("%s %s/%s is left behind: %s", resource.plural, of.namespace, name, e.message)


async def delete_signed(tools: Tools, resource: Resource, of: AttemptId, name: str) -> None:
    """Delete an object that we made for an attempt, if it is there. Raises NotVerified for one that we did not make."""
    try:
        raw = await tools.kube.get(resource, namespace=of.namespace, name=name)
        _check_signature(tools, resource, raw, of)
        uid = raw["metadata"]["uid"]
        await tools.kube.delete(resource, namespace=of.namespace, name=name, uid=uid)
    except NotFound:
        return


async def drop(tools: Tools, resource: Resource, of: AttemptId, name: str) -> None:
    """As `delete_signed`; what we did not make is left alone."""
    try:
        await delete_signed(tools, resource, of, name)
    except NotVerified as e:
        log.info("build %s/%s: %s", of.namespace, of.build, e.message)


def _check_signature(tools: Tools, resource: Resource, raw: dict[str, Any], of: AttemptId) -> None:
    """Raise NotVerified for what was not made by us for that attempt."""
    if resource is PODS:
        open_plan(sealed_plan(raw), identity=of, keys=tools.keys)
    elif resource is CONFIG_MAPS:
        check_object(raw, kind="ConfigMap", identity=of, keys=tools.keys)
    elif resource is SECRETS:
        check_object(raw, kind="Secret", identity=of.of_build, keys=tools.keys)


async def find_made(tools: Tools, *, namespace: str | None) -> list[dict[str, Any]]:
    """The metadata of all pods and ImageCommits that builds have made, in one namespace or in all."""
    found: list[dict[str, Any]] = []
    ours = f"{MANAGED_BY}={MANAGED_BY_VALUE}"
    for resource in (PODS, IMAGE_COMMITS):
        async for raw in tools.kube.each(
            resource,
            namespace=namespace,
            # A pod is ours by its signature.
            labels=of_instance(tools.settings.instance, ours)
            if resource is IMAGE_COMMITS
            else ours,
            metadata_only=True,
        ):
            if resource is IMAGE_COMMITS or is_signed(raw, keys=tools.keys):
                found.append(raw["metadata"])
    return found


async def remove_orphans(
    tools: Tools, made: Collection[dict[str, Any]], *, builds: Collection[str]
) -> None:
    """Delete those of `made` whose Build is not among the uids `builds`, and what belongs to them.

    `made` must have been listed before `builds`: a Build exists before its pod.
    """
    orphans: dict[AttemptId, None] = {}
    for metadata in made:
        try:
            of = labelled(metadata)
        except (LookupError, ValueError):
            continue
        if of.uid not in builds and metadata["name"] in (of.pod, of.commit):
            orphans[of] = None
    for of in orphans:
        log.info("Build %s/%s (%s) is gone: deleting what it left", of.namespace, of.build, of.uid)
        await remove_leftovers(tools, of)


async def find_builders(tools: Tools) -> list[dict[str, Any]]:
    """The metadata of the pods that build images. They are in the release's namespace, where no Build can own them.

    Also without engine.buildkit: it may have been set before.
    """
    settings = tools.settings
    try:
        return [
            raw["metadata"]
            async for raw in tools.kube.each(
                PODS, namespace=settings.pod_namespace, labels=BUILDERS, metadata_only=True
            )
        ]
    except Forbidden:
        # Without BuildKit an operator of some namespaces has no right to the pods of the release's own.
        if settings.engine.buildkit.address:
            raise
        return []


async def remove_builders(
    tools: Tools, builders: Collection[dict[str, Any]], *, builds: Collection[str]
) -> None:
    """Delete those of `builders` whose Build has ended or is gone: it is not among the uids `builds`.

    `builders` must have been listed before `builds`, as for `remove_orphans`.
    """
    for metadata in builders:
        if (metadata.get("labels") or {}).get(UID_LABEL) in builds:
            continue
        log.info("pod %s builds an image for a Build that has ended: deleting it", metadata["name"])
        try:
            await tools.kube.delete(
                PODS,
                namespace=metadata["namespace"],
                name=metadata["name"],
                uid=metadata["uid"],
            )
        except SentinelError as e:
            log.info("pod %s is left behind: %s", metadata["name"], e.message)
