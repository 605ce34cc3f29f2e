"""From a directory to a Plan, without a Docker Engine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.local.environ import given_variables
from sentinel.local.planning import Planned, Wanted, finish, prepare
from sentinel.local.project import read_project
from sentinel.local.selection import Selection
from sentinel.plan.model import ImageFacts
from sentinel.settings import Settings

YML = """\
box: $IMAGE
services: [redis:7]
build:
  steps:
    - script: {name: one, code: echo $TOKEN}
    - mine "file://./steps/mine": {greeting: hi}
    - create-file: {filename: a, content: b}
  after-steps:
    - script: {name: after, code: "true"}
push:
  steps:
    - internal/docker-push: {repository: x/y}
"""


def project(root: Path, text: str = YML) -> Path:
    (root / "steps/mine").mkdir(parents=True)
    (root / "steps/mine/run.sh").write_text("echo $WERCKER_MINE_GREETING\n")
    (root / "wercker.yml").write_text(text)
    return root


async def planned(root: Path, **said: object) -> Planned:
    wanted = Wanted(
        project=read_project(root),
        uid="0b1c2d3e-0000-4000-8000-000000000000",
        started=datetime(2026, 11, 28, tzinfo=UTC),
        given=given_variables("X_IMAGE=debian:12\nXXX_TOKEN=top-secret\n", {}),
        **said,  # type: ignore[arg-type]
    )
    prepared = await prepare(wanted, settings=Settings(), cache=root / "cache")
    names = [prepared.facts.images.box.image, *(s.image for s in prepared.facts.images.services)]
    images = [ImageFacts(name=each, reference=each, ports=("6379/tcp",)) for each in names]
    return finish(prepared, images)


async def test_steps_of_the_directory_and_standard_steps_are_found(tmp_path: Path) -> None:
    found = await planned(project(tmp_path))
    plan = found.plan
    assert [(s.display_name, s.kind, s.standard, s.phase) for s in plan.steps] == [
        ("one", "script", False, "main"),
        ("mine", "step", False, "main"),
        ("create-file", "step", True, "main"),
        ("after", "script", False, "after"),
    ]
    assert plan.box.name == "debian:12"
    assert found.archives[plan.steps[1].digest].is_file()
    assert [each.alias for each in plan.services] == ["redis"]
    assert dict(found.environment.env)["TOKEN"] == "top-secret"
    assert b"top-secret" in found.environment.masks
    assert "top-secret" not in repr(plan)
    assert plan.image.commit == "never"


async def test_only_the_steps_that_are_chosen_need_to_exist(tmp_path: Path) -> None:
    project(tmp_path, YML.replace("file://./steps/mine", "file://./steps/none"))
    with pytest.raises(UserError) as caught:
        await planned(tmp_path)
    assert caught.value.reason is Reason.STEP_NOT_FOUND
    found = await planned(tmp_path, selection=Selection(last="one"))
    assert [each.display_name for each in found.plan.steps] == ["one", "after"]


async def test_steps_of_the_operator_s_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"internal/docker-push \(line 12\).*--commit NAME"):
        await planned(project(tmp_path), pipeline="push")
