"""Images in the Docker Engine: there already, or pulled; and what their configs are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from docker import errors

from sentinel.api.reasons import Reason
from sentinel.config.findings import visible
from sentinel.config.model import Box
from sentinel.errors import InfrastructureError, UserError
from sentinel.image.dockerconfig import Credential
from sentinel.image.reference import parse_reference
from sentinel.local.docker import Docker
from sentinel.plan.logins import login_of
from sentinel.plan.model import ImageFacts


async def find_image(
    docker: Docker,
    box: Box,
    *,
    default_registry: str,
    values: Mapping[str, str],
    pull: bool,
    note: Callable[[str], None],
) -> ImageFacts:
    """The image of a box or service. Pulled where the engine does not have it, or always with `pull`.

    `values` are the build's variables, which a login in wercker.yml is made of. Raises UserError ImageNotFound,
    ImageAuthFailed; InfrastructureError.
    """
    reference = parse_reference(box.image, default_registry=default_registry)
    name = str(reference if reference.digest or reference.tag else reference.tagged("latest"))
    try:
        if pull:
            raise errors.ImageNotFound("pulled again")
        raw = await docker.do(docker.api.inspect_image, name)
    except errors.NotFound:
        note(f"pulling {visible(name)}")
        await _pull(docker, name, login_of(box, values=values))
        raw = await docker.do(docker.api.inspect_image, name)
    return _facts(box.image, raw)


async def _pull(docker: Docker, name: str, login: Credential | None) -> None:
    known = {"username": login.username, "password": login.password} if login else None

    stop = threading.Event()

    def pull() -> str:
        last = ""
        for line in docker.api.pull(name, stream=True, decode=True, auth_config=known):
            last = str(line.get("error") or last)
            if stop.is_set():
                break
        return last

    pulling = asyncio.ensure_future(docker.do(pull))
    try:
        problem = await asyncio.shield(pulling)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(pulling, return_exceptions=True)
        raise
    except errors.APIError as error:
        problem = str(error.explanation or error)
    except InfrastructureError as error:
        raise InfrastructureError(
            f"image {visible(name)} cannot be pulled: {error.message}",
            reason=Reason.REGISTRY_UNAVAILABLE,
        ) from error
    if problem:
        denied = any(word in problem for word in ("denied", "unauthorized", "authentication"))
        raise UserError(
            f"image {visible(name)} cannot be pulled: {visible(problem)}. "
            "`docker login` keeps credentials that are used here too",
            reason=Reason.IMAGE_AUTH_FAILED if denied else Reason.IMAGE_NOT_FOUND,
        )


def _facts(name: str, raw: dict[str, Any]) -> ImageFacts:
    config = raw.get("Config") or {}
    return ImageFacts(
        name=name,
        reference=raw["Id"],
        env=tuple(_pairs(config.get("Env") or ())),
        ports=tuple(sorted(config.get("ExposedPorts") or ())),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        user=config.get("User") or "",
        working_dir=config.get("WorkingDir") or "",
        volumes=tuple(sorted(config.get("Volumes") or ())),
    )


def _pairs(env: Iterable[str]) -> Iterator[tuple[str, str]]:
    for each in env:
        name, equals, value = each.partition("=")
        if equals:
            yield name, value
