"""The internal steps: which of them a Build can run, and how (wercker.md "Internal steps"). Pure.

Two were made for a person at a terminal and run their code once; one is a step of our image, as the standard steps are;
the others build, push and run images, which the operator does while the box waits. What needs an engine that the
operator does not have is refused before anything runs (`engines.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.api.build import PodContainer
from sentinel.api.reasons import Reason
from sentinel.config.model import Step
from sentinel.errors import UserError
from sentinel.layout import OUTPUT_DIR, PIPELINE_DIR
from sentinel.plan.containers import DOCKER_RUN
from sentinel.plan.engines import engine_for_step, instead_of
from sentinel.plan.model import Plan, PlanStep
from sentinel.plan.users import is_read_only, is_root
from sentinel.settings import Settings

IN_THE_BOX = frozenset({"watch", "shell"})
"""They run their code in the box's shell, once."""

SCRATCH = "docker-scratch-push"

DOCKER_BUILD = "docker-build"
DOCKER_PUSH = "docker-push"
DOCKER_KILL = "docker-kill"
STORE = "store-container"

BY_OPERATOR = frozenset({DOCKER_BUILD, DOCKER_PUSH, SCRATCH, DOCKER_RUN, DOCKER_KILL, STORE})
"""The operator does them while the box waits."""

SHIPPED = frozenset({"publish-step"})
"""Their directories come with our image, whatever `steps.standard` and `steps.registry` are."""


def check_internal(steps: Sequence[Step], settings: Settings) -> None:
    """Raises UserError StepNotFound that names every internal step that cannot be run, and why."""
    problems: list[str] = []
    for step in steps:
        if step.kind != "internal":
            continue
        where = f"{step.identifier} (line {step.line})"
        if need := engine_for_step(step, settings):
            more = instead_of(step)
            problems.append(f"{where} needs {need}" + (f": {more}" if more else ""))
        elif step.name not in IN_THE_BOX | BY_OPERATOR | SHIPPED:
            problems.append(f"{where} is not supported")
    if problems:
        raise UserError("; ".join(problems), reason=Reason.STEP_NOT_FOUND)


def is_shipped(step: Step) -> bool:
    """Whether it is an internal step whose directory is in our image."""
    return step.kind == "internal" and step.name in SHIPPED


def check_scratch(plan: Plan, said: PodContainer) -> None:
    """Raises UserError CommitUnsupported for an image from scratch of a box whose output is in a volume."""
    step = next((step for step in plan.steps if _is_scratch(step)), None)
    if step is None:
        return
    volume = next(
        (path for path in plan.box.volumes if f"{OUTPUT_DIR}/".startswith(f"{path.rstrip('/')}/")),
        None,
    )
    why = ""
    if not is_root(plan.box_user(said)):
        why = f"the box runs as user {plan.box_user(said)}, so that {PIPELINE_DIR} is a volume: run it as root"
    elif is_read_only(said):
        why = f"the box's root file system is read-only, so that {PIPELINE_DIR} is a volume"
    elif volume is not None:
        why = f"{OUTPUT_DIR} lies in VOLUME {volume} of {plan.box.name}: use an image without it"
    if why:
        raise UserError(
            f"internal/{SCRATCH} (step {step.display_name}) can push only what is in the box itself: {why}",
            reason=Reason.COMMIT_UNSUPPORTED,
        )


def _is_scratch(step: PlanStep) -> bool:
    return step.kind == "operator" and step.name == SCRATCH


def check_repository(plan: Plan, repository: str) -> None:
    """Raises UserError InvalidSpec where a step keeps an image in the Build's own repository, and it has none."""
    step = next(
        (
            each
            for each in plan.steps
            if each.kind == "operator" and each.name in (DOCKER_BUILD, STORE)
        ),
        None,
    )
    if step is not None and not repository:
        raise UserError(
            f"internal/{step.name} (step {step.display_name}) keeps its image in the Build's repository, and there is "
            "none: set spec.image.repository, or have the operator's images.prefix set",
            reason=Reason.INVALID_SPEC,
        )


def about_internal(steps: Sequence[Step]) -> list[str]:
    """What the author of a build should know of its internal steps."""
    return [
        f"{step.identifier} (line {step.line}) runs its code once, and ends with it"
        + ("" if step.code.strip() else "; it has none")
        for step in steps
        if step.kind == "internal" and step.name in IN_THE_BOX
    ]
