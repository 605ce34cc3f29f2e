"""`sentinel check`: everything that is wrong, where, and what to write instead; the exit code says it too."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.unit.registry import server
from tests.unit.registry.makers import push_image

from sentinel.cli import main
from sentinel.cli.images import ask
from sentinel.image.reference import parse_reference
from sentinel.registry import RegistryClient

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


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals(project: Path, env: dict[str, str], coloured: bool) -> None:
    (project / "wercker.yml").write_text(BROKEN)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from sentinel.cli import main; main()", "check"],
        env={k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        | {"PYTHONPATH": os.pathsep.join(sys.path), **env},
        stdout=slave,
    )
    os.close(slave)
    written = b""
    with suppress(OSError):  # at the end, when nobody has the terminal any more
        while part := os.read(master, 1 << 16):
            written += part
    os.close(master)
    assert process.wait() == 1
    said = written.decode()

    assert ("\x1b[1;31merror WY004\x1b[0m" in said) is coloured
    assert ("\x1b" in said) is coloured
    assert "\x1b" not in check().output, "a pipe is no terminal"


def test_a_pipeline_that_has_no_box_is_reported_before_it_is_run(project: Path) -> None:
    (project / "wercker.yml").write_text("build: {steps: []}\ndeploy: {box: debian, steps: []}\n")

    assert check("--pipeline", "deploy").exit_code == 0
    said = check("--pipeline", "build")
    assert said.exit_code == 1
    assert said.output.startswith("wercker.yml:1:1: error WY114: neither pipeline build nor")


def test_a_file_without_a_pipeline_is_sound_and_useless(project: Path) -> None:
    (project / "wercker.yml").write_text("box: owner/name\n")
    said = check()

    assert said.exit_code == 0
    assert said.output == (
        "wercker.yml: fine; pipelines: none, so nothing can be run; add build: with steps: under it\n"
    )


@pytest.mark.parametrize("output", ["human", "json", "sarif"])
def test_what_cannot_be_read_ends_with_2_in_every_format_and_prints_no_half_document(
    project: Path, output: str
) -> None:
    said = check("--output", output, "nothing.yml")

    assert (said.exit_code, said.stdout) == (2, "")
    assert "nothing.yml: cannot be read: No such file or directory" in said.stderr


def test_a_directory_is_looked_into(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub/wercker.yml").write_text(SOUND)

    assert check("sub").output == "sub/wercker.yml: fine; pipelines: build (2 steps)\n"


def test_a_sarif_place_is_a_uri(project: Path) -> None:
    said = CliRunner().invoke(main, ["check", "--output", "sarif", "-"], input=BROKEN)

    (result,) = json.loads(said.output)["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "standard%20input"}


def test_a_directory_with_a_misnamed_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "wercker.yaml").write_text("box: debian\n")

    done = CliRunner().invoke(main, ["check", str(tmp_path)])

    assert done.exit_code == 2
    assert done.stderr == (
        f"{tmp_path}: cannot be read: wercker.yaml is not read; rename it to wercker.yml\n"
    )


ENGINES = """\
box: debian:12
build:
  docker: true
  steps:
    - internal/docker-build: {image-name: app}
    - internal/docker-push: {image-name: app, repository: a/b}
    - internal/docker-push: {repository: a/b}
  after-steps:
    - internal/store-container
deploy:
  steps:
    - script: {code: make}
  kill:
    - internal/docker-kill: {name: app}
"""


def test_what_an_operator_without_an_engine_refuses_is_a_warning(project: Path) -> None:
    (project / "wercker.yml").write_text(ENGINES)
    found = json.loads(check("-o", "json").output)["diagnostics"]

    assert check().exit_code == 0
    assert [(d["line"], d["code"], d["severity"], d["pipeline"]) for d in found] == [
        (2, "WY312", "warning", "build"),
        (5, "WY312", "warning", "build"),
        (6, "WY312", "warning", "build"),
        (14, "WY312", "warning", "deploy"),
    ]


@pytest.mark.parametrize(
    "box", ["box: wercker/ruby@2.1\n", "box:\n  cmd: /bin/sh\n  id: wercker/ruby@2.1\n"]
)
def test_a_classic_box_is_warned_of_once(project: Path, box: str) -> None:
    (project / "wercker.yml").write_text(f"{box}build: {{steps: []}}\n")
    found = json.loads(check("-o", "json").output)["diagnostics"]

    assert [d["code"] for d in found] == ["WY208"]


def test_a_classic_box_without_a_replacement_is_one_error(project: Path) -> None:
    (project / "wercker.yml").write_text("box: acme/base@0.1\nbuild: {steps: []}\n")
    found = json.loads(check("-o", "json").output)["diagnostics"]

    assert [(d["code"], d["severity"]) for d in found] == [("WY203", "error")]


IMAGES = """\
box: {host}/team/app:1
services:
  - {host}/team/app:9
  - {{id: {host}/team/app, tag: $TAG, name: third}}
