"""From a project's directory to the Plan of a local build: what the operator plans, with facts from this machine.

Images are looked up in the Docker Engine, which pulls what it does not have; steps where the settings say, and in the
project's directory instead of a commit of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sentinel.api import API_VERSION
from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.config.diagnostics import Diagnostic
from sentinel.config.load import Loaded, load, pipeline_of, relevant
from sentinel.config.model import Config, Step
from sentinel.errors import UserError
from sentinel.local.environ import SECRET, Given
from sentinel.local.project import Project
from sentinel.local.selection import Selection
from sentinel.plan.environment import ResolvedEnvironment, resolve
from sentinel.plan.facts import Facts
from sentinel.plan.internal import BY_OPERATOR
from sentinel.plan.model import ImageFacts, Plan, StepFacts
from sentinel.plan.notices import notices
from sentinel.plan.options import check_options
from sentinel.plan.plan import make_plan
from sentinel.settings import Settings
from sentinel.text import dns_label

NAMESPACE = "local"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user asked for. `uid` is the run's; `started` when it began."""

    project: Project
    uid: str
    started: datetime
    pipeline: str = "build"
    target: str = ""
    selection: Selection = field(default_factory=Selection)
    given: Given = field(default_factory=Given)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is known before images are looked up. `archives` are the steps' packed files, by digest."""

    wanted: Wanted
    facts: Facts
    steps: dict[str, StepFacts]
    archives: dict[str, Path]
    diagnostics: tuple[Diagnostic, ...]
    loaded: Loaded


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A Plan and what it is run with. `notes` are for people."""

    plan: Plan
    environment: ResolvedEnvironment
    archives: dict[str, Path]
    notes: tuple[str, ...]


async def prepare(wanted: Wanted, *, settings: Settings, cache: Path) -> Prepared:
    """wercker.yml read and the steps found; `cache` is a directory for steps of registries.

    Raises UserError: ConfigInvalid, PipelineNotFound, StepNotFound, StepInvalid, InvalidSpec; InfrastructureError.
    """
    project = wanted.project
    loaded = load(project.text)
    pipeline = pipeline_of(loaded, wanted.pipeline, path=project.config)
    config = loaded.config or Config()
    pipeline = wanted.selection.apply(pipeline, target=wanted.target)
    facts = Facts(
        build=_build(wanted),
        settings=settings,
        source=project.source,
        config=config,
        pipeline=pipeline,
        started=wanted.started,
    )
    chosen = [step for _, step in facts.steps]
    _check_internal(chosen)
    steps: dict[str, StepFacts] = {}
    archives: dict[str, Path] = {}
    if any(step.kind != "script" for step in chosen):
        # Imported here: many builds have scripts alone, and start-up is felt.
        from sentinel.local.steps import find_steps  # noqa: PLC0415

        steps, archives = await find_steps(chosen, project=project, settings=settings, cache=cache)
    found = (
        *relevant(loaded, wanted.pipeline),
        *check_options(chosen, steps, pipeline=wanted.pipeline),
    )
    return Prepared(
        wanted=wanted,
        facts=facts,
        steps=steps,
        archives=archives,
        diagnostics=found,
        loaded=loaded,
    )


def finish(prepared: Prepared, images: Sequence[ImageFacts]) -> Planned:
    """The Plan; `images` are those of the box and of its services, in the order of `facts.images`.

    Raises UserError as `make_plan` and `resolve` do.
    """
    box, *services = images
    facts, given = prepared.facts, prepared.wanted.given
    plan = make_plan(facts, box=box, services=services, steps=prepared.steps, attempt=1)
    environment = resolve(plan.variables, secrets={SECRET: given.secrets}, config_maps={})
    notes = (*given.warnings, *notices(facts, plan), *environment.warnings)
    return Planned(plan=plan, environment=environment, archives=prepared.archives, notes=notes)


def _build(wanted: Wanted) -> Build:
    name = dns_label(wanted.project.root.name, limit=40) or "project"
    return Build.parse(
        {
            "apiVersion": API_VERSION,
            "kind": "Build",
            "metadata": {"namespace": NAMESPACE, "name": name, "uid": wanted.uid},
            "spec": {
                "pipeline": wanted.pipeline,
                "deployTarget": wanted.target,
                "env": list(wanted.given.env),
                "image": {"commit": "never"},
                "cache": {"enabled": False},
            },
        }
    )


def _check_internal(steps: Sequence[Step]) -> None:
    """Raises UserError StepNotFound for steps that build, push and run images: the operator does those."""
    found = [
        f"{step.identifier} (line {step.line})"
        for step in steps
        if step.kind == "internal" and step.name in BY_OPERATOR
    ]
    if found:
        raise UserError(
            f"{', '.join(found)}: done by the operator, and not by `sentinel run`. Leave such steps out with --step or "
            "--until; --commit NAME makes an image of the box",
            reason=Reason.STEP_NOT_FOUND,
        )
