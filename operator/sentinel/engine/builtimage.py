"""Images that earlier steps of a Build have built, by the name that `internal/docker-build` gave them."""

from __future__ import annotations

from dataclasses import replace

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.dockerbuild import built_tag
from sentinel.engine.lookup import Lookup
from sentinel.errors import UserError
from sentinel.image.reference import Reference, parse_repository
from sentinel.plan.internal import DOCKER_BUILD
from sentinel.plan.model import ImageFacts
from sentinel.plan.repository import own_repository


def built_reference(attempt: Attempt, name: str) -> Reference:
    """Where an image that a step calls `name` is kept, by its tag. Raises UserError InvalidSpec."""
    plan, settings = attempt.plan, attempt.tools.settings
    repository = own_repository(attempt.build, source=plan.source, settings=settings)
    target = parse_repository(repository, default_registry=settings.images.default_registry)
    return replace(target, tag=built_tag(uid=plan.uid, attempt=plan.attempt, name=name))


async def find_built(attempt: Attempt, name: str) -> ImageFacts | None:
    """The image that an earlier step built as `name`, by digest; None where none did.

    The digest is that which BuildKit reported. After a restart of the operator it is the one that the tag has, which
    only those can have changed who may push to the Build's repository. Raises UserError, InfrastructureError.
    """
    if not any(
        each.kind == "operator" and each.name == DOCKER_BUILD for each in attempt.plan.steps
    ):
        return None
    reference = built_reference(attempt, name)
    if digest := attempt.run.built.get(name):
        reference = reference.pinned(digest)
    try:
        references = attempt.run.references
        keys = await references.push_keychain() + await references.keychain()
        lookup = Lookup(build=attempt.build, tools=attempt.tools, references=references)
        return await lookup.find_image(str(reference), keys=keys, source=attempt.plan.source)
    except UserError as e:
        if e.reason is Reason.IMAGE_NOT_FOUND and not digest:
            return None
        raise
