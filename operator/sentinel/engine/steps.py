"""Stage 6 for steps: their files come into the pod.

The resolver has fetched a step's archive and read its manifest before there was a Plan, and so the pod gets exactly the
bytes that were checked, without a way to the registry and without its token. They travel in a ConfigMap of the attempt;
what is too large for one lies in the object store, under its digest, and the ConfigMap has its URL.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.create import create
from sentinel.engine.lookup import Lookup
from sentinel.errors import UserError
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import CONFIG_MAPS
from sentinel.plan.keys import USED_AGAIN, step_archive
from sentinel.plan.model import PlanStep
from sentinel.plan.pod import owner_reference
from sentinel.plan.seal import check_object, sign_object
from sentinel.resolver.messages import StepWanted

log = logging.getLogger(__name__)

INLINE_BYTES = 900 * 1024
"""Archives in one ConfigMap, which the API server takes up to 1 MiB."""


async def deliver_steps(attempt: Attempt) -> None:
    """Put the archives of the attempt's steps where its pod looks for them. Doing it again changes nothing.

    Raises UserError StepInvalid where a step is not any more what the Plan says, or is too large without a store.
    """
    wanted = {step.digest: step for step in attempt.plan.archived_steps}
    if not wanted:
        return
    packed = await asyncio.gather(*(_packed(attempt, step) for step in wanted.values()))
    inline, large = _divide(dict(zip(wanted, packed, strict=True)))
    if large and attempt.tools.store is None:
        sizes = {wanted[digest]: len(data) // 1024 for digest, data in large.items()}
        names = ", ".join(f"{step.owner}/{step.name} ({size} KiB)" for step, size in sizes.items())
        raise UserError(
            f"steps are too large: {names}. Without an object store those of a build may have "
            f"{INLINE_BYTES // 1024} KiB together, packed: set store.bucket or store.volume of the chart, or "
            "use smaller steps",
            reason=Reason.STEP_INVALID,
        )
    body = {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": "ConfigMap",
        "metadata": {
            "name": attempt.id.steps,
            "namespace": attempt.plan.namespace,
            "labels": attempt.id.labels,
            "ownerReferences": [owner_reference(attempt.build)],
        },
        "immutable": True,
        "binaryData": {digest: base64.b64encode(data).decode() for digest, data in inline.items()},
        "data": {
            f"{digest}.url": await _stored(attempt, digest, data) for digest, data in large.items()
        },
    }
    body = sign_object(body, identity=attempt.id, keys=attempt.tools.keys)
    try:
        await create(attempt.run, CONFIG_MAPS, body, within=attempt.plan.pending_timeout)
    except AlreadyExists:
        await _replace(attempt, body)


async def _replace(attempt: Attempt, body: dict[str, Any]) -> None:
    """An operator that died between this ConfigMap and its pod may have planned with other archives than we do.

    Raises NotVerified where the ConfigMap is not the operator's: names are predictable.
    """
    kube, name = attempt.tools.kube, body["metadata"]["name"]
    old = await kube.get(CONFIG_MAPS, namespace=attempt.plan.namespace, name=name)
    check_object(old, kind="ConfigMap", identity=attempt.id, keys=attempt.tools.keys)
    if _keys(old) >= _keys(body):
        return
    await kube.delete(
        CONFIG_MAPS, namespace=attempt.plan.namespace, name=name, uid=old["metadata"]["uid"]
    )
    await create(attempt.run, CONFIG_MAPS, body, within=attempt.plan.pending_timeout)


def _keys(config_map: dict[str, Any]) -> set[str]:
    return {*(config_map.get("binaryData") or {}), *(config_map.get("data") or {})}


async def _packed(attempt: Attempt, step: PlanStep) -> bytes:
    """The archive that the Plan was made with: from the cache, or from where it was found."""
    archive = await attempt.tools.shelf.archive(step.digest)
    if archive is None:
        run = attempt.run
        lookup = Lookup(build=run.build, tools=run.tools, references=run.references)
        wanted = StepWanted(
            identifier=f"{step.owner}/{step.name}",
            owner=step.owner,
            name=step.name,
            version=step.version or "*",
            url=step.url,
        )
        found = await lookup.find_step(wanted, source=attempt.plan.source)
        archive = await attempt.tools.shelf.archive(step.digest)
        if found.digest != step.digest or archive is None:
            raise UserError(
                f"step {step.owner}/{step.name} was published again while the build ran: its files are not those that "
                "the build was planned with. Submit the Build again",
                reason=Reason.STEP_INVALID,
            )
    return await asyncio.to_thread(archive.read_bytes)


def _divide(packed: dict[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Those that fit into a ConfigMap, the small ones first, and the others; by digest."""
    inline: dict[str, bytes] = {}
    large: dict[str, bytes] = {}
    room = INLINE_BYTES
    for digest, data in sorted(packed.items(), key=lambda item: len(item[1])):
        (inline if len(data) <= room else large)[digest] = data
        room -= len(data)
    return inline, large


async def _stored(attempt: Attempt, digest: str, data: bytes) -> str:
    """A URL of the archive in the object store, where it is put if no build before had it."""
    store = attempt.tools.store
    assert store is not None  # noqa: S101 - deliver_steps has looked
    key = step_archive(attempt.tools.settings.store.prefix, digest)
    there = await store.head(key)
    if there is None or there.is_older(USED_AGAIN, now=attempt.tools.clock.now()):
        # Its age is then that of its last use, which `sentinel prune` goes by.
        await store.put(key, data)
    return store.presign_get(key)
