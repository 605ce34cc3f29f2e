"""The manifests of the standard steps, what is generated from them, and how they are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools import steps as tool

from sentinel.config.knownsteps import INTERNAL
from sentinel.config.standardsteps import STANDARD
from sentinel.source.shipped import steps_folder
from sentinel.steps import WantedStep
from sentinel.steps.standard import find_standard, notes_of, standard_steps, suggestion

STEPS = list(standard_steps().values())


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_manifest_is_complete(step) -> None:  # type: ignore[no-untyped-def]
    assert step.manifest.warnings == ()
    assert step.manifest.name == step.name
    assert re.fullmatch(r"\d+\.\d+\.\d+", step.manifest.version)
    assert step.manifest.summary and not step.manifest.summary.endswith(".")
    assert step.owners and step.stands_for
    undescribed = [p.name for p in step.manifest.properties if not step.describe.get(p.name)]
    assert undescribed == []
    assert (step.folder / "run.sh").is_file()


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_step_has_tests(step) -> None:  # type: ignore[no-untyped-def]
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))

    assert f'"{step.name}"' in tests


def test_the_generated_files_are_what_would_be_written() -> None:
    assert tool.PAGE.read_text() == tool.page()
    assert tool.MODULE.read_text() == tool.module()


def test_a_step_is_found_by_its_owners_at_any_version() -> None:
    found = find_standard(WantedStep(owner="wercker", name="npm-install", version="1.1.4"))

    assert found is not None
    assert notes_of(found, WantedStep(owner="wercker", name="npm-install", version="1.1.4")) == (
        "version 1.1.4 is gone: Sentinel's own npm-install 3.0.0 runs instead, which behaves like "
        "wercker/npm-install 2.0.1",
    )
    assert notes_of(found, WantedStep(owner="wercker", name="npm-install")) == ()


def test_another_owner_gets_a_suggestion_and_no_step() -> None:
    wanted = WantedStep(owner="acme", name="npm-install")

    assert find_standard(wanted) is None
    assert (
        suggestion(wanted) == ". There is a standard step wercker/npm-install: did you mean that?"
    )
    assert suggestion(WantedStep(owner="acme", name="deploy")) == ""


def test_an_internal_step_has_one_owner_and_the_options_that_check_knows() -> None:
    step = standard_steps()["publish-step"]

    assert find_standard(WantedStep(owner="internal", name="publish-step")) is step
    assert find_standard(WantedStep(owner="wercker", name="publish-step")) is None
    assert tuple(each.name for each in step.manifest.properties) == INTERNAL["publish-step"]
    assert "publish-step" not in STANDARD


def test_a_step_with_a_url_is_not_a_standard_step() -> None:
    assert find_standard(WantedStep(owner="wercker", name="npm-install", url="file://./x")) is None


def test_what_all_steps_share_is_there() -> None:
    assert (steps_folder() / "common.sh").is_file()
