"""`sentinel run`: its options, and what is found before a Docker Engine is asked anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sentinel.api.reasons import Reason
from sentinel.cli import main
from sentinel.cli import run as verb
from sentinel.engine.outcome import Outcome

NO_ENGINE = {"DOCKER_HOST": "tcp://127.0.0.1:9"}


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["run", *arguments], env={**NO_ENGINE, **environ})


@pytest.fixture
def project(tmp_path: Path) -> str:
    (tmp_path / "wercker.yml").write_text("box: debian:12\nbuild: {steps: []}\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step=one", "--from=two"), "--step cannot be combined with --from and --until"),
        (("--shell-on-failure",), "--shell-on-failure needs a terminal"),
        (("--env-file=nowhere",), "nowhere"),
        (("-o", "xml"), "xml"),
    ],
)
def test_wrong_usage_is_refused(project: str, arguments: tuple[str, ...], message: str) -> None:
    found = run(project, *arguments)
    assert (found.exit_code, message in found.output) == (2, True)


def test_a_directory_without_a_project_needs_no_engine(tmp_path: Path) -> None:
    found = run(str(tmp_path))
    assert found.exit_code == 1
    assert "sentinel detect --write" in found.output


def test_settings_that_are_not_valid_are_named(project: str) -> None:
    found = run(project, SENTINEL_MAX_BUILDS="none")
    assert found.exit_code == 1
    assert "max_builds" in found.output


def test_without_an_engine_the_way_to_one_is_shown(project: str) -> None:
    found = run(project)
    assert found.exit_code == 2
    assert "Docker Engine does not answer" in found.output
    assert "DOCKER_HOST" in found.output


def test_output_that_cannot_be_written_is_no_failure_of_the_build(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def work() -> Outcome:
        raise BrokenPipeError(32, "Broken pipe")

    assert verb._exit_of(work) == 2
    assert "the output cannot be written: Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.passed("all steps passed"), 0),
        (Outcome.failed(Reason.EXIT_CODE, "step 'x' failed"), 1),
        (Outcome.failed(Reason.IMAGE_NOT_FOUND, "no image"), 1),
        (Outcome.failed(Reason.BOX_TERMINATED, "the box ended"), 2),
        (Outcome.failed("FromAnotherRelease", "unknown"), 2),
        (Outcome.failed(Reason.CANCELLED, "interrupted"), 3),
    ],
)
def test_the_exit_code_is_the_build_s(outcome: Outcome, code: int) -> None:
    async def work() -> Outcome:
        return outcome

    assert verb._exit_of(work) == code
