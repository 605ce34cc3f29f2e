"""`sentinel check`: everything that is wrong, where, and what to write instead; the exit code says it too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sentinel.cli import main

SOUND = "box: debian:12\nbuild:\n  steps:\n    - script: {code: make}\n    - script: {code: make check}\n"
BROKEN = "box: debian:12\nbuild:\n  after-steps:\n    - hipchat-notify\n        token: $TOKEN\n"


def check(*args: str) -> Result:
    return CliRunner().invoke(main, ["check", *args])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_file_is_fine_and_its_pipelines_are_named(project: Path) -> None:
    (project / "wercker.yml").write_text(SOUND)
    said = check()
    assert (said.exit_code, said.output) == (0, "wercker.yml: fine; pipelines: build (2 steps)\n")


def test_a_missing_colon_is_shown_with_its_line_a_caret_and_the_repaired_text(
    project: Path,
) -> None:
    (project / "wercker.yml").write_text(BROKEN)
    said = check()
    assert said.exit_code == 1
    lines = said.output.splitlines()
    assert lines[0].startswith("wercker.yml:4:")
    assert "WY004" in lines[0]
    assert lines[1] == " 4 |     - hipchat-notify"
    assert lines[2].strip(" |") == "^"
    assert "- hipchat-notify:" in lines[3]
    assert lines[-1] == "wercker.yml: 1 error, 0 warnings"


def test_the_first_of_the_known_names_counts(project: Path) -> None:
    (project / ".wercker.yml").write_text(SOUND)
    (project / "ewok.yml").write_text(BROKEN)
    assert check(".").output.startswith("ewok.yml:4:")


def test_a_broken_pipeline_does_not_hurt_another(project: Path) -> None:
    (project / "wercker.yml").write_text(SOUND + "deploy:\n  steps: nothing\n")
    assert check("--pipeline", "build").exit_code == 0
    assert check("--pipeline", "deploy").exit_code == 1
    assert check().exit_code == 1


def test_an_unknown_pipeline_is_an_error_with_a_suggestion(project: Path) -> None:
    (project / "wercker.yml").write_text(SOUND)
    said = check("--pipeline", "biuld")
    assert said.exit_code == 1
    assert "no pipeline biuld; it has: build" in said.output


def test_json_is_for_programs(project: Path) -> None:
    (project / "wercker.yml").write_text(BROKEN)
    said = check("--output", "json")
    document = json.loads(said.output)
    assert said.exit_code == 1
    assert document["file"] == "wercker.yml"
    first = document["diagnostics"][0]
    assert (first["code"], first["severity"], first["line"]) == ("WY004", "error", 4)


@pytest.mark.parametrize("path", ["nothing.yml", "."])
def test_what_cannot_be_read_ends_with_2(project: Path, path: str) -> None:
    said = check(path)
    assert said.exit_code == 2
    assert path in said.output


def test_verbs_are_listed_and_an_unknown_one_is_refused() -> None:
    runner = CliRunner()
    assert {"agent", "check", "logs", "operator"} <= set(
        runner.invoke(main, ["--help"]).output.split()
    )
    assert runner.invoke(main, ["chekc"]).exit_code == 2


def test_sarif_names_rule_place_and_level(project: Path) -> None:
    (project / "wercker.yml").write_text(BROKEN)
    said = check("--output", "sarif")
    (run,) = json.loads(said.output)["runs"]
    (result,) = run["results"]
    assert said.exit_code == 1
    assert run["tool"]["driver"]["rules"] == [{"id": "WY004"}]
    assert (result["ruleId"], result["level"]) == ("WY004", "error")
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "wercker.yml"},
                "region": {"startLine": 4, "startColumn": 21},
            }
        }
    ]


def test_a_file_that_would_command_the_terminal_cannot(project: Path) -> None:
    (project / "wercker.yml").write_bytes(b'"\\e[31mred": text\nbox: "\x1b[2J"\n')
    said = check()
    assert said.exit_code == 1
    assert "\x1b" not in said.output


def test_standard_input_is_read(project: Path) -> None:
    said = CliRunner().invoke(main, ["check", "-"], input=SOUND)
    assert (said.exit_code, said.output) == (
        0,
        "standard input: fine; pipelines: build (2 steps)\n",
    )
