"""Which objects under a build's names are ours. Checked before anything is read from them or done to them.

Names are predictable, and labels, annotations and owner references can be written by everyone who may edit pods in the
namespace. So a pod is ours if our signature is on its plan, for exactly this attempt, and its uid is the one in the
Build's status, which only the operator writes. Where the status has no uid yet (an operator that ended between the
create and the write), the pod's spec must be the signed one as well: see `docs/design/2026-11-28-trust.md`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.board import Seen
from sentinel.engine.run import Run
from sentinel.errors import InternalError, NewerPlan, NotVerified, TransientError, UserError
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import PODS
from sentinel.plan.codec import decode
from sentinel.plan.derive import derive_again
from sentinel.plan.model import Plan
from sentinel.plan.names import (
    FINISHED_LABEL,
    MANAGED_BY,
    PLAN_ANNOTATION,
    labelled,
    sealed_plan,
)
from sentinel.plan.seal import PlanKeys, open_plan, pod_imprint


def is_signed(raw: dict[str, Any], *, keys: PlanKeys) -> bool:
    """Whether a pod carries a plan that we signed for the attempt its labels name; its uid is not looked at."""
    metadata = raw["metadata"]
    try:
        open_plan(sealed_plan(raw), identity=labelled(metadata), keys=keys)
    except (NotVerified, LookupError, ValueError):
        return False
    return True


def verified_plan(run: Run, raw: dict[str, Any], *, attempt: int) -> Plan:
    """The plan of a pod that is provably ours. Raises NotVerified, which says what was found, NewerPlan, and UserError
    for what the settings do not allow any more."""
    name, uid = raw["metadata"]["name"], str(raw["metadata"]["uid"])
    expected = run.pod_uid if run.writer.attempt == attempt else ""
    if expected and uid != expected:
        raise _refused(
            name, f"it has uid {uid}, and the operator created the one with uid {expected}"
        )
    text, then = sealed_plan(raw), _OURS if expected else _THEIRS
    if not text:
        raise _refused(name, "it has no plan of the operator's among its annotations", then=then)
    try:
        identity = run.id(attempt)
        payload, imprint = open_plan(text, identity=identity, keys=run.tools.keys)
        plan = decode(payload)
        if plan.attempt != attempt:
            raise NotVerified(f"its plan is for attempt {plan.attempt}")
        if not expected and raw["spec"].get("ephemeralContainers"):
            # internal/docker-run adds some, but no step of an attempt without a recorded uid has run.
            raise NotVerified("it has ephemeral containers, and none of its steps has run yet")
        if not expected and pod_imprint(raw["spec"], plan) != imprint:
            raise NotVerified(
                "its spec is not the one that was signed: the plan was copied from another pod"
            )
        return derive_again(plan, build=run.build, settings=run.tools.settings)
    except NotVerified as e:
        raise _refused(name, e.message, then=then) from e


async def find_pod(run: Run, attempt: int) -> dict[str, Any] | None:
    """The attempt's pod if it is there and ours, read from the server. Never raises for what is not ours."""
    namespace, name = run.id(attempt).key
    try:
        raw = await run.tools.kube.get(PODS, namespace=namespace, name=name)
    except NotFound:
        return None
    if run.pod_uid:
        # The uid alone decides here: a pod whose annotation was changed afterwards is still the one we made.
        return raw if raw["metadata"]["uid"] == run.pod_uid else None
    try:
        verified_plan(run, raw, attempt=attempt)
    except (NotVerified, NewerPlan, InternalError):
        return None
    except UserError:
        pass  # ours, with a plan that the settings do not allow any more
    return raw


def check_unchanged(attempt: Attempt, seen: Seen | None) -> None:
    """Raise NotVerified where our pod was replaced by another of its name, or its plan was changed."""
    if seen is None:
        return
    if not attempt.run.owns(seen):
        raise _refused(
            attempt.id.pod,
            f"it has uid {seen.uid}, and the operator created the one with uid {attempt.run.pod_uid}: "
            "the build's pod was deleted and replaced",
        )
    if not seen.deleted and sealed_plan(seen.raw) != attempt.sealed:
        raise _refused(
            attempt.id.pod,
            f"its annotation {PLAN_ANNOTATION} was changed while the build ran",
            then=_OURS,
        )


async def check_watched(attempt: Attempt, seen: Seen | None) -> None:
    """Raise NotVerified where our pod left the watch although it exists: its label was removed.

    To a watch by label that looks like a deletion. The build would end as PodDeleted, with a pod that runs on.
    """
    if seen is None or not seen.deleted or not attempt.run.owns(seen):
        return
    with suppress(TransientError):
        raw = await find_pod(attempt.run, attempt.plan.attempt)
        if raw is not None and not raw["metadata"].get("deletionTimestamp"):
            raise _refused(
                attempt.id.pod,
                f"its label {MANAGED_BY} or {FINISHED_LABEL} was changed while the build ran",
                then=_OURS,
            )


_THEIRS = (
    "Nothing was done to it. Delete it and submit the Build again; the audit log shows who wrote it"
)
_OURS = "It was stopped. Submit the Build again; the audit log shows who changed it"


def _refused(name: str, why: str, *, then: str = _THEIRS) -> NotVerified:
    return NotVerified(f"pod {name} is not verified: {why}. {then}", reason=Reason.NOT_VERIFIED)
