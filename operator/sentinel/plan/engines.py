"""What needs an engine that builds or runs images, which an operator may be without. Pure.

The one place that decides it: a Build is refused for what stands here, and `sentinel check` warns of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from sentinel.api.reasons import Reason
from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.findings import visible
from sentinel.config.model import Config, Pipeline, Step
from sentinel.errors import UserError
from sentinel.plan.model import PlanImage
from sentinel.settings import Settings

DOCKER_BUILD = "docker-build"
_RUNS = frozenset({"docker-run", "docker-kill"})
_COMMITS = frozenset({"docker-push", "docker-scratch-push", "store-container"})
_INSTEAD = "build the image in a step with a tool of the box, such as buildah or kaniko"


def engine_for_step(step: Step, settings: Settings) -> str:
    """What this internal step needs that the operator does not have; "" where nothing is missing."""
    if step.kind != "internal":
        return ""
    if step.name == DOCKER_BUILD:
        return _builder(settings)
    if step.name in _COMMITS and "image-name" not in dict(step.properties):
        return _agent(settings)
    if step.name in _RUNS and not settings.engine.containers:
        return (
            "containers in the build's pod, which the operator's setting engine.containers allows"
        )
    if step.name == "docker-push" and "image-name" in dict(step.properties):
        need = _builder(settings)
        return f"an image of internal/docker-build (image-name), and so {need}" if need else ""
    return ""


def _agent(settings: Settings) -> str:
    return "" if settings.agent_enabled else "the node agents, which the chart's agent.enabled runs"


def _builder(settings: Settings) -> str:
    if not settings.engine.buildkit.address:
        return "a BuildKit, which the operator's setting engine.buildkit.address names"
    if not settings.store.configured:
        return "an object store for its build context, which the operator's settings of store name"
    return ""


def check_agents(image: PlanImage, settings: Settings) -> None:
    """Raise UserError CommitUnsupported where a box is to be committed and there are no agents."""
    if image.commit != "never" and not settings.agent_enabled:
        raise UserError(
            f"the box is to be pushed to {image.repository}, and there are no node agents (agent.enabled is "
            "false): set spec.image.commit: never",
            reason=Reason.COMMIT_UNSUPPORTED,
        )


def engine_for_pipeline(pipeline: Pipeline) -> str:
    """What `docker: true` of this pipeline needs that the operator does not have; "" where nothing is missing.

    A daemon of the node's would give every build root on it.
    """
    if not pipeline.docker:
        return ""
    return (
        "a Docker daemon, which is not supported: a node's own would give the build root on the node. "
        "internal/docker-build and internal/docker-run need none"
    )


def instead_of(step: Step) -> str:
    """What to do without an engine, "" where there is no way."""
    return _INSTEAD if step.name == "docker-build" else ""


def about_engines(config: Config) -> tuple[Diagnostic, ...]:
    """A warning for each step and pipeline that an operator with default settings refuses for want of an engine."""
    settings = Settings.model_construct()  # the defaults, whatever this process's environment has
    found = {each for pipeline in config.pipelines.values() for each in _about(pipeline, settings)}
    return tuple(sorted(found))


def _about(pipeline: Pipeline, settings: Settings) -> Iterator[Diagnostic]:
    if need := engine_for_pipeline(pipeline):
        yield _warning(
            pipeline.line,
            f"docker: true of pipeline {pipeline.name} needs {need}",
            "remove it where no step needs a daemon; an operator without one refuses the pipeline",
            pipeline,
        )
    lists = (pipeline.steps, pipeline.after_steps, *pipeline.targets.values())
    for step in (step for each in lists for step in each):
        if need := engine_for_step(step, settings):
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
