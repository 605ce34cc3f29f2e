"""The steps of a local build: standard ones, those of the project's directory, and of registries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sentinel.config.model import Step
from sentinel.local.project import Project
from sentinel.plan.internal import is_shipped
from sentinel.plan.model import StepFacts
from sentinel.settings import Settings
from sentinel.steps.source import find_all, step_source
from sentinel.steps.standard import find_standard, standard_facts
from sentinel.steps.wanted import FoundStep, WantedStep, check_wanted


async def find_steps(
    chosen: Sequence[Step], *, project: Project, settings: Settings, cache: Path
) -> tuple[dict[str, StepFacts], dict[str, Path]]:
    """The facts of each step but scripts, by identifier, and the archives of those that have one, by digest."""
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
