"""Which images a pipeline wants, before anybody has asked a registry for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sentinel.api.reasons import Reason
from sentinel.config.model import Box, Config, Pipeline
from sentinel.errors import UserError
from sentinel.plan.budget import Budget
from sentinel.plan.interpolate import interpolate
from sentinel.plan.logins import with_registry

SERVICES_LIMIT = 32
"""Services of one pipeline: each is a container of the pod, and gets variables of all before it."""


@dataclass(frozen=True, kw_only=True)
class WantedImages:
    """Box and services that apply, variables in their ids replaced; `box.image` is the reference to look up.

    `public` are the variables that were there to replace them with.
    """

    box: Box
    services: tuple[Box, ...]
    public: Mapping[str, str] = field(default_factory=dict)


def wanted_images(
    config: Config,
    pipeline: Pipeline,
    *,
    public: Mapping[str, str],
    hidden: frozenset[str] = frozenset(),
    budget: Budget | None = None,
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
    if len(services) > SERVICES_LIMIT:
        raise UserError(
            f"pipeline {pipeline.name} has {len(services)} services; at most {SERVICES_LIMIT} can run beside a box",
            reason=Reason.CONFIG_INVALID,
        )
    budget = budget or Budget()
    wanted = WantedImages(
        box=_interpolated(box, "box", public, hidden, budget),
        services=tuple(_interpolated(each, "service", public, hidden, budget) for each in services),
        public=public,
    )
    seen: dict[str, Box] = {}
    for service in wanted.services:
        if not re.fullmatch(r"[^\s#\x00-\x1f\x7f]{1,253}", service.alias):
            raise UserError(
                f"{service.alias!r} on line {service.line} of wercker.yml cannot be the name of a service: it has "
                "a space, a # or a control character",
                reason=Reason.CONFIG_INVALID,
            )
        other = seen.setdefault(service.alias, service)
        if other is not service:
            raise UserError(
                f"two services are called {service.alias} (lines {other.line} and {service.line} of wercker.yml): "
                "give one of them a name of its own with name:",
                reason=Reason.CONFIG_INVALID,
            )
    return wanted


def _interpolated(
    box: Box, what: str, public: Mapping[str, str], hidden: frozenset[str], budget: Budget
) -> Box:
    def value(text: str, field: str) -> str:
        where = f"{field} of {what} {box.id}"
        return interpolate(text, public=public, hidden=hidden, where=where, budget=budget)

    # The other keys of a login may come from Secrets, and are not needed to name the image.
    registry = [pair for pair in box.auth if pair[0] in ("registry", "azure-login-server")]
    result = replace(
        box,
        id=with_registry(value(box.id, "id"), [(key, value(text, key)) for key, text in registry]),
        tag=value(box.tag, "tag"),
        user=value(box.user, "user"),
        name=value(box.name, "name"),
    )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", result.image):
        raise UserError(
            f"{result.image!r} on line {box.line} of wercker.yml cannot be the name of an image"
            + (f" ({box.image} with its variables replaced)" if result.image != box.image else ""),
            reason=Reason.INVALID_IMAGE_NAME,
        )
    return result
