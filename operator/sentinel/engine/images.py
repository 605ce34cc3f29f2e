"""Stage 4: box and services exist, before anything runs, and what their images say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.engine.run import Run
from sentinel.engine.secrets import keychain
from sentinel.errors import UserError
from sentinel.plan.logins import Login, docker_config
from sentinel.plan.model import ImageFacts
from sentinel.registry.client import RegistryClient
from sentinel.registry.credentials import keychain_from_docker_config
from sentinel.registry.reference import parse_reference


async def check_images(
    run: Run, boxes: Sequence[Box], said: Mapping[str, Login]
) -> list[ImageFacts]:
    """The images of box and services, all asked for at once; every one that does not exist or is not allowed is named.

    `said` are the logins of wercker.yml, by `host/path`. Raises UserError, InfrastructureError.
    """
    if run.tools.settings.images.local:
        return [local_image(box.image) for box in boxes]
    credentials = await keychain(run)
    if said:
        credentials += keychain_from_docker_config(docker_config(said), source="wercker.yml")
    async with RegistryClient(
        credentials=credentials, insecure=run.tools.settings.images.insecure_registries
    ) as client:
        found = await asyncio.gather(
            *(_look_up(run, client, box.image) for box in boxes), return_exceptions=True
        )
    problems = [each for each in found if isinstance(each, UserError)]
    if problems:
        raise UserError(
            "\n".join(dict.fromkeys(each.message for each in problems)), reason=problems[0].reason
        )
    facts: list[ImageFacts] = []
    for each in found:
        if isinstance(each, BaseException):
            raise each
        facts.append(each)
    return facts


def local_image(name: str) -> ImageFacts:
    """An image that only the nodes know (`images.local`): nothing is said of it but its name."""
    return ImageFacts(name=name, reference=name)


async def _look_up(run: Run, client: RegistryClient, name: str) -> ImageFacts:
    settings = run.tools.settings.images
    reference = parse_reference(name, default_registry=settings.default_registry)
    allowed = settings.allowed_registries
    if allowed and reference.registry not in allowed:
        raise UserError(
            f"image {name!r} is on registry {reference.registry}, which this operator does not allow; it allows "
            + ", ".join(allowed),
            reason=Reason.REGISTRY_NOT_ALLOWED,
        )
    info = await client.look_up(reference)
    return ImageFacts(
        name=name,
        reference=str(replace(reference, tag="", digest=info.digest)),
        digest=info.digest,
        env=info.env,
        ports=info.ports,
        entrypoint=info.entrypoint,
        cmd=info.cmd,
        user=info.user,
        working_dir=info.working_dir,
    )
