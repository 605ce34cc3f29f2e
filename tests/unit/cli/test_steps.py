"""`sentinel steps serve` as a process: what it prints, answers, refuses, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.steps.servers import tarball

from sentinel.cli import main

ROOT = Path(__file__).parents[3]
LAB = ROOT / "tests/steps"


def test_it_prints_what_it_serves_and_where_and_ends_on_a_signal() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sentinel", "steps", "serve", str(LAB), "--listen", "127.0.0.1:0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip())
                if line.startswith("step registry at "):
                    break
            url = lines[-1].removeprefix("step registry at ")
            with urllib.request.urlopen(f"{url}/api/steps/lab/greet/0.0.9") as answer:
                said = json.load(answer)
            process.send_signal(signal.SIGTERM)
            assert process.wait(150) == 0
        finally:
            process.kill()

    assert said["step"]["version"] == {"number": "0.0.9"}
    assert len(lines) == 12
    assert lines[2] == "lab/greet@0.0.9  Greets, as steps did in 2014"
    assert lines[4:6] == [
        "lab/make-temp@1.0.0  Makes a temporary file and exports its path",
        "lab/make-temp@1.1.0  Makes a temporary file or directory and exports its path",
    ]


def test_a_folder_without_steps_is_explained(tmp_path: Path) -> None:
    (tmp_path / "lab/not-one").mkdir(parents=True)
    said = CliRunner().invoke(main, ["steps", "serve", str(tmp_path)])

    assert said.exit_code == 1
    assert said.output == (
        f"{tmp_path}: lab/not-one is not a step: it has none of run.sh, init.sh, step.yml, wercker-step.yml, and no "
        "directory with one that is named after a version, such as 1.0.0\n"
        f"Error: there is no step in {tmp_path}. A step is a directory owner/name, or owner/name/1.0.0 for each "
        "version, with a run.sh and perhaps a step.yml in it\n"
    )


def test_a_folder_one_level_too_deep_is_reported() -> None:
    said = CliRunner().invoke(main, ["steps", "serve", str(LAB / "lab")])

    assert said.exit_code == 1
    assert "greet is a step where an owner is expected: steps lie two levels deep" in said.output
    assert "make-temp/1.0.0 is a version where a step is expected" in said.output


@pytest.mark.parametrize("listen", ["8080", "host", "127.0.0.1:http", "127.0.0.1:99999"])
def test_an_invalid_address_is_reported(listen: str) -> None:
    said = CliRunner().invoke(main, ["steps", "serve", str(LAB), "--listen", listen])

    assert said.exit_code == 2
    assert "is not host:port" in said.output


def test_a_port_that_is_taken_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        said = CliRunner().invoke(main, ["steps", "serve", str(LAB), "--listen", listen])

    assert said.exit_code == 1
    assert f"Error: cannot listen on {listen}: " in said.output
    assert "address already in use" in said.output


def test_with_a_publish_token_an_empty_folder_is_served_and_takes_uploads(tmp_path: Path) -> None:
    folder, file = tmp_path / "steps", tmp_path / "token"
    folder.mkdir()
    file.write_text("0123456789abcdef\n")
    command = [sys.executable, "-m", "sentinel", "steps", "serve", str(folder)]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--publish-token-file", str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().rstrip()
            assert line.endswith(", accepts uploads")
            url = line.removeprefix("step registry at ").removesuffix(", accepts uploads")
            request = urllib.request.Request(
                f"{url}/api/steps/acme/deploy/1.0.0",
                data=tarball({"step.yml": "name: deploy\nversion: 1.0.0\n"}),
                method="PUT",
                headers={"Authorization": "Bearer 0123456789abcdef"},
            )
            with urllib.request.urlopen(request) as answer:
                assert answer.status == 201
        finally:
            process.kill()

    assert (folder / "acme/deploy/1.0.0/step.yml").is_file()


@pytest.mark.parametrize("text", ["", "short", "0123456789 abcdef", "0123456789abcdé\u2028"])
def test_a_publish_token_that_is_none(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    by_file = CliRunner().invoke(
        main, ["steps", "serve", str(LAB), "--publish-token-file", str(file)]
    )
    monkeypatch.setenv("SENTINEL_PUBLISH_TOKEN", text)
    by_variable = CliRunner().invoke(main, ["steps", "serve", str(LAB)])

    assert (by_file.exit_code, by_variable.exit_code) == (1, 1)
    assert f"{file} holds no publish token" in by_file.output
    assert "$SENTINEL_PUBLISH_TOKEN holds no publish token" in by_variable.output
