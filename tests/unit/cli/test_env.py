"""`sentinel env` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.unit.plan.examples import build

from sentinel.cli import main
from sentinel.plan.environment import resolve, user_variables

TEXT = "X_PUBLIC=hello\nXXX_TOKEN='-n \"$x\" `y`'\nNO=1\nX_LATER=<$PUBLIC>\n"


def run(*args: str, text: str = TEXT) -> tuple[str, str, int]:
    done = CliRunner().invoke(main, ["env", "-", *args], input=text)
    return done.stdout, done.stderr, done.exit_code


def test_env_and_secret_together_are_what_the_file_says() -> None:
    out, err, status = run("--secret", "mine")
    env = yaml.safe_load(out)["env"]
    secret = yaml.safe_load(run("--secret", "mine", "-o", "secret")[0])

    assert (status, err) == (
        0,
        "-: line 3: NO begins with neither X_ nor XXX_ and is no variable of builds\n",
    )
    assert '"$x"' not in out
    data = {key: value.encode() for key, value in secret["stringData"].items()}
    resolved = resolve(
        user_variables(build(env=env)),
        secrets={secret["metadata"]["name"]: data},
        config_maps={},
    )
    assert resolved.env == (
        ("PUBLIC", "hello"),
        ("TOKEN", '-n "$x" `y`'),
        ("LATER", "<hello>"),
    )
    assert resolved.masks == (b'-n "$x" `y`',)


def test_the_secret_is_one_that_kubectl_takes() -> None:
    assert yaml.safe_load(run("-o", "secret")[0]) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "environment"},
        "type": "Opaque",
        "stringData": {"TOKEN": '-n "$x" `y`'},
    }


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["env", str(tmp_path / "ENVIRONMENT")])

    assert done.exit_code == 2
    assert "ENVIRONMENT" in done.stderr


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "X_NAME=café\n".encode("latin-1"),
            "Error: -:1: the file is not UTF-8 text: byte 0xe9 at offset 10; save it as UTF-8\n",
        ),
        (
            "X_NAME=a\n".encode("utf-16"),
            "Error: -:1: the file is UTF-16 text, not UTF-8; save it as UTF-8\n",
        ),
    ],
)
def test_a_file_that_is_not_utf_8_is_refused_with_its_place(data: bytes, message: str) -> None:
    done = CliRunner().invoke(main, ["env", "-"], input=data)

    assert (done.exit_code, done.stderr) == (1, message)
