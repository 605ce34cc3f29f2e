"""Standard steps stand in for what a registry does not have, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.settings import StepSettings
from sentinel.steps import StepSource, WantedStep, step_source

NPM = WantedStep(owner="wercker", name="npm-install", version="1.1.4")


def source(registry: Path | str, tmp_path: Path, **settings: bool) -> StepSource:
    return step_source(
        StepSettings(registry=str(registry), **settings), cache_dir=tmp_path / "cache"
    )


def registry_with(tmp_path: Path, name: str = "npm-install", version: str = "1.1.4") -> Path:
    folder = tmp_path / "steps/wercker" / name / version
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text("echo mine\n")
    return tmp_path / "steps"


async def test_a_step_that_the_registry_has_is_the_registrys(tmp_path: Path) -> None:
    found = await source(registry_with(tmp_path), tmp_path).find(NPM)

    assert (found.standard, found.version) == (False, "1.1.4")


@pytest.mark.parametrize("name", ["npm-install", "other"])
async def test_a_step_or_version_that_it_lacks_is_the_standard_one(
    tmp_path: Path, name: str
) -> None:
    found = await source(registry_with(tmp_path, name, "2.0.0"), tmp_path).find(NPM)

    assert found.standard
    assert found.warnings[0].startswith("version 1.1.4 is gone: Sentinel's own npm-install ")


async def test_a_registry_that_answers_with_an_error_is_not_a_reason_to_fall_back(
    tmp_path: Path,
) -> None:
    with pytest.raises(InfrastructureError):
        await source(tmp_path / "not/there", tmp_path).find(NPM)


async def test_they_can_be_switched_off(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        await source("", tmp_path, standard=False).find(NPM)

    assert caught.value.reason is Reason.STEP_NOT_FOUND


async def test_a_step_with_a_url_is_never_a_standard_one(tmp_path: Path) -> None:
    wanted = WantedStep(owner="wercker", name="npm-install", url="file:///nowhere")

    with pytest.raises(UserError, match=r"steps\.allowLocal is off"):
        await source("", tmp_path).find(wanted)
