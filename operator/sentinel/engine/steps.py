"""Stages 4 and 6 for steps: each one that a pipeline names exists, and its files come into the pod.

The operator fetches a step's archive itself. It must read the manifest before there is a Plan, and so the pod gets
exactly the bytes that were checked, without a way to the registry and without its token. They travel in a ConfigMap
of the attempt; what is too large for one lies in the object store, under its digest, and the ConfigMap says where.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Sequence

from sentinel.api.reasons import Reason
from sentinel.config.model import Step
from sentinel.engine.run import Run
from sentinel.errors import UserError
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import CONFIG_MAPS
from sentinel.plan.keys import step_archive
from sentinel.plan.model import Plan, PlanStep, StepFacts
from sentinel.plan.names import labels, steps_name
from sentinel.plan.pod import archived_steps, owner_reference
from sentinel.source.steps import FoundStep, WantedStep, find_all

INLINE_BYTES = 900 * 1024
"""Archives in one ConfigMap, which the API server takes up to 1 MiB."""


async def find_steps(run: Run, steps: Sequence[Step]) -> dict[str, StepFacts]:
    """What a registry has for each step that is no script, by identifier. Raises UserError with all that are missing."""
    wanted = {step.identifier: _wanted(step) for step in steps if step.kind == "registry"}
    found = await find_all(run.tools.steps, list(wanted.values()))
    return {name: _facts(each) for name, each in zip(wanted, found, strict=True)}


async def deliver_steps(run: Run, plan: Plan) -> None:
    """Put the archives of the attempt's steps where its pod looks for them. Doing it again changes nothing.

    Raises UserError StepInvalid where a step is not any more what the Plan says, or is too large without a store.
    """
    wanted = {step.digest: step for step in archived_steps(plan)}
    if not wanted:
        return
    found = await asyncio.gather(*(_same(run, step) for step in wanted.values()))
    inline, large = _divide(found)
    if large and run.tools.store is None:
        names = ", ".join(f"{each.owner}/{each.name} ({each.size // 1024} KiB)" for each in large)
        raise UserError(
            f"steps are too large: {names}. Without an object store those of a build may have "
            f"{INLINE_BYTES // 1024} KiB together, packed: set store.bucket of the operator, or use smaller steps",
            reason=Reason.STEP_INVALID,
        )
    body = {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": "ConfigMap",
        "metadata": {
            "name": steps_name(build=plan.build, uid=plan.uid, attempt=plan.attempt),
            "namespace": plan.namespace,
            "labels": labels(build=plan.build, uid=plan.uid, attempt=plan.attempt),
            "ownerReferences": [owner_reference(run.build)],
        },
        "immutable": True,
        "binaryData": {
            each.digest: base64.b64encode(each.archive.read_bytes()).decode() for each in inline
        },
        "data": {f"{each.digest}.url": await _stored(run, each) for each in large},
    }
    try:
        await run.tools.kube.create(CONFIG_MAPS, body, namespace=plan.namespace)
    except AlreadyExists:
        return


def _wanted(step: Step) -> WantedStep:
    return WantedStep(owner=step.owner, name=step.name, version=step.version, url=step.url)


def _facts(found: FoundStep) -> StepFacts:
    options = found.manifest.properties
    return StepFacts(
        version=found.version,
        digest=found.digest,
        defaults=tuple((each.name, each.default or "") for each in options),
        required=frozenset(
            each.name for each in options if each.required and each.default is None
        ),
    )


async def _same(run: Run, step: PlanStep) -> FoundStep:
    """The step that the Plan was made with: from the cache, or from the registry again."""
    found = await run.tools.steps.find(
        WantedStep(owner=step.owner, name=step.name, version=step.version or "*", url=step.url)
    )
    if found.digest != step.digest:
        raise UserError(
            f"step {step.owner}/{step.name}@{step.version} was published anew while the build ran: its files are not "
            "those that the build was planned with. Submit the Build again",
            reason=Reason.STEP_INVALID,
        )
    return found


def _divide(found: Iterable[FoundStep]) -> tuple[list[FoundStep], list[FoundStep]]:
    """Those that fit into a ConfigMap, the small ones first, and the others."""
    inline: list[FoundStep] = []
    large: list[FoundStep] = []
    room = INLINE_BYTES
    for each in sorted(found, key=lambda found: found.size):
        (inline if each.size <= room else large).append(each)
        room -= each.size
    return inline, large


async def _stored(run: Run, found: FoundStep) -> str:
    """A URL of the archive in the object store, where it is put if no build before had it."""
    store = run.tools.store
    assert store is not None  # noqa: S101 - deliver_steps has looked
    key = step_archive(run.tools.settings.store.prefix, found.digest)
    if await store.head(key) is None:
        await store.put(key, await asyncio.to_thread(found.archive.read_bytes))
    return store.presign_get(key)
