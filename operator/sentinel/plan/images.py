"""Which images a pipeline wants, before a registry is asked for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sentinel.api.reasons import Reason
from sentinel.config.model import Box, Config, Pipeline
from sentinel.errors import UserError
from sentinel.plan.interpolate import Budget, interpolate
from sentinel.plan.logins import names_host, with_registry
from sentinel.plan.rewrite import Rewritten, is_classic, rewritten
from sentinel.settings.images import Rewrite

SERVICES_LIMIT = 32
"""Services of one pipeline: each is a container of the pod, and gets variables of all before it."""

_REGISTRY = ("registry", "azure-login-server", "aws-registry-id", "aws-region")
"""Keys of a login that name the registry, for an image that does not."""


@dataclass(frozen=True, kw_only=True)
class WantedImages:
    """Box and services that apply, variables in their ids replaced; `box.image` is the reference to look up.

    `public` are the variables that were there to replace them with. `exports` are for the box, from services that
    others stand in for; `notes` are about such.
    """

    box: Box
    services: tuple[Box, ...]
    exports: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    public: Mapping[str, str] = field(default_factory=dict)


def wanted_images(
    config: Config,
    pipeline: Pipeline,
    *,
    public: Mapping[str, str],
    hidden: frozenset[str] = frozenset(),
    budget: Budget | None = None,
    rules: Sequence[Rewrite] = (),
    defaults: bool = True,
    parent_image: str = "",
) -> WantedImages:
    """What `pipeline` runs on: its own box and services, else the file's. No merge between the two.

    `parent_image` comes before the file's box: a deploy runs in what its build has left. `public` and `hidden` are for
    `$NAME` in ids and tags (see `interpolate`), `rules` and `defaults` for those that are gone (see `rewrite`).
    Raises UserError ConfigInvalid without a box or for two services of one alias, InvalidImageName for a reference that
    no registry can have.
    """
    inherited = Box(id=parent_image) if parent_image else None
    box = pipeline.box or inherited or config.box
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

    def chosen(each: Box, what: str) -> Rewritten:
        named = _interpolated(each, what, public, hidden, budget)
        found = rewritten(named, what=what, pipeline=pipeline, rules=rules, defaults=defaults)
        _check_name(found.box, each, what)
        return found

    main, *beside = [chosen(box, "box"), *(chosen(each, "service") for each in services)]
    wanted = WantedImages(
        box=main.box,
        services=tuple(each.box for each in beside),
        exports=tuple(pair for each in beside for pair in each.exports),
        notes=tuple(dict.fromkeys(each.note for each in (main, *beside) if each.note)),
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
    keys = () if names_host(box.id) else _REGISTRY
    registry = [pair for pair in box.auth if pair[0] in keys]
    result = replace(
        box,
        id=with_registry(value(box.id, "id"), [(key, value(text, key)) for key, text in registry]),
        tag=value(box.tag, "tag"),
        user=value(box.user, "user"),
        name=value(box.name, "name"),
    )
    return result


def _check_name(box: Box, written: Box, what: str) -> None:
    if is_classic(box):
        raise UserError(
            f"{written.id} on line {written.line} of wercker.yml is a {what} of wercker before Docker images, and "
            "there is no rule for it: name an image, or add one to images.rewrite of the operator's settings",
            reason=Reason.CONFIG_INVALID,
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", box.image):
        replaced = (
            f" ({written.image} with its variables replaced)" if box.image != written.image else ""
        )
        parentless = (
            "; that variable is set for a Build whose spec.parent has pushed an image"
            if "WERCKER_LAST_BUILD_BOX" in written.image
            else ""
        )
        raise UserError(
            f"{box.image!r} on line {written.line} of wercker.yml cannot be the name of an image{replaced}{parentless}",
            reason=Reason.INVALID_IMAGE_NAME,
        )
