"""What needs an engine that builds or runs images, which an operator may be without. Pure.

The one place that decides it: a Build is refused for what stands here, and `sentinel check` warns of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.findings import visible
from sentinel.config.model import Config, Pipeline, Step

_STEPS = frozenset({"docker-build", "docker-run", "docker-kill", "store-container"})
_INSTEAD = "build the image in a step with a tool of the box, such as buildah or kaniko"


def engine_for_step(step: Step) -> str:
    """What this internal step needs that the operator does not have; "" where nothing is missing."""
    if step.kind != "internal":
        return ""
    if step.name in _STEPS:
        return "a Docker Engine, for which this operator has no setting yet"
    if step.name == "docker-push" and "image-name" in dict(step.properties):
        return "an image of internal/docker-build (image-name), and so a Docker Engine"
    return ""


def engine_for_pipeline(pipeline: Pipeline) -> str:
    """What `docker: true` of this pipeline needs that the operator does not have; "" where nothing is missing."""
    return "a Docker daemon, which is not supported yet" if pipeline.docker else ""


def instead_of(step: Step) -> str:
    """What to do without an engine, "" where there is no way."""
    return _INSTEAD if step.name == "docker-build" else ""


def about_engines(config: Config) -> tuple[Diagnostic, ...]:
    """A warning for each step and pipeline that an operator with default settings refuses for want of an engine."""
    found = {each for pipeline in config.pipelines.values() for each in _about(pipeline)}
    return tuple(sorted(found))


def _about(pipeline: Pipeline) -> Iterator[Diagnostic]:
    if need := engine_for_pipeline(pipeline):
        yield _warning(
            pipeline.line,
            f"docker: true of pipeline {pipeline.name} needs {need}",
            "remove it where no step needs a daemon; an operator without one refuses the pipeline",
            pipeline,
        )
    lists = (pipeline.steps, pipeline.after_steps, *pipeline.targets.values())
    for step in (step for each in lists for step in each):
        if need := engine_for_step(step):
            yield _warning(
                step.line,
                f"{step.identifier} needs {need}",
                instead_of(step) or "an operator without one refuses the pipeline",
                pipeline,
            )


def _warning(line: int, message: str, hint: str, pipeline: Pipeline) -> Diagnostic:
    return Diagnostic(
        line=line,
        column=1,
        code=Code.NEEDS_ENGINE,
        severity=Severity.WARNING,
        message=visible(message),
        hint=hint,
        pipeline=pipeline.name,
    )
