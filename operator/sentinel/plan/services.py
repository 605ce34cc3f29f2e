"""The services of a pipeline as containers that share one network with the box (wercker.md "Services").

What wercker kept apart by addresses is kept apart by ports here, so two services that listen on the same one are
refused before there is a pod.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Literal

from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.errors import UserError
from sentinel.plan.interpolate import Budget, interpolate, size_of
from sentinel.plan.links import Port, exposed, link_bytes, link_variables
from sentinel.plan.model import ImageFacts, PlanService
from sentinel.plan.names import container_name
from sentinel.plan.users import run_as

Pairs = tuple[tuple[str, str], ...]

PORTS_LIMIT = 256
"""Ports of one service, from its image and its `ports`."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def plan_services(
    boxes: Sequence[Box],
    facts: Sequence[ImageFacts],
    *,
    uid: str,
    public: Mapping[str, str],
    hidden: frozenset[str],
    budget: Budget | None = None,
) -> tuple[tuple[PlanService, ...], Pairs]:
    """Every service, and the link variables of all of them for the box, in the services' order.

    `boxes` are the services of wercker.yml, `facts` their images. A service also gets the link variables of those
    before it; they are not among its own P_ENV_ ones. All that is made counts against `budget` before it is made.
    Raises UserError PortConflict naming every clash, ConfigInvalid.
    """
    budget = budget or Budget()
    ports = ports_of(boxes, facts)
    services: list[PlanService] = []
    links: Pairs = ()
    for index, (box, image, its_ports) in enumerate(zip(boxes, facts, ports, strict=True), start=1):
        alias = box.alias
        own = _own_env(box, alias, public=public, hidden=hidden, budget=budget)
        whole = tuple(dict((*image.env, *own)).items())
        where = f"the variables of service {alias}"
        budget.take(sum(size_of(*pair) for pair in (*links, *image.env)), where=where)
        budget.take(link_bytes(alias=alias, ports=its_ports, env=whole), where=where)
        before = tuple(pair for pair in links if _IDENTIFIER.fullmatch(pair[0]))
        services.append(
            PlanService(
                alias=alias,
                container=container_name(alias=alias, index=index),
                image=image,
                # A name that stands twice would make the pod invalid.
                env=tuple(dict((*before, *own)).items()),
                cmd=words_of(box, "cmd"),
                entrypoint=words_of(box, "entrypoint"),
                ports=tuple(number for number, protocol in its_ports if protocol == "tcp"),
                user=run_as(box, image),
            )
        )
        links += link_variables(alias=alias, ports=its_ports, env=whole, uid=uid)
    return tuple(services), links


def ports_of(boxes: Sequence[Box], facts: Sequence[ImageFacts]) -> list[tuple[Port, ...]]:
    """The ports of every service: its image's EXPOSE and its own `ports`, each once, the lowest first.

    Two of one image cannot both listen where the image says. A service that was moved says so with `ports`: those are
    then believed against EXPOSE, but only for a port that another service has. Raises UserError PortConflict, and
    ConfigInvalid for a service with too many.
    """
    said = [exposed(ports=box.ports) for box in boxes]
    found = [exposed(image.ports, box.ports) for box, image in zip(boxes, facts, strict=True)]
    for box, ports in zip(boxes, found, strict=True):
        if len(ports) > PORTS_LIMIT:
            raise UserError(
                f"service {box.alias} exposes {len(ports)} ports; at most {PORTS_LIMIT} are supported",
                reason=Reason.CONFIG_INVALID,
            )
    clashes: list[str] = []
    for port in sorted({port for each in found for port in each}):
        there = [n for n, each in enumerate(found) if port in each]
        stay = [n for n in there if not said[n] or port in said[n]]
        if len(there) > 1:
            for n in set(there) - set(stay):
                found[n] = tuple(each for each in found[n] if each != port)
        if len(stay) > 1:
            clashes.append(_clash(port, [boxes[n] for n in stay], named=any(said[n] for n in stay)))
    if clashes:
        raise UserError(
            f"{'; '.join(clashes)}. All services of a build share one network: start one of them on another port (with "
            "cmd or env), and list the port that it then has under its ports:",
            reason=Reason.PORT_CONFLICT,
        )
    return found


def _clash(port: Port, boxes: Sequence[Box], *, named: bool) -> str:
    """One port that several services have, and how we know: what a cmd does to the port is not known here."""
    names = [
        f"{box.alias} (cmd: {box.cmd[:40]})" if box.cmd and not named else box.alias
        for box in boxes
    ]
    both = f"{', '.join(names[:-1])} and {names[-1]}"
    how = "listen on the same port" if named else "have images that expose the same port"
    return f"services {both} {how}, {port[0]}/{port[1]}"


def _own_env(
    box: Box, alias: str, *, public: Mapping[str, str], hidden: frozenset[str], budget: Budget
) -> Pairs:
    env: dict[str, str] = {}
    for name, value in box.env:
        if not _IDENTIFIER.fullmatch(name):
            raise UserError(
                f"env of service {alias} in wercker.yml has a variable {name!r}: names are letters, digits and "
                "underscores, not beginning with a digit",
                reason=Reason.CONFIG_INVALID,
            )
        env[name.upper()] = interpolate(
            value,
            public=public,
            hidden=hidden,
            where=f"env {name} of service {alias}",
            budget=budget,
        )
    return tuple(env.items())


def words_of(box: Box, field: Literal["cmd", "entrypoint"]) -> tuple[str, ...]:
    """The field's words, none where it is not set. Raises UserError ConfigInvalid where a quote is open."""
    try:
        return tuple(shlex.split(getattr(box, field)))
    except ValueError as error:
        raise UserError(
            f"{field} of {box.id} on line {box.line} of wercker.yml cannot be split into words: {error}. "
            "Check its quotes",
            reason=Reason.CONFIG_INVALID,
        ) from error
