"""`sentinel detect` and `sentinel schema`."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
from click.testing import CliRunner

from sentinel.cli import main


def test_detect_prints_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "go.mod").touch()
    said = CliRunner().invoke(main, ["detect", str(tmp_path)])

    assert said.exit_code == 0
    assert "box: golang" in said.output
    assert [each.name for each in tmp_path.iterdir()] == ["go.mod"]


def test_detect_writes_a_file_that_check_finds_fine_and_never_overwrites_one(
    tmp_path: Path,
) -> None:
    runner = CliRunner()
    assert runner.invoke(main, ["detect", "--write", str(tmp_path)]).exit_code == 0
    written = (tmp_path / "wercker.yml").read_text()

    assert runner.invoke(main, ["check", str(tmp_path)]).exit_code == 0
    again = runner.invoke(main, ["detect", "--write", str(tmp_path)])
    assert again.exit_code == 1
    assert "exists and is not changed" in again.output
    assert (tmp_path / "wercker.yml").read_text() == written


def test_the_schema_is_one_and_refuses_what_is_wrong() -> None:
    said = CliRunner().invoke(main, ["schema", "wercker"])
    schema = json.loads(said.output)

    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"box": "a", "build": {"steps": ["x", {"script": {"code": "make"}}]}})
    assert not validator.is_valid({"build": {"env": {"A": 1}}})
    assert not validator.is_valid({"build": {"steps": {"script": {}}}})
    assert not validator.is_valid({"box": {"id": "a", "entry-point": "x"}})
    assert not validator.is_valid({"workflows": [{"name": "ci"}]})
