"""The canonical form shows what the original did, also where we do better and the real files have no example."""

from __future__ import annotations

from typing import Any

import pytest
from tests.corpus.canonical import canonical

from sentinel.config.load import load

EMPTY = {
    "error": None,
    "box": None,
    "services": [],
    "command_timeout": 0,
    "no_response_timeout": 0,
    "source_dir": "",
    "ignore_file": "",
    "pipelines": {},
}
BOX = {
    "id": "", "name": "", "tag": "", "cmd": "", "entrypoint": "", "volumes": "", "url": "",
    "env": {}, "ports": [], "auth": {},
}  # fmt: skip
PIPELINE = {
    "box": None, "services": None, "base_path": "", "docker": False, "steps": [], "after_steps": [], "targets": {},
}  # fmt: skip
STEP = {"id": "", "name": "", "cwd": "", "checkpoint": "", "data": {}}


def form(text: str) -> dict[str, Any]:
    """The keys that differ from those of a file with nothing in it."""
    found = canonical(load(text.encode()))
    assert found.keys() == EMPTY.keys()
    return {key: value for key, value in found.items() if value != EMPTY[key]}


@pytest.mark.parametrize(
    "pipeline",
    [
        "[a]", "make", "{steps: make}", "{steps: {a: {}}}", "{env: {A: 1}}", "{name: x}", '{docker: "true"}',
        "{box: [a]}", "{box: {id: a, ports: 80}}", "{box: {id: a, env: [A=1]}}", "{services: redis}",
        "{services: [{id: a, env: {A: [1]}}]}", "{services: [[a]]}", '{box: {id: a, aws-strict-auth: "yes"}}',
        "{base-path: [/a]}",
    ],
)  # fmt: skip
def test_a_pipeline_with_a_type_error_left_no_trace(pipeline: str) -> None:
    assert form(f"build: {pipeline}\nother: {{}}\n") == {"pipelines": {"other": PIPELINE}}


@pytest.mark.parametrize(
    "item", ["npm-install:", "script:", "script: echo", "a: [b]", "{}", "[a, b]", "a: ~"]
)
@pytest.mark.parametrize("list_", ["steps", "after-steps", "production"])
def test_a_step_without_options_under_it_rejected_the_file(item: str, list_: str) -> None:
    found = form(f"box: debian\nbuild:\n  {list_}:\n    - {item}\nother: {{}}\n")

    assert found.keys() == {"error"}
    assert found["error"]


def test_nothing_is_a_null_in_its_place() -> None:
    text = (
        "services: [a, ~, {id: b}]\nbuild:\n  services: [~]\n  steps:\n    - x\n    -\n    - y\n"
        "  production:\nempty:\n"
    )

    assert form(text) == {
        "services": [BOX | {"id": "a"}, None, BOX | {"id": "b"}],
        "pipelines": {
            "build": PIPELINE
            | {
                "services": [None],
                "steps": [STEP | {"id": "x"}, None, STEP | {"id": "y"}],
                "targets": {"production": []},
            },
            "empty": None,
        },
    }


def test_a_box_of_the_file_keeps_what_is_right_of_it_and_a_service_goes_whole() -> None:
    assert form("box: {id: a, ports: 80, cmd: sh}\nservices: [{id: b, ports: 80}, [c], d]\n") == {
        "box": BOX | {"id": "a", "cmd": "sh"},
        "services": [BOX | {"id": "d"}],
    }
    assert form("box: [a]\n") == {"box": BOX}
    assert form("services: redis\n") == {}


def test_what_is_not_an_identifier_was_one_and_code_is_there_though_empty() -> None:
    steps = "    - echo hello\n    - script:\n      code:\n    - script: {code: [a]}\n    - script: {name: n}\n"

    assert form(f"build:\n  steps:\n{steps}")["pipelines"]["build"]["steps"] == [
        STEP | {"id": "echo hello"},
        STEP | {"id": "script", "data": {"code": ""}},
        STEP | {"id": "script", "data": {"code": ""}},
        STEP | {"id": "script", "name": "n"},
    ]


def test_timeouts_are_as_written_and_texts_as_their_source() -> None:
    assert form("command-timeout: -7\nno-response-timeout: 90.5\nsource-dir: 010\nignore-file: no\n") == {
        "command_timeout": -7,
        "no_response_timeout": 90,
        "source_dir": "010",
        "ignore_file": "no",
    }  # fmt: skip
