"""Which images a pipeline wants, before anybody has asked a registry for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sentinel.api.reasons import Reason
from sentinel.config.model import Box, Config, Pipeline
from sentinel.errors import UserError
from sentinel.plan.environment import interpolate


@dataclass(frozen=True, kw_only=True)
class WantedImages:
    """Box and services that apply, variables in their ids replaced; `box.image` is the reference to look up."""

    box: Box
    services: tuple[Box, ...]


def wanted_images(
    config: Config,
    pipeline: Pipeline,
    *,
    public: Mapping[str, str],
    hidden: frozenset[str] = frozenset(),
) -> WantedImages:
    """What `pipeline` runs on: its own box and services, else the file's (§1.4, §1.5). No merge between the two.

    `public` and `hidden` are for `$NAME` in ids and tags (see `interpolate`). Raises UserError ConfigInvalid without
    a box or for two services of one alias, InvalidImageName for a reference that no registry can have.
    """
    box = pipeline.box or config.box
    if box is None:
        raise UserError(
            f"neither pipeline {pipeline.name} nor the file says in which box to run: add box: at the left margin, "
            "e.g. box: debian:12",
            reason=Reason.CONFIG_INVALID,
        )
    services = config.services if pipeline.services is None else pipeline.services
    wanted = WantedImages(
        box=_interpolated(box, "box", public, hidden),
        services=tuple(_interpolated(each, "service", public, hidden) for each in services),
    )
    seen: dict[str, Box] = {}
    for service in wanted.services:
        other = seen.setdefault(service.alias, service)
        if other is not service:
            raise UserError(
                f"two services are called {service.alias} (lines {other.line} and {service.line} of wercker.yml): "
                "give one of them a name of its own with name:",
                reason=Reason.CONFIG_INVALID,
            )
    return wanted


def _interpolated(box: Box, what: str, public: Mapping[str, str], hidden: frozenset[str]) -> Box:
    def value(text: str, field: str) -> str:
        return interpolate(text, public=public, hidden=hidden, where=f"{field} of {what} {box.id}")

    result = replace(box, id=value(box.id, "id"), tag=value(box.tag, "tag"))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", result.image):
        raise UserError(
            f"{result.image!r} on line {box.line} of wercker.yml cannot be the name of an image"
            + (f" ({box.image} with its variables replaced)" if result.image != box.image else ""),
            reason=Reason.INVALID_IMAGE_NAME,
        )
    return result
