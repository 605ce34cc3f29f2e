"""Standard steps: those of wercker's former public registry, written again (`operator/steps`).

They are found after the project's own steps and a configured registry, under every owner that published a step of that
name. They come into a build's pod with our own image, so there is nothing to fetch, to cache or to sign. Pure but for
reading our own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sentinel.config.document import Items, Scalar, Table, parse
from sentinel.config.findings import Findings
from sentinel.config.model import Config
from sentinel.config.standardsteps import STANDARD
from sentinel.plan.model import StepFacts
from sentinel.source.shipped import steps_folder
from sentinel.steps.manifest import Manifest, read_manifest
from sentinel.steps.versions import LATEST
from sentinel.steps.wanted import WantedStep


@dataclass(frozen=True, kw_only=True)
class StandardStep:
    """One of them. `owners` published a step of this name, the first is the best known; `stands_for` is the release of
    theirs that it behaves like; `describe` has a sentence for each option."""

    name: str
    owners: tuple[str, ...]
    stands_for: str
    manifest: Manifest
    folder: Path
    describe: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.owners[0]}/{self.name}"


@cache
def standard_steps() -> Mapping[str, StandardStep]:
    """All of them by name, in the order of their names."""
    folder = steps_folder()
    found = (_read(each) for each in sorted(folder.iterdir()) if (each / "step.yml").is_file())
    return {each.name: each for each in found}


def find_standard(wanted: WantedStep) -> StandardStep | None:
    """The one that `wanted` means: its name, under one of its owners. A version is not looked at."""
    step = standard_steps().get(wanted.name)
    return step if step is not None and wanted.owner in step.owners and not wanted.url else None


def not_standard(config: Config, pipeline: str = "") -> tuple[str, ...]:
    """The steps of all pipelines, or of one, that only a registry (`steps.registry`) can have, as written.

    Those with a URL, of the project itself too, are not looked for in a registry.
    """
    found: dict[str, None] = {}
    for each in config.pipelines.values():
        if pipeline not in ("", each.name):
            continue
        lists = (each.steps, each.after_steps, *each.targets.values())
        for step in (step for steps in lists for step in steps):
            if step.kind != "registry" or step.url:
                continue
            wanted = WantedStep(owner=step.owner, name=step.name, version=step.version, url="")
            if step.name not in STANDARD or find_standard(wanted) is None:
                found[step.identifier] = None
    return tuple(found)


def notes_of(step: StandardStep, wanted: WantedStep) -> tuple[str, ...]:
    """What the author of a build should know of the step it got instead of the one that is gone."""
    if wanted.version == LATEST:
        return ()
    return (
        f"version {wanted.version} is gone: Sentinel's own {step.name} {step.manifest.version} runs instead, which "
        f"behaves like {step.stands_for}",
    )


def standard_facts(step: StandardStep, wanted: WantedStep) -> StepFacts:
    """What a Plan is made with."""
    options = step.manifest.properties
    return StepFacts(
        version=step.manifest.version,
        digest="",
        defaults=tuple((each.name, each.default) for each in options),
        required=frozenset(each.name for each in options if each.required and not each.default),
        warnings=notes_of(step, wanted),
        standard=True,
    )


def suggestion(wanted: WantedStep) -> str:
    """A sentence for a message about a step that was not found: the standard step of that name under another owner."""
    step = standard_steps().get(wanted.name)
    return "" if step is None else f". There is a standard step {step}: did you mean that?"


def _read(folder: Path) -> StandardStep:
    text = (folder / "step.yml").read_text(encoding="utf-8")
    root = parse(text, findings=Findings())
    if not isinstance(root, Table):
        raise TypeError(f"{folder}/step.yml is not a map")
    owners = root.get("owners")
    stands_for = root.get("stands-for")
    if not isinstance(owners, Items) or not isinstance(stands_for, Scalar):
        raise TypeError(f"{folder}/step.yml lacks owners or stands-for")
    return StandardStep(
        name=folder.name,
        owners=tuple(each.text for each in owners.items if isinstance(each, Scalar)),
        stands_for=stands_for.text,
        manifest=read_manifest({"step.yml": text.encode()}),
        folder=folder,
        describe=_descriptions(root),
    )


def _descriptions(root: Table) -> dict[str, str]:
    properties = root.get("properties")
    found: dict[str, str] = {}
    for item in properties.items if isinstance(properties, Items) else ():
        if isinstance(item, Table):
            name, text = item.get("name"), item.get("description")
            if isinstance(name, Scalar) and isinstance(text, Scalar):
                found[name.text] = text.text
    return found
