"""The internal steps: which of them a Build can run, and how (`wercker-semantics.md` §2.7). Pure.

Two were made for a person at a terminal and run their code once; two push the box or its output, which the operator
does while the box waits; one is a step of our image, as the standard steps are; those that need a Docker Engine are
refused before anything runs (`engines.py`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from sentinel.api.build import PodContainer
from sentinel.api.reasons import Reason
from sentinel.config.model import Step
from sentinel.errors import UserError
from sentinel.plan.engines import engine_for_step, instead_of
from sentinel.plan.generic import OUTPUT_DIR, PIPELINE_DIR
from sentinel.plan.model import Plan, PlanStep
from sentinel.plan.users import box_user, is_read_only, is_root

IN_THE_BOX = frozenset({"watch", "shell"})
"""They run their code in the box's shell, once."""

SCRATCH = "docker-scratch-push"

PUSHES = frozenset({"docker-push", SCRATCH})
"""The operator pushes the box, or what it made, while it waits."""

SHIPPED = frozenset({"publish-step"})
"""Their directories come with our image, whatever `steps.standard` and `steps.registry` are."""


def check_internal(steps: Sequence[Step]) -> None:
    """Raises UserError StepNotFound that names every internal step that cannot be run, and why."""
    problems: list[str] = []
    for step in steps:
        if step.kind != "internal":
            continue
        where = f"{step.identifier} (line {step.line})"
        if need := engine_for_step(step):
            more = instead_of(step)
            problems.append(f"{where} needs {need}" + (f": {more}" if more else ""))
        elif step.name not in IN_THE_BOX | PUSHES | SHIPPED:
            problems.append(f"{where} is not supported")
    if problems:
        raise UserError("; ".join(problems), reason=Reason.STEP_NOT_FOUND)


def is_shipped(step: Step) -> bool:
    """Whether it is an internal step whose directory is in our image."""
    return step.kind == "internal" and step.name in SHIPPED


def scratch_directories(plan: Plan) -> tuple[str, ...]:
    """What an image from scratch is made of: the output, or where that is empty the source."""
    return tuple(dict.fromkeys((OUTPUT_DIR, posixpath.normpath(plan.base_path))))


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
    if not is_root(box_user(plan, said)):
        why = f"the box runs as user {box_user(plan, said)}, so that {PIPELINE_DIR} is a volume: run it as root"
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


def about_internal(steps: Sequence[Step]) -> list[str]:
    """What the author of a build should know of its internal steps."""
    return [
        f"{step.identifier} (line {step.line}) runs its code once, and ends with it"
        + ("" if step.code.strip() else "; it has none")
        for step in steps
        if step.kind == "internal" and step.name in IN_THE_BOX
    ]
