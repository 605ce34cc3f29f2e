"""Reading the pushed image back from its registry before the agent's report counts. The resolver reads it.

Not here: the comparison itself (`registry/pushed.py`).
"""

from __future__ import annotations

from sentinel.api.imagecommit import ImageCommit
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.grants import pull_secrets
from sentinel.errors import InfrastructureError, UserError
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import NODES
from sentinel.resolver.logins import logins_of
from sentinel.resolver.messages import PushedRequest

Problem = tuple[Reason, str]
"""Why there is no image: a reason and a message."""


async def read_back(attempt: Attempt, ended: ImageCommit, *, wanted_by: str) -> Problem | None:
    """Compare the image that the agent reported with the one in the registry; None if they are the same."""
    reason = Reason.COMMIT_FAILED
    try:
        why = await _compare(attempt, ended, wanted_by=wanted_by)
    except InfrastructureError as e:
        reason, why = e.reason or reason, e.message
    except UserError as e:
        why = e.message
    if not why:
        return None
    return (
        reason,
        f"the agent on node {ended.spec.node_name} reported image {ended.status.digest[:80]!r}, which could not be "
        f"verified in the registry: {why}",
    )


async def _compare(attempt: Attempt, ended: ImageCommit, *, wanted_by: str) -> str:
    """How the image differs from the report, "" where it does not."""
    settings, references = attempt.tools.settings.images, attempt.run.references
    ref = ended.spec.push_secret_ref
    push = await references.named_keychain([ref.name] if ref else [], wanted_by=wanted_by)
    pull = await references.named_keychain(
        pull_secrets(attempt), wanted_by="spec.image.pullSecretRefs"
    )
    onto = ended.status.onto
    if onto and onto != ended.spec.previous:
        return f"its layer is on top of {onto[:80]!r}, which was not requested"
    base, readers = attempt.plan.box.reference, pull
    if ended.spec.scratch_from:
        base = ""
    elif onto:
        base, readers = f"{ended.spec.repository}@{onto}", push
    request = PushedRequest(
        repository=ended.spec.repository,
        digest=ended.status.digest,
        layer=ended.status.layer_digest,
        base=base,
        architecture=await _architecture(attempt, ended.spec.node_name),
        push_logins=logins_of(push),
        pull_logins=logins_of(readers),
        insecure_registries=tuple(settings.insecure_registries),
        default_registry=settings.default_registry,
        registries=attempt.tools.settings.registry_policy().to_json(),
        registries_ca=attempt.tools.settings.ca,
    )
    resolver = attempt.tools.resolver
    async with resolver.session(
        namespace=attempt.plan.namespace, build=attempt.plan.build
    ) as session:
        return await session.pushed(request)


async def _architecture(attempt: Attempt, node: str) -> str:
    """The processor of a node, as image indexes name it."""
    try:
        raw = await attempt.tools.kube.get(NODES, name=node)
    except NotFound:
        return "amd64"
    return str(raw["status"].get("nodeInfo", {}).get("architecture") or "amd64")
