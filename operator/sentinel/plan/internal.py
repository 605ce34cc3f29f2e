"""The internal steps: which of them a Build can run, and how (`wercker-semantics.md` §2.7). Pure.

Two were made for a person at a terminal and run their code once; one pushes the box, which the operator does while the
box waits; one is a step of our image, as the standard steps are; those that need a Docker Engine are refused
before anything runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.api.reasons import Reason
from sentinel.config.model import Step
from sentinel.errors import UserError

IN_THE_BOX = frozenset({"watch", "shell"})
"""They run their code in the box's shell, once."""

PUSHES = frozenset({"docker-push"})
"""The operator pushes the box while it waits."""

SHIPPED = frozenset({"publish-step"})
"""Their directories come with our image, whatever `steps.standard` and `steps.registry` are."""

_ENGINE = frozenset({"docker-build", "docker-run", "docker-kill"})


def check_internal(steps: Sequence[Step]) -> None:
    """Raises UserError StepNotFound that names every internal step that cannot be run, and why."""
    problems: list[str] = []
    for step in steps:
        if step.kind != "internal":
            continue
        where = f"{step.identifier} (line {step.line})"
        if step.name in _ENGINE:
            problems.append(
                f"{where} needs a Docker Engine, which this operator has no setting for yet: build the image in a step "
                "with a tool of the box, such as buildah or kaniko"
            )
        elif step.name in PUSHES and ("image-name" in dict(step.properties)):
            problems.append(
                f"{where} pushes an image of internal/docker-build (image-name), which needs a Docker Engine"
            )
        elif step.name not in IN_THE_BOX | PUSHES | SHIPPED:
            problems.append(f"{where} is not supported")
    if problems:
        raise UserError("; ".join(problems), reason=Reason.STEP_NOT_FOUND)


def is_shipped(step: Step) -> bool:
    """Whether it is an internal step whose directory is in our image."""
    return step.kind == "internal" and step.name in SHIPPED


def about_internal(steps: Sequence[Step]) -> list[str]:
    """What the author of a build should know of its internal steps."""
    return [
        f"{step.identifier} (line {step.line}) runs its code once, and ends with it"
        + ("" if step.code.strip() else "; it has none")
        for step in steps
        if step.kind == "internal" and step.name in IN_THE_BOX
    ]
