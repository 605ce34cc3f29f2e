"""Asking registries about images, for `sentinel check --images`: several at once, without a login, within a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.image.reference import parse_reference
from sentinel.plan.asked import Answer
from sentinel.registry import Patience, RegistryClient

AT_ONCE = 8
SECONDS = 30.0
"""For all that is asked about one image."""
MOST = 100
"""Images that are asked about."""

_PATIENCE = Patience(tries=2, connect_seconds=5.0, read_seconds=15.0)


def ask(images: Iterable[str], *, seconds: float = SECONDS) -> dict[str, Answer]:
    """What the registries answer, by image. An image that no answer came for in time has that for an answer."""
    return asyncio.run(_ask(list(dict.fromkeys(images))[:MOST], seconds=seconds))


async def _ask(images: list[str], *, seconds: float) -> dict[str, Answer]:
    places = asyncio.Semaphore(AT_ONCE)
    async with RegistryClient(patience=_PATIENCE) as client:

        async def one(image: str) -> Answer:
            async with places:
                return await _about(client, image, seconds=seconds)

        answers = await asyncio.gather(*map(one, images))
    return dict(zip(images, answers, strict=True))


async def _about(client: RegistryClient, image: str, *, seconds: float) -> Answer:
    try:
        async with asyncio.timeout(seconds):
            digest, platforms = await client.platforms(parse_reference(image))
    except TimeoutError:
        return Answer(
            reason=Reason.REGISTRY_UNAVAILABLE,
            message=f"the registry of {image} did not answer within {seconds:g} s",
        )
    except (UserError, InfrastructureError) as error:
        return Answer(reason=error.reason or Reason.REGISTRY_UNAVAILABLE, message=error.message)
    return Answer(digest=digest, platforms=platforms)
