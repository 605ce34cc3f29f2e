"""Where boxkit comes from on a user's machine: a file, or Sentinel's image in the Docker Engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from docker import errors

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError
from sentinel.local.docker import Docker
from sentinel.local.files import one_file

VARIABLE = "SENTINEL_BOXKIT"
IN_OUR_IMAGE = Path("/usr/local/bin/boxkit")
MOST_BYTES = 256 * 1024 * 1024


async def find_boxkit(
    docker: Docker, *, given: str, image: str, cache: Path, note: Callable[[str], None]
) -> Path:
    """The binary. In this order: the file `given`, /usr/local/bin/boxkit, which our image has, and that file out of
    `image`, which is copied to `cache` once for each version of it.

    Raises InfrastructureError that says what to set.
    """
    if (found := _here(given)) is not None:
        return found
    try:
        raw = await docker.do(docker.api.inspect_image, image)
    except errors.NotFound:
        note(f"pulling {image}, which has boxkit")
        raw = await _pulled(docker, image)
    return await docker.do(_copy_out, docker, raw["Id"], cache)


async def _pulled(docker: Docker, image: str) -> dict[str, str]:
    try:
        await docker.do(docker.api.pull, image)
        raw: dict[str, str] = await docker.do(docker.api.inspect_image, image)
    except errors.APIError as error:
        raise _missing(f"image {image} cannot be pulled: {error.explanation}") from error
    except InfrastructureError as error:
        raise _missing(f"image {image} cannot be pulled: {error.message}") from error
    return raw


def _here(given: str) -> Path | None:
    if given and not Path(given).is_file():
        raise _missing(f"there is no file {given}")
    return Path(given) if given else IN_OUR_IMAGE if IN_OUR_IMAGE.is_file() else None


def _copy_out(docker: Docker, image: str, cache: Path) -> Path:
    """boxkit out of our image, by its id: from a container that is never started. Once for each image."""
    kept = cache / image.partition(":")[2][:32]
    if kept.is_file():
        return kept
    made = docker.api.create_container(image, command=["boxkit"], entrypoint=["boxkit"])
    try:
        chunks, _ = docker.api.get_archive(made["Id"], str(IN_OUR_IMAGE))
        data = one_file(chunks, limit=MOST_BYTES)
    finally:
        with suppress(errors.APIError):
            docker.api.remove_container(made["Id"], force=True)
    cache.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(kept)
    return kept


def _missing(why: str) -> InfrastructureError:
    return InfrastructureError(
        f"boxkit, which runs the steps, was not found: {why}. Set SENTINEL_IMAGE to the image of your installation "
        f"(value image.repository of the chart), or {VARIABLE} to the file",
        reason=Reason.CONTAINER_CREATE_FAILED,
    )
