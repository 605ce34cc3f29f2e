"""From a project's directory to the Plan of a local build: what the operator plans, with facts from this machine.

Images are looked up in the Docker Engine, which pulls what it does not have; steps where the settings say, and in the
project's directory instead of a commit of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from sentinel.plan.internal import BY_OPERATOR, is_shipped
from sentinel.plan.model import ImageFacts, Plan, StepFacts
from sentinel.plan.notices import notices
from sentinel.plan.options import check_options
from sentinel.plan.plan import make_plan
from sentinel.settings import Settings
from sentinel.steps.source import find_all, step_source
from sentinel.steps.standard import find_standard, standard_facts
from sentinel.steps.wanted import FoundStep, WantedStep, check_wanted
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
    steps, archives = await _find_steps(chosen, project=project, settings=settings, cache=cache)
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


async def _find_steps(
    chosen: Sequence[Step], *, project: Project, settings: Settings, cache: Path
) -> tuple[dict[str, StepFacts], dict[str, Path]]:
    """The facts of each step that is no script, by identifier, and the archives of those that have one, by digest."""
    facts: dict[str, StepFacts] = {}
    named: dict[str, WantedStep] = {}
    for step in chosen:
        wanted = _wanted(step)
        shipped = is_shipped(step)
        if not shipped and step.kind != "registry":
            continue
        ours = find_standard(replace(wanted, url="") if shipped else wanted)
        if ours is not None and (shipped or _standard_first(settings)):
            facts[step.identifier] = standard_facts(ours, wanted)
        else:
            named[step.identifier] = _in_directory(wanted, project)
    if not named:
        return facts, {}
    rules = settings.steps.model_copy(update={"allow_local": True, "allow_url": True})
    source = await asyncio.to_thread(step_source, rules, cache_dir=cache, ca=settings.source.ca)
    found = await find_all(source, list(named.values()))
    archives: dict[str, Path] = {}
    for identifier, each in zip(named, found, strict=True):
        facts[identifier] = _facts(each)
        if each.digest:
            archives[each.digest] = each.archive
    return facts, archives


def _standard_first(settings: Settings) -> bool:
    """Without a registry there is nothing that could have the step instead."""
    return settings.steps.standard and not settings.steps.registry


def _wanted(step: Step) -> WantedStep:
    return WantedStep(owner=step.owner, name=step.name, version=step.version, url=step.url)


def _in_directory(wanted: WantedStep, project: Project) -> WantedStep:
    """A step of the project's own source is taken from its directory, as it is now."""
    check_wanted(wanted)
    if not wanted.path_in_source:
        return wanted
    return replace(wanted, url=(project.root / wanted.path_in_source).as_uri())


def _facts(found: FoundStep) -> StepFacts:
    if found.standard:
        wanted = WantedStep(owner=found.owner, name=found.name)
        step = find_standard(wanted)
        assert step is not None  # noqa: S101 - it was found
        return replace(standard_facts(step, wanted), warnings=found.warnings)
    options = found.manifest.properties
    return StepFacts(
        version=found.version,
        digest=found.digest,
        defaults=tuple((each.name, each.default) for each in options),
        required=frozenset(each.name for each in options if each.required and not each.default),
        warnings=found.warnings,
    )
