"""Which steps of a pipeline run: --step, --from and --until. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sentinel.api.reasons import Reason
from sentinel.config.model import Pipeline, Step
from sentinel.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`only` are steps by name, `first` and `last` bound the main steps, both included; empty for no bound.

    A step is named by its number from 1, its name in logs, or as wercker.yml has it.
    """

    only: tuple[str, ...] = ()
    first: str = ""
    last: str = ""

    def apply(self, pipeline: Pipeline, *, target: str) -> Pipeline:
        """`pipeline` with these main steps. With `only`, after-steps run where they are named.

        Raises UserError StepNotFound for a name that no step has, and for an empty range.
        """
        if not (self.only or self.first or self.last):
            return pipeline
        main = pipeline.targets.get(target, pipeline.steps) if target else pipeline.steps
        if self.only:
            every = (*main, *pipeline.after_steps)
            wanted = {at for name in self.only for at in _places(every, name, pipeline)}
            chosen = tuple(step for at, step in enumerate(every) if at in wanted)
            count = sum(at < len(main) for at in wanted)
            return replace(pipeline, steps=chosen[:count], after_steps=chosen[count:], targets={})
        start = _places(main, self.first, pipeline)[0] if self.first else 0
        end = _places(main, self.last, pipeline)[-1] if self.last else len(main) - 1
        if start > end:
            raise UserError(
                f"--from {self.first} is behind --until {self.last}: no step is left to run",
                reason=Reason.STEP_NOT_FOUND,
            )
        return replace(pipeline, steps=main[start : end + 1], targets={})


def _places(steps: tuple[Step, ...], name: str, pipeline: Pipeline) -> list[int]:
    """Where the steps of that name are, from 0."""
    found = [
        at
        for at, step in enumerate(steps)
        if name in (step.display_name, step.name, step.identifier)
    ]
    if not found and name.isdecimal() and 0 < int(name) <= len(steps):
        found = [int(name) - 1]
    if not found:
        known = ", ".join(
            f"{at} {step.display_name or step.name}" for at, step in enumerate(steps, 1)
        )
        raise UserError(
            f"pipeline {pipeline.name} has no step {name!r}; its steps are: {known or 'none'}",
            reason=Reason.STEP_NOT_FOUND,
        )
    return found
