"""Each row of wercker.md "The file", what upstream swallowed, and odd shapes of real files, with what we say to them."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from sentinel.config.load import ConfigError, load, pipeline_of, relevant

HEAD = "box: debian\nother: {steps: []}\n"


class Row(NamedTuple):
    """A shape (its first line is line 3 of the file), and what is said: (code, severity, line, message)."""

    shape: str
    text: str
    said: tuple[tuple[str, str, int, str], ...]


SWALLOWED = (
    Row("pipeline is a list", "build:\n  - script: {code: make}\n",
        (("WY103", "error", 4, "pipeline build is a list; its steps belong under steps:"),)),
    Row("pipeline is a scalar", "build: make\n",
        (("WY106", "error", 3, "unknown key build; expected a map with steps, got a string"),)),
    Row("pipeline is null", "build:\n", (("WY102", "error", 3, "pipeline build is empty"),)),
    Row("pipeline is {}", "build: {}\n", ()),
    Row("steps is null", "build:\n  steps:\n", ()),
    Row("steps is a scalar", "build: {steps: make}\n",
        (("WY105", "error", 3, "steps must be a list, not a text"),)),
    Row("steps is a map", "build:\n  steps:\n    script: {code: x}\n",
        (("WY105", "error", 5, "steps must be a list, not a map"),)),
    Row("unknown key, scalar", "build: {name: x}\n",
        (("WY104", "error", 3, "unknown key name in pipeline build"),)),
    Row("unknown key, map", "build: {env: {A: 1}}\n",
        (("WY104", "error", 3, "unknown key env in pipeline build"),)),
    Row("unknown key, number", "build: {command-timeout: 10}\n",
        (("WY104", "error", 3, "unknown key command-timeout in pipeline build"),)),
    Row("unknown key, null", "build:\n  passed-steps:\n",
        (("WY109", "warning", 4, "passed-steps is from wercker before Docker images and is not run"),)),
    Row("docker quoted", 'build: {docker: "true"}\n',
        (("WY107", "error", 3, "docker must be true or false, without quotes"),)),
    Row("docker by a YAML word", "build: {docker: yes}\n", ()),
    Row("pipeline's box with a wrong sub-key", "build: {box: {id: a, ports: 8080}}\n",
        (("WY107", "warning", 3, "ports of a box must be a list, not a text; it is ignored"),)),
    Row("a bad step", "build:\n  steps:\n    - script: echo hi\n",
        (("WY301", "error", 5, "step script has a string where its options belong"),)),
)  # fmt: skip


@pytest.mark.parametrize("row", SWALLOWED, ids=[row.shape for row in SWALLOWED])
def test_what_upstream_swallowed_is_reported(row: Row) -> None:
    loaded = load((HEAD + row.text).encode())

    said = tuple((d.code, d.severity, d.line, d.message) for d in loaded.diagnostics)
    assert said == row.said
    assert pipeline_of(loaded, "other").steps == (), "the other pipeline runs"
    if any(severity == "error" for _, severity, _, _ in said):
        with pytest.raises(ConfigError):
            pipeline_of(loaded, "build")


def test_a_wrong_sub_key_of_the_files_box_is_left_out_and_reported() -> None:
    loaded = load(b"box: {id: a, ports: 8080, cmd: sh}\n")

    assert [(d.code, d.line) for d in loaded.diagnostics] == [("WY107", 1)]
    assert loaded.config is not None
    assert loaded.config.box is not None
    assert (loaded.config.box.id, loaded.config.box.cmd) == ("a", "sh")


def test_a_sound_pipeline_beside_a_broken_one_gets_a_warning() -> None:
    loaded = load(b"build: {steps: []}\ndeploy: {steps: none, env: {}}\n")

    assert [(d.code, d.severity, d.line, d.message) for d in relevant(loaded, "build")] == [
        (
            "WY112",
            "warning",
            2,
            "deploy has errors, which do not concern build: steps must be a list, not a text",
        )
    ]
    assert pipeline_of(loaded, "build").name == "build"


ODD = (
    Row("mis-indented with a bare step", "build:\n  steps:\n    - internal/docker-push:\n      username: u\n"
        "      password: p\n      repository: r/i\n    - internal/shell\n", ()),
    Row("a script with null before the next step", "build:\n  steps:\n    - script:\n    - install-packages: {packages: git}\n",
        (("WY306", "warning", 5, "this script has no code, so it does nothing"),)),
    Row("a target indented by three", "deploy:\n   Prod-1:\n   - script:\n       code: make\n", ()),
    Row("a float and a list", "build:\n  steps:\n    - hugo-build: {version: 0.13}\n    - internal/docker-push: {repository: a, ports: ['80']}\n",
        (("WY307", "warning", 6, "option ports is a list; a step gets texts only, so this is empty"),)),
    Row("a float, and a list given twice", "build:\n  steps:\n    - hugo-build: {version: 0.13}\n"
        "    - internal/docker-push:\n        repository: a\n        ports: [\"80\"]\n        ports: [\"80\"]\n",
        (("WY009", "warning", 9, "ports is defined here and on line 8: this one counts"),
         ("WY307", "warning", 9, "option ports is a list; a step gets texts only, so this is empty"))),
    Row("a list as a pipeline, with internal/shell", "dev:\n  - npm-install\n  - internal/shell: {cmd: /bin/sh}\n",
        (("WY103", "error", 4, "pipeline dev is a list; its steps belong under steps:"),)),
    Row("an empty item", "build:\n  steps:\n    - npm-install\n    -\n",
        (("WY301", "warning", 6, "an empty item is left out"),)),
    Row("a misspelt key of a pipeline", "build:\n  base_path: /go/src/x\n",
        (("WY104", "error", 4, "unknown key base_path in pipeline build"),)),
    Row("null and number options", "build:\n  steps:\n    - a/b@1.10.0: {v: \"0.16\", container_command: null, task-count: 1}\n", ()),
    Row("an expansion", "build:\n  steps:\n    - create-file: {filename: v, content: '${WERCKER_GIT_COMMIT:0:8}'}\n", ()),
    Row("cwd below the source", "build:\n  steps:\n    - script: {cwd: $WERCKER_SOURCE_DIR/lib/x/, code: make}\n", ()),
    Row("a list of options", "build:\n  steps:\n    - heroku-deploy:\n        - key-name: K\n",
        (("WY301", "error", 6, "the options of heroku-deploy are a list"),)),
    Row("a misspelt option", "build:\n  steps:\n    - pip-install: {requeriments_file: r.txt}\n",
        (("WY308", "warning", 5, "pip-install has no option requeriments_file"),)),
    Row("tags for tag", "build:\n  steps:\n    - internal/docker-push: {repository: a, tags: v1}\n",
        (("WY308", "warning", 5, "internal/docker-push has no option tags; it is ignored"),)),
    Row("a push to nowhere", "build:\n  steps:\n    - internal/docker-push: {disable-sync: true}\n",
        (("WY310", "warning", 5, "internal/docker-push requires the option repository, which is missing"),)),
    Row("steps in the box", "build:\n  box:\n    id: a\n    steps:\n      - script: {code: make}\n",
        (("WY202", "warning", 6, "unknown key steps of a box; it is ignored"),)),
    Row("on and yes as options", "build:\n  steps:\n    - notify: {on: failed, yes: no}\n", ()),
    Row("a blank line in a step", "build:\n  steps:\n    - script:\n\n        code: make\n", ()),
    Row("a service with a pre-release version", "services:\n  - wercker/mongodb@0.0.2-beta\n",
        (("WY203", "warning", 4, "wercker/mongodb@0.0.2-beta names a service of wercker before Docker images"),)),
    Row("a step's list indented twice", "build:\n  steps:\n    - a: {x: 1}\n   steps:\n    - b\n",
        (("WY003", "error", 6, "steps has 3 spaces before it, its neighbours above (from line 4 on) have 2"),)),
    Row("a misspelt root key", "sevices:\n  - redis\n",
        (("WY106", "error", 3, "unknown key sevices, which does not look like a pipeline"),)),
    Row("steps at the left margin", "steps:\n  - script: {code: make}\n",
        (("WY106", "error", 3, "steps belongs in a pipeline, not at the left margin"),)),
    Row("an unknown internal step", "build:\n  steps:\n    - internal/docker-psuh: {repository: a}\n",
        (("WY309", "warning", 5, "unknown internal step internal/docker-psuh"),)),
)  # fmt: skip


def test_a_file_with_nothing_but_a_classic_box_says_both() -> None:
    loaded = load(b"box: owner/name@0.0.4\n")

    assert [(d.code, d.line, d.hint) for d in loaded.diagnostics] == [
        ("WY203", 1, "name an image with a tag, e.g. owner/name:0.0.4, if there is one")
    ]
    with pytest.raises(ConfigError, match=r"has no pipeline build"):
        pipeline_of(loaded, "build")


def test_a_root_that_is_indented_below_its_line_of_dashes() -> None:
    text = (
        '---\n  box: debian\n  build:\n    steps:\n      - a/b@1.10.0:\n          v: "0.16"\n'
        "          container_command: null\n          task-count: 1\n"
    )

    (step,) = pipeline_of(load(text.encode()), "build").steps
    assert (step.owner, step.name, step.version) == ("a", "b", "1.10.0")
    assert step.properties == (("v", "0.16"), ("container_command", ""), ("task-count", "1"))


def test_reserved_options_and_those_that_are_no_texts() -> None:
    text = "build:\n  steps:\n    - a: {name: 5, cwd: 7, checkpoint: true, list: [a], map: {a: b}, blank: }\n"

    (step,) = pipeline_of(load(text.encode()), "build").steps
    assert (step.display_name, step.cwd, step.checkpoint) == ("5", "7", "true")
    assert step.properties == (("list", ""), ("map", ""), ("blank", ""))


@pytest.mark.parametrize("row", ODD, ids=[row.shape for row in ODD])
def test_an_odd_shape_of_a_real_file(row: Row) -> None:
    loaded = load((HEAD + row.text).encode())

    assert tuple((d.code, d.severity, d.line, d.message) for d in loaded.diagnostics) == row.said


def test_the_first_of_the_real_scripts_begins_with_a_shebang_and_a_trap() -> None:
    code = "#!/bin/bash\nfunction f() { exit 0; }\ntrap f EXIT\n"
    text = "build:\n  steps:\n    - script:\n        code: |\n" + "".join(
        f"          {line}\n" for line in code.splitlines()
    )

    (step,) = pipeline_of(load(text.encode()), "build").steps
    assert step.code == code


def test_a_classic_file_is_recognised_as_a_whole() -> None:
    loaded = load(
        b"box: wercker/nodejs@1.2.0\nservices:\n  - wercker/mongodb@1.0.1\n"
        b"build:\n  steps: []\n  failed-steps:\n    - notify\n"
    )

    assert [(d.code, d.line) for d in loaded.diagnostics] == [
        ("WY113", 1),
        ("WY203", 1),
        ("WY203", 3),
        ("WY109", 6),
    ]
    assert loaded.diagnostics[1].hint == "name an image, e.g. node:<version>"


def test_why_a_pipeline_is_missing_is_reported_with_it() -> None:
    with pytest.raises(ConfigError, match=r"has no pipeline build; it has: none(.|\n)*left margin"):
        pipeline_of(load(b"box: debian\nsteps:\n  - script: {code: make}\n"), "build")
