"""What a step's manifest says of the options that wercker.yml gives it, and what is wrong with the manifest.

Warnings only: wercker never enforced a manifest, and old files rely on that (wercker.md "Manifests").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.findings import did_you_mean
from sentinel.config.model import Step
from sentinel.plan.model import StepFacts

LOOKUPS = 100
"""Unknown options of one pipeline that a near name is looked up for: the status shows ten findings."""


def check_options(
    steps: Sequence[Step], facts: Mapping[str, StepFacts], *, pipeline: str
) -> tuple[Diagnostic, ...]:
    """A warning for each required option that is missing, and for each that is nearly one of the manifest's.

    `facts` are by identifier; a step that is not among them has no manifest. Options of internal steps are checked with
    the file.
    """
    lookups = iter(range(LOOKUPS))
    return tuple(
        found
        for step in steps
        if step.identifier in facts and step.kind != "internal"
        for found in _check(step, facts[step.identifier], pipeline, lookups)
    )


def dashed(option: str) -> str:
    """One spelling of an option: `key_id`, `key-id` and `KEY_ID` are the same variable."""
    return option.replace("_", "-").lower()


def _check(
    step: Step, facts: StepFacts, pipeline: str, lookups: Iterator[int]
) -> Iterator[Diagnostic]:
    said = {dashed(name) for name, _ in step.properties}
    known = {dashed(name): name for name, _ in facts.defaults}
    for text in facts.warnings:
        yield _warning(Code.STEP_MANIFEST, f"{step.identifier}: {text}", "", step, pipeline)
    strangers = {
        name: did_you_mean(name, tuple(known))
        for name in sorted(said - known.keys())
        if next(lookups, None) is not None
    }
    for name in sorted(facts.required):
        if dashed(name) not in said:
            yield _warning(
                Code.STEP_OPTION_MISSING,
                f"{step.identifier} requires the option {name}, which is missing",
                f"add {name}: below the step",
                step,
                pipeline,
            )
    for name, hint in strangers.items():
        if hint:
            text = f"{step.identifier} has no option {name}"
            yield _warning(Code.STEP_OPTION, text, hint, step, pipeline)


def _warning(code: Code, message: str, hint: str, step: Step, pipeline: str) -> Diagnostic:
    return Diagnostic(
        code=code,
        severity=Severity.WARNING,
        line=step.line,
        column=1,
        message=message,
        hint=hint,
        pipeline=pipeline,
    )
