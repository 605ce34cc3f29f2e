"""What a person should know of a build that runs all the same: said once, when its Plan stands.

Errors are not here: they are raised where they are found.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from sentinel.api.build import Build
from sentinel.config.model import Box
from sentinel.plan.facts import Facts
from sentinel.plan.generic import application_name
from sentinel.plan.images import WantedImages
from sentinel.plan.internal import about_internal
from sentinel.plan.links import exposed, link_prefix
from sentinel.plan.model import ImageFacts, Plan
from sentinel.plan.names import is_dns_name
from sentinel.plan.repository import repository_name
from sentinel.plan.users import is_read_only, is_root
from sentinel.text import count_of


def notices(facts: Facts, plan: Plan) -> tuple[str, ...]:
    """One sentence each, in a fixed order; `plan` was made of `facts`."""
    return (
        *plan.image_notes,
        *_about_pipeline(facts),
        *_about_box(facts, plan),
        *_about_services(facts, plan),
    )


def image_notes(wanted: WantedImages, facts: Sequence[ImageFacts]) -> tuple[str, ...]:
    """What runs instead of what wercker.yml names, and what a name that moves means today.

    `facts` are those of box and services, in their order. Ten years ago `node` was another image than today, and
    tomorrow it is one more.
    """
    moving = {
        note
        for box, image in zip((wanted.box, *wanted.services), facts, strict=True)
        if image.digest and (note := _about_tag(box.image, image.digest))
    }
    return (*wanted.notes, *sorted(moving))


def _about_tag(image: str, digest: str) -> str:
    _, colon, tag = image.rpartition("/")[2].partition(":")
    if "@" in image or tag not in ("", "latest"):
        return ""
    what = f"image {image} is" if colon else f"image {image} has no tag: it is {image}:latest,"
    return f"{what} today {digest}; name a version to keep it"


def _about_pipeline(facts: Facts) -> list[str]:
    pipeline, target = facts.pipeline, facts.build.spec.deploy_target
    found: list[str] = []
    if target and target not in pipeline.targets:
        known = ", ".join(pipeline.targets)
        found.append(
            f"pipeline {pipeline.name} has no target {target!r}, so its steps are run"
            + (f" (its targets: {known})" if known else "")
        )
    found += about_internal([step for _, step in facts.steps])
    if not any(phase == "main" for phase, _ in facts.steps):
        more = f"; it has targets: {', '.join(pipeline.targets)}" if pipeline.targets else ""
        found.append(f"pipeline {pipeline.name} has no steps to run{more}")
    return found


def _about_box(facts: Facts, plan: Plan) -> list[str]:
    build, box = facts.build, facts.images.box
    found: list[str] = []
    user = plan.box_user(build.spec.pod.box)
    if not is_root(user) and plan.image.commit != "never":
        found.append(
            f"the box runs as user {user}: /pipeline, /report and base-path are volumes, so that it can write there, "
            "and are not part of its image"
        )
    if plan.image.commit != "never":
        found += _about_image(build, box, plan)
    if box.cmd and not plan.shell:
        found.append(f"cmd of the box is ignored: {box.cmd!r} is not a shell")
    return found


def _about_image(build: Build, box: Box, plan: Plan) -> list[str]:
    """What people may miss in the image that is pushed."""
    found: list[str] = []
    name = application_name(build, source=plan.source)
    fit = plan.image.repository.rpartition("/")[2]
    if not build.spec.image.repository and repository_name(name) != name.lower():
        found.append(
            f"application {name[:100]!r} is not a valid repository name: its image goes to {fit}; set "
            "spec.image.repository for "
            "another one"
        )
    volumes = list(
        dict.fromkeys(posixpath.normpath(f"/{path.strip('/')}") for path in plan.box.volumes)
    )
    holding = [path for path in volumes if f"{plan.base_path}/".startswith(f"{path.rstrip('/')}/")]
    if holding:
        found.append(
            f"the project is NOT in the pushed image: {plan.base_path} lies in VOLUME {holding[0]} of {box.id}, and "
            "volumes are not committed; set base-path to another directory"
        )
    others = [path for path in volumes if path not in holding]
    if others:
        more = f" and {count_of(len(others) - 8, 'other')}" if len(others) > 8 else ""
        found.append(
            f"VOLUME {', '.join(path[:100] for path in others[:8])}{more} of {box.id} is not committed: what steps "
            "write there is not in the pushed image"
        )
    return found


def _about_services(facts: Facts, plan: Plan) -> list[str]:
    build, wanted = facts.build, facts.images
    found: list[str] = []
    pod = build.spec.pod.box
    root = is_root(plan.box_user(pod)) and not is_read_only(pod)
    for service in plan.services:
        if not is_dns_name(service.alias) and not root:
            found.append(
                f"service {service.alias} is not a DNS name, and only a box that runs as root can resolve it: "
                "use 127.0.0.1 "
                "or give it a name of small letters, digits and dashes"
            )
    mine = set(exposed(ports=wanted.box.ports))
    for box, service in zip(wanted.services, plan.services, strict=True):
        shared = mine & set(exposed(service.image.ports, box.ports))
        found += [
            f"the box and service {service.alias} both have port {number}/{protocol}, and share one network: what "
            "listens there in the box will fail"
            for number, protocol in sorted(shared)
        ]
    for each in (wanted.box, *wanted.services):
        ignored = [key for key in ("volumes", "url") if getattr(each, key)]
        if ignored:
            found.append(f"{' and '.join(ignored)} of {each.id} is not supported, and ignored")
    unknown = build.spec.pod.services.keys() - {each.alias for each in wanted.services}
    found += [
        f"services {' and '.join(aliases)} have the same variables, {prefix}_PORT and the like: those of "
        f"{aliases[-1]} are used"
        for prefix, aliases in _sharing([each.alias for each in wanted.services])
    ]
    found += [
        f"spec.pod.services names {alias}, which is not a service of this pipeline"
        for alias in sorted(unknown)
    ]
    return found


def _sharing(aliases: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Services whose link variables have the same names, by prefix."""
    found: dict[str, list[str]] = {}
    for alias in aliases:
        found.setdefault(link_prefix(alias), []).append(alias)
    return [(prefix, each) for prefix, each in found.items() if len(each) > 1]
