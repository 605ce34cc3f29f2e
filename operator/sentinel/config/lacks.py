"""What keeps a pipeline from running although each line of it is right: no box, no name of an image, a name twice.

A Build is refused for these once its variables are known (`plan/images.py`); `sentinel check` tells them before.
"""

from __future__ import annotations

import re

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic
from sentinel.config.findings import visible
from sentinel.config.model import Box, Config, Pipeline

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")


def lacks(config: Config) -> tuple[Diagnostic, ...]:
    """One error for each, by line; an error that many pipelines inherit is reported once, for the file."""
    found: set[Diagnostic] = set()
    for pipeline in config.pipelines.values():
        box = pipeline.box or config.box
        if box is None:
            found.add(_no_box(pipeline))
        services = config.services if pipeline.services is None else pipeline.services
        for what, each in (("box", box), *(("service", service) for service in services)):
            if each is not None and "$" not in each.image and each.id.strip():
                own = each in (pipeline.box, *(pipeline.services or ()))
                found |= _misnamed(each, what, pipeline.name if own else "")
        found |= _twice(services, pipeline.name if pipeline.services is not None else "")
    return tuple(sorted(found))


def _no_box(pipeline: Pipeline) -> Diagnostic:
    return Diagnostic(
        line=pipeline.line,
        column=1,
        code=Code.NO_BOX,
        message=visible(f"neither pipeline {pipeline.name} nor the file says in which box to run"),
        hint="add a line at the left margin with the name of an image, e.g. box: debian:12",
        pipeline=pipeline.name,
    )


def _misnamed(box: Box, what: str, pipeline: str) -> set[Diagnostic]:
    # A classic id with @ was reported already.
    if _IMAGE.fullmatch(box.image) or "@" in box.id:
        return set()
    bad = next((c for c in box.image if not _IMAGE.fullmatch("a" + c)), box.image[0])
    shown = "a space" if bad == " " else f"{bad!r} (U+{ord(bad):04X})"
    return {
        Diagnostic(
            line=box.line,
            column=1,
            code=Code.IMAGE_NAME,
            message=visible(
                f"{box.image!r} cannot be the name of the {what}'s image: there is {shown} in it"
            ),
            hint="an image is written like debian:12 or registry.example.com/team/image:tag",
            pipeline=pipeline,
        )
    }


def _twice(services: tuple[Box, ...], pipeline: str) -> set[Diagnostic]:
    found: set[Diagnostic] = set()
    seen: dict[str, Box] = {}
    for service in services:
        alias = service.alias
        first = seen.setdefault(alias, service)
        if first is not service and "$" not in alias:
            found.add(
                Diagnostic(
                    line=service.line,
                    column=1,
                    code=Code.SERVICE_TWICE,
                    message=visible(f"the service on line {first.line} is called {alias} too"),
                    hint="give one of them another name with name:",
                    pipeline=pipeline,
                )
            )
    return found