build: {{steps: []}}
deploy: {{box: "{host}/team/arm:1", services: [], steps: []}}
"""


async def pushed(host: str) -> str:
    async with RegistryClient() as client:
        await push_image(client, parse_reference(f"{host}/team/arm:1"), architecture="arm64")
        image = await push_image(client, parse_reference(f"{host}/team/app:1"))
        return str(image["digest"])


def test_registries_are_asked_for_images(project: Path, tmp_path: Path) -> None:
    with server.registry(tmp_path / "registry") as host:
        digest = asyncio.run(pushed(host))
        (project / "wercker.yml").write_text(IMAGES.format(host=host))
        one = check("--images", "--pipeline", "build", "-o", "json")
        arm = check("--images", "--pipeline", "deploy", "--architecture", "arm64")
        both = check("--images")

    assert (one.exit_code, arm.exit_code, both.exit_code) == (1, 0, 1)
    document = json.loads(one.output)
    assert [(d["code"], d["severity"], d["line"]) for d in document["diagnostics"]] == [
        ("WY209", "error", 3)
    ]
    assert [(i["kind"], i["line"], i["digest"], i["platforms"]) for i in document["images"]] == [
        ("box", 1, digest, ["linux/amd64"]),
        ("service", 3, "", []),
        ("service", 4, "", []),
    ]
    assert document["images"][1]["reason"] == "ImageNotFound"
    assert f"wercker.yml: box {host}/team/arm:1: sha256:" in arm.output
    assert f"service {host}/team/app:$TAG: not looked up: variables name it" in both.output
    assert f"WY211: image {host}/team/arm:1 is not available for linux/amd64" in both.output


def test_an_image_that_wants_a_login_is_a_warning_unless_the_file_has_one(
    project: Path, tmp_path: Path
) -> None:
    with server.registry(tmp_path / "registry", login=True) as host:
        (project / "wercker.yml").write_text(f"box: {host}/a/b:1\nbuild: {{steps: []}}\n")
        found = check("--images")
        login = f"box: {{id: {host}/a/b:1, username: me, password: $P}}\nbuild: {{steps: []}}\n"
        (project / "wercker.yml").write_text(login)
        own = check("--images")

    assert (found.exit_code, own.exit_code) == (0, 0)
    assert f"warning WY210: registry denied pull of {host}/a/b:1: UNAUTHORIZED" in found.output
    assert "WY210" not in own.output
    assert f"box {host}/a/b:1: ImageAuthFailed" in own.output


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that reads and never answers."""
    await reader.read()
    writer.close()


async def test_silent_registries_are_given_up_side_by_side() -> None:
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listener:
        host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        names = [f"{host}/a:{n}" for n in range(20)]
        answers = await asyncio.to_thread(ask, names, seconds=0.2)

    assert list(answers) == names
    assert {a.reason for a in answers.values()} == {"RegistryUnavailable"}
    assert "did not answer within 0.2 s" in answers[names[0]].message


def test_without_the_option_no_registry_is_asked(project: Path) -> None:
    (project / "wercker.yml").write_text(SOUND)

    assert "images" not in json.loads(check("-o", "json").output)


def test_steps_that_only_a_registry_can_have_are_named(project: Path) -> None:
    (project / "wercker.yml").write_text(REGISTRY_STEPS)
    found = check()
    one = json.loads(check("--pipeline", "other", "-o", "json").output)

    assert found.exit_code == 0
    assert found.output.endswith(
        "wercker.yml: needs a step registry (setting steps.registry) for: acme/npm-install, "
        "acme/deploy@1.0, acme/tell\n"
    )
    assert one["registrySteps"] == ["acme/tell"]


REGISTRY_STEPS = """\
box: debian:12
build:
  steps:
    - npm-install
    - arjen/hugo-build@1.0
    - acme/npm-install
    - acme/deploy@1.0
    - acme/own "file:///steps/own"
    - script: {code: make}
    - internal/docker-push: {repository: a/b}
other:
  steps: []
  after-steps:
    - acme/tell
"""
