"""Whole files: every shape that people write, and what is said of the ones that are wrong."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.api.reasons import Reason
from sentinel.config.boxes import AUTH_KEYS
from sentinel.config.diagnostics import render
from sentinel.config.load import ConfigError, Loaded, load, pipeline_of
from sentinel.config.model import Box, Config, Pipeline, Step

SAMPLE = """\
box: wercker/ruby
services:
    - mies/rethinkdb
build:
    steps:
        - bundle-install
        - script:
            name: middleman build
            code: |
              echo "hello world"
              bundle exec middleman build --verbose
deploy:
    steps:
        - s3sync:
            key_id: $AWS_ACCESS_KEY_ID
            key_secret: $AWS_ACCESS_FOO
            source_dir: build/
    after-steps:
        - hipchat-notify
            token: $HIPCHAT_TOKEN
            room_id: id
            from-name: name
"""


def read(text: str) -> Loaded:
    return load(text.encode())


def found(text: str) -> list[tuple[str, str, int, str]]:
    """(severity, pipeline, line, message) of each diagnostic."""
    return [(d.severity.value, d.pipeline, d.line, d.message) for d in read(text).diagnostics]


def pipeline(text: str, name: str = "build") -> Pipeline:
    config = read(text).config
    assert config is not None
    return config.pipelines[name]


def script(code: str, **said: Any) -> Step:
    return Step(identifier="script", name="script", kind="script", code=code, **said)


def test_the_original_designs_sample_runs_once_its_colon_is_there() -> None:
    loaded = read(SAMPLE.replace("hipchat-notify\n", "hipchat-notify:\n"))

    assert loaded.diagnostics == ()
    assert loaded.config == Config(
        box=Box(id="wercker/ruby", line=1),
        services=(Box(id="mies/rethinkdb", line=3),),
        pipelines={
            "build": Pipeline(
                name="build",
                line=4,
                steps=(
                    Step(
                        identifier="bundle-install", name="bundle-install", kind="registry", line=6
                    ),
                    script(
                        'echo "hello world"\nbundle exec middleman build --verbose\n',
                        display_name="middleman build",
                        line=7,
                    ),
                ),
            ),
            "deploy": Pipeline(
                name="deploy",
                line=12,
                steps=(
                    Step(
                        identifier="s3sync",
                        name="s3sync",
                        kind="registry",
                        properties=(
                            ("key_id", "$AWS_ACCESS_KEY_ID"),
                            ("key_secret", "$AWS_ACCESS_FOO"),
                            ("source_dir", "build/"),
                        ),
                        line=14,
                    ),
                ),
                after_steps=(
                    Step(
                        identifier="hipchat-notify",
                        name="hipchat-notify",
                        kind="registry",
                        properties=(
                            ("token", "$HIPCHAT_TOKEN"),
                            ("room_id", "id"),
                            ("from-name", "name"),
                        ),
                        line=19,
                    ),
                ),
            ),
        },
    )


def test_the_original_designs_sample_is_reported_with_the_place_of_its_colon() -> None:
    loaded = read(SAMPLE)

    (diagnostic,) = loaded.diagnostics
    assert loaded.config is None
    assert render(diagnostic, path="wercker.yml", text=loaded.text) == (
        "wercker.yml:19:25: error WY004: step hipchat-notify has no colon behind its name, so token on line 20 "
        "cannot be one of its options\n"
        " 19 |         - hipchat-notify\n"
        "    |                         ^\n"
        "   hint: write: - hipchat-notify:"
    )


NO_BASE = "cannot hold the source:"
STEP = "box: b\nbuild:\n  steps:\n"


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("    - script: {name: n, code: c}\n", script("c", display_name="n", line=4)),
        (
            "    - script:\n      name: n\n      code: c\n      cwd: d\n",
            script("c", display_name="n", cwd="d", line=4),
        ),
        ("    - script:\n\n        code: |\n          a\n          b\n", script("a\nb\n", line=4)),
        ("    - script: {code: false}\n", script("false", line=4)),
        (
            "    - script: {code: a, on: yes, n: 0x10}\n",
            script("a", properties=(("on", "true"), ("n", "16")), line=4),
        ),
        (
            "    - 5\n",
            Step(identifier="5", name="5", kind="registry", line=4),
        ),
        (
            "    - foo: {}\n",
            Step(identifier="foo", name="foo", kind="registry", line=4),
        ),
        (
            "    - me/script@9: {code: x}\n",
            Step(
                identifier="me/script@9",
                owner="me",
                name="script",
                version="9",
                kind="script",
                code="x",
                line=4,
            ),
        ),
        (
            "    - arjen/hugo-build@1.13.0-rc.1:\n      version: 0.13\n      checkpoint: yes\n",
            Step(
                identifier="arjen/hugo-build@1.13.0-rc.1",
                owner="arjen",
                name="hugo-build",
                version="1.13.0-rc.1",
                kind="registry",
                checkpoint="yes",
                properties=(("version", "0.13"),),
                line=4,
            ),
        ),
        (
            '    - foo "https://host/x.tgz"\n',
            Step(
                identifier='foo "https://host/x.tgz"',
                name="foo",
                url="https://host/x.tgz",
                kind="registry",
                line=4,
            ),
        ),
        (
            "    - aws/ecs-run:\n      container_command: null\n      task-count: 1\n",
            Step(
                identifier="aws/ecs-run",
                owner="aws",
                name="ecs-run",
                kind="registry",
                properties=(("container_command", ""), ("task-count", "1")),
                line=4,
            ),
        ),
    ],
)
def test_a_step_in_each_of_its_shapes(text: str, step: Step) -> None:
    loaded = read(STEP + text)

    assert loaded.diagnostics == ()
    assert pipeline(STEP + text).steps == (step,)


@pytest.mark.parametrize(
    ("text", "step", "message"),
    [
        (
            "    - npm-install:\n",
            Step(identifier="npm-install", name="npm-install", kind="registry", line=4),
            "step npm-install has a colon but no options",
        ),
        (
            "    - script:\n        code: inner\n      name: outer\n",
            script("inner", display_name="outer", line=4),
            "options of script stand under it and beside it; all of them are used",
        ),
        (
            "    - name: n\n      script: {code: c}\n",
            script("c", display_name="n", line=5),
            "script is taken as the step and name as its option",
        ),
        (
            "    - name: n\n      script:\n      code: c\n",
            script("c", display_name="n", line=5),
            "script is taken as the step and name as its option",
        ),
        (
            "    - script:\n",
            script("", line=4),
            "this script has no code, so it does nothing",
        ),
        (
            "    - push: {ports: ['80']}\n",
            Step(
                identifier="push", name="push", kind="registry", properties=(("ports", ""),), line=4
            ),
            "option ports is a list; a step gets texts only, so this is empty",
        ),
    ],
)
def test_a_step_that_is_understood_with_a_warning(text: str, step: Step, message: str) -> None:
    assert [(s, m) for s, _, _, m in found(STEP + text)] == [("warning", message)]
    assert pipeline(STEP + text).steps == (step,)


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        (
            "    - script: echo hi\n",
            4,
            "step script has a string where its options belong",
            "write code: echo hi under it, four spaces further in",
        ),
        (
            "    - heroku-deploy:\n        - key-name: K\n",
            5,
            "the options of heroku-deploy are a list",
            "remove the dashes before the options",
        ),
        (
            "    - {}\n",
            4,
            "not a step: a step is a name, or a name with options under it",
            "write: - script:, and under it, four spaces further in, code: …",
        ),
        (
            "    - [a, b]\n",
            4,
            "not a step: a step is a name, or a name with options under it",
            "write: - script:, and under it, four spaces further in, code: …",
        ),
        (
            "    - echo hello world\n",
            4,
            "'echo hello world' is not a step: steps are written owner/name@version",
            "a command is the code of a script: write - script:, and under it, four spaces further in, code: …",
        ),
    ],
)
def test_what_cannot_be_a_step_spoils_its_own_pipeline(
    text: str, line: int, message: str, hint: str
) -> None:
    loaded = read(f"{STEP}{text}    - script: {{code: x}}\nother: {{steps: []}}\n")

    assert [(d.line, d.message, d.hint, d.pipeline) for d in loaded.diagnostics] == [
        (line, message, hint, "build")
    ]
    assert pipeline_of(loaded, "other") == Pipeline(
        name="other", line=loaded.config.pipelines["other"].line
    )  # type: ignore[union-attr]
    with pytest.raises(ConfigError) as caught:
        pipeline_of(loaded, "build")
    assert (caught.value.reason, caught.value.diagnostics) == (
        Reason.CONFIG_INVALID,
        loaded.diagnostics,
    )


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("build:\n  - script: {code: x}\n", 3, "pipeline build is a list; its steps belong under steps:"),
        ("build:\n", 2, "pipeline build is empty"),
        ("build:\n  steps: {script: {}}\n", 3, "steps must be a list, not a map"),
        ("build:\n  steps: npm-install\n", 3, "steps must be a list, not a text"),
        ("build:\n  env: {A: 1}\n", 3, "unknown key env in pipeline build"),
        ("build:\n  command-timeout: 10\n", 3, "unknown key command-timeout in pipeline build"),
        ('build:\n  docker: "true"\n', 3, "docker must be true or false, without quotes"),
        ("build:\n  base-path: src\n", 3, f"base-path src {NO_BASE} it must be absolute, beginning with /"),
        ("build:\n  base-path: /proc/x\n", 3, f"base-path /proc/x {NO_BASE} /proc is the kernel's"),
        ("build:\n  base-path: /run/sentinel/../sentinel/x\n", 3,
         f"base-path /run/sentinel/../sentinel/x {NO_BASE} /run/sentinel is Sentinel's own"),
        ("build:\n  base-path: /src\n", 3,
         f"base-path /src {NO_BASE} it must be at least two levels deep, as its parent is recreated"),
        ("build:\n  box: [a]\n", 3, "a box is the name of an image or a map with id, not a list"),
        ("build:\n  box: {tag: 1}\n", 3, "this box names no image"),
        ("build:\n  services: [{tag: 1}]\n", 3, "this service names no image"),
        (
            "build:\n  box: owner/box@sha256:1\n", 3,
            "owner/box@sha256:1 has a digest that is malformed",
        ),
    ],
)  # fmt: skip
def test_what_upstream_swallowed_is_reported_and_only_affects_that_pipeline(
    text: str, line: int, message: str
) -> None:
    loaded = read(f"box: b\n{text}other: {{steps: []}}\n")

    assert [(d.severity, d.line, d.message, d.pipeline) for d in loaded.diagnostics] == [
        ("error", line, message, "build")
    ]
    assert pipeline_of(loaded, "other").steps == ()
    with pytest.raises(ConfigError, match=r"wercker\.yml:"):
        pipeline_of(loaded, "build")


@pytest.mark.parametrize("text", ["build: {}", "build: {steps: }", "build: {passed: , steps: []}"])
def test_a_pipeline_without_steps_is_one(text: str) -> None:
    assert pipeline(f"box: b\n{text}\n").steps == ()
    assert [d for d in read(text).diagnostics if d.severity == "error"] == []


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("box: 5", Box(id="5", line=1)),
        ("box: host:5000/a/b:1", Box(id="host:5000/a/b:1", line=1)),
        ("box: a@sha256:" + "b" * 64, Box(id="a@sha256:" + "b" * 64, line=1)),
        (
            "box: {id: a, tag: 1.10, cmd: /bin/sh, env: {A: yes, b: 0123, C: }, ports: [80], name: n}",
            Box(
                id="a",
                tag="1.10",
                cmd="/bin/sh",
                name="n",
                env=(("A", "yes"), ("b", "0123"), ("C", "")),
                ports=("80",),
                line=1,
            ),
        ),
        (
            "box: {id: a, password: $P, username: u, aws-strict-auth: yes, registry: ''}",
            Box(
                id="a",
                auth=(("username", "u"), ("password", "$P"), ("aws-strict-auth", "true")),
                line=1,
            ),
        ),
        ("box: ", None),
        ("other: {}", None),
    ],
)
def test_a_box_in_each_of_its_shapes(text: str, box: Box | None) -> None:
    loaded = read(f"{text}\n")

    assert loaded.config is not None
    assert (loaded.config.box, loaded.diagnostics) == (box, ())


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("ports: 8080", "ports of a box must be a list, not a text; it is ignored", 'write: ports: ["8080"]'),
        ("env: [A=1]", "env of a box must be a map, not a list; it is ignored", "write each variable as NAME: value"),
        ("cmd: [a]", "cmd of a box must be a string, not a list; it is ignored", "write it on one line: cmd: …"),
        ("entry-point: x", "unknown key entry-point of a box; it is ignored", "did you mean entrypoint?"),
        (
            "steps: []",
            "unknown key steps of a box; it is ignored",
            "steps belong to the pipeline: begin the line below box:, with as many spaces",
        ),
        (
            "auth: {}",
            "unknown key auth of a box; it is ignored",
            "write its keys (username, password, registry) beside id, without auth:",
        ),
    ],
)  # fmt: skip
def test_a_wrong_key_of_a_box_is_left_out_and_reported(text: str, message: str, hint: str) -> None:
    loaded = read(f"box: {{id: a, {text}}}\n")

    assert [(d.severity, d.message, d.hint) for d in loaded.diagnostics] == [
        ("warning", message, hint)
    ]
    assert loaded.config == Config(box=Box(id="a", line=1))


def test_an_error_in_the_files_box_spoils_only_the_pipelines_that_inherit_it() -> None:
    loaded = read("box: old/box@sha256:1\nbuild: {}\nfine: {box: debian}\n")

    assert [(d.severity, d.line, d.pipeline) for d in loaded.diagnostics] == [("error", 1, "build")]
    assert pipeline_of(loaded, "fine").box == Box(id="debian", line=3)


def test_services_are_replaced_inherited_or_emptied() -> None:
    text = """\
services: [redis, {id: postgres, name: db}]
inherits: {services: }
none: {services: []}
own: {services: [mysql]}
"""

    services = {
        name: None if each.services is None else [box.id for box in each.services]
        for name, each in (read(text).config or Config()).pipelines.items()
    }

    assert services == {"inherits": None, "none": [], "own": ["mysql"]}
    assert (read(text).config or Config()).services == (
        Box(id="redis", line=1),
        Box(id="postgres", name="db", line=1),
    )


def test_a_service_written_like_a_step_is_repaired() -> None:
    loaded = read("services:\n  - redis:\n      tag: 3\n")

    assert (loaded.config or Config()).services == (Box(id="redis", tag="3", line=2),)
    assert [d.hint for d in loaded.diagnostics] == ["write: - id: redis"]


def test_target_sections_are_lists_of_steps_under_any_name() -> None:
    text = (
        "box: b\ndeploy:\n   Prod-1:\n   - script:\n     name: n\n     code: c\n   passed-steps:\n"
    )

    deploy = pipeline(text, "deploy")

    assert deploy.targets == {
        "Prod-1": (script("c", display_name="n", line=4),),
        "passed-steps": (),
    }
    assert deploy.steps == ()


def test_anchors_and_merges_work_in_pipelines_boxes_and_steps() -> None:
    text = """\
x-steps: &steps
  - script: &opts {code: make, level: 3}
base: &base {box: debian, steps: *steps}
build:
  <<: *base
  after-steps:
    - script: {<<: *opts, code: other}
"""

    build = pipeline(text)

    assert build.box == Box(id="debian", line=3)
    assert build.steps == (script("make", properties=(("level", "3"),), line=2),)
    assert build.after_steps == (script("other", properties=(("level", "3"),), line=7),)
    pipeline_of(read(text), "build")


@pytest.mark.parametrize(
    ("text", "minutes", "message"),
    [
        ("10", 10.0, None),
        ("7.5", 7.0, None),
        ("90", 90.0, "command-timeout is cut to 60 minutes"),
        ("0", 0.0, "command-timeout must be at least 1 minute; the default is used"),
        ('"30"', None, "command-timeout must be a number of minutes; the value is ignored"),
        ("[1]", None, "command-timeout must be a number of minutes; the value is ignored"),
        ("1e999", 1e9, "command-timeout is cut to 60 minutes"),
    ],
)
def test_timeouts_are_whole_minutes(text: str, minutes: float | None, message: str | None) -> None:
    loaded = read(f"command-timeout: {text}\n")

    assert (loaded.config or Config()).command_timeout == minutes
    assert [d.message for d in loaded.diagnostics] == ([message] if message else [])


def test_the_other_keys_of_the_root() -> None:
    loaded = read("no-response-timeout: 3\nsource-dir: sub\nignore-file: .ignored\nworkflows: []\n")

    assert loaded == Loaded(
        config=Config(no_response_timeout=3.0, source_dir="sub", ignore_file=".ignored"),
        diagnostics=(),
        text=loaded.text,
    )


def test_an_unknown_pipeline_is_answered_with_those_there_are() -> None:
    loaded = read("box: b\nBuild: {}\ndeploy: {}\n")

    with pytest.raises(ConfigError) as caught:
        pipeline_of(loaded, "build")

    assert caught.value.reason is Reason.PIPELINE_NOT_FOUND
    assert caught.value.message == (
        "wercker.yml has no pipeline build; it has: Build, deploy. did you mean Build?"
    )


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "wercker.yml is empty"),
        ("# only this\n", 0, "wercker.yml is empty"),
        ("- a\n", 1, "wercker.yml is a list, so there is no pipeline in it"),
        ("owner/box@1\n", 1, "wercker.yml is a text, so there is no pipeline in it"),
    ],
)
def test_a_file_without_a_pipeline_is_reported(text: str, line: int, message: str) -> None:
    loaded = read(text)

    assert [(d.line, d.message) for d in loaded.diagnostics] == [(line, message)]
    with pytest.raises(ConfigError, match=message):
        pipeline_of(loaded, "build")


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        (
            "box:debian\nbuild:\n  steps: []\n",
            (1, 4),
            "there is no space behind the colon of box",
            "write: box: debian",
        ),
        (
            STEP + "    -script:\n        code: x\n    - a\n",
            (4, 5),
            "there is no space between the dash and script, so this is no item of the list",
            "write: - script:",
        ),
        (
            STEP + "    - a\n     - b\n",
            None,
            None,
            None,
        ),
        (
            STEP + "    - script:\n        name: a\n            code: x\n",
            (6, 13),
            "code is indented further than name on line 5, which has its value already",
            "begin it below name, with 8 spaces before it",
        ),
        (
            STEP + "    - a/b: api: $API\n        user: u\n",
            (4, 12),
            "the first option of a/b stands on the step's own line",
            "put api: $API on the next line, under the step, four spaces further in than its dash",
        ),
        (
            STEP + "    - script:\n        name: build: it's all\n        code: x\n",
            (5, 15),
            "the value of name has a colon of its own, so YAML takes it for another key",
            "quote it: name: 'build: it''s all'",
        ),
        (
            STEP + "    - a: {x: 1}\n   steps:\n    - b\n",
            (5, 4),
            "steps has 3 spaces before it, its neighbours above (from line 3 on) have 2",
            "begin the line with 2 spaces",
        ),
        (
            STEP + "    - a: {x: 1}\n     - b\n",
            (5, 6),
            "b has 5 spaces before it, its neighbours above (from line 4 on) have 4",
            "begin the line with 4 spaces",
        ),
        (
            "box: @foo\n",
            (1, 6),
            "a value cannot begin with @",
            "put the whole value in single quotes",
        ),
        (
            "box: 'debian\n",
            (1, 6),
            "the quote that opens here is not closed",
            "close it at the end of the text, or remove it",
        ),
    ],
)
def test_a_slip_is_reported_where_it_is(
    text: str, place: tuple[int, int] | None, message: str | None, hint: str | None
) -> None:
    loaded = read(text)

    if place is None:
        # `- b` below `- a`, one further in, is the text "a - b" to YAML: no syntax error, but no step either.
        assert [d.code for d in loaded.diagnostics] == ["WY305"]
        return
    (diagnostic,) = loaded.diagnostics
    assert ((diagnostic.line, diagnostic.column), diagnostic.message, diagnostic.hint) == (
        place,
        message,
        hint,
    )


def test_a_file_with_too_many_errors_shows_the_first_and_does_not_run() -> None:
    loaded = read("build: {steps: []}\n" + "".join(f"k{n}: v\n" for n in range(20_000)))

    assert loaded.config is None
    assert len(loaded.diagnostics) == 501
    with pytest.raises(
        ConfigError, match=r"more than 500 errors and warnings; showing the first 500"
    ):
        pipeline_of(loaded, "build")


FRAGMENTS = st.sampled_from(
    [
        "box", "services", "build", "deploy", "steps", "after-steps", "script", "code", "name",
        "command-timeout", "base-path", "docker", "env", "ports", "id", "tag", ": ", ":\n", "\n",
        "  ", "    ", "- ", "[", "]", "{", "}", ", ", "'", '"', "|", ">", "&a ", "*a", "<<: ", "!!str ",
        "!x ", "#", "@", "~", "yes", "0x1F", "1e999", "\t", "\r\n", "---\n", "...\n", "%", "? ", "$X", "\x00",
        "\x85", "\u2028", "é", "😀", "%TAG ! tag:x:\n",
    ]
)  # fmt: skip


def check(loaded: Loaded) -> None:
    """What holds for whatever was read."""
    lines = len(loaded.text.splitlines()) + 1
    for each in loaded.diagnostics:
        assert 0 <= each.line <= lines
        assert each.message
        assert render(each, path="w", text=loaded.text).startswith("w")
    assert list(loaded.diagnostics) == sorted(set(loaded.diagnostics))
    assert (loaded.config is None) <= bool(loaded.diagnostics)
    try:
        assert pipeline_of(loaded, "build").name == "build"
    except ConfigError as error:
        assert error.diagnostics


FUZZ = int(os.environ.get("FUZZ_EXAMPLES", "5000" if os.environ.get("CI") else "1500"))
"""Cases of each of the two tests below; `FUZZ_EXAMPLES=100000` is what a release gets."""


@pytest.mark.timeout(1800)
@settings(max_examples=max(400, FUZZ // 4))
@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything(data: bytes) -> None:
    check(load(data))


@pytest.mark.timeout(1800)
@settings(max_examples=FUZZ)
@given(st.lists(FRAGMENTS, max_size=40).map("".join))
def test_nothing_that_looks_like_a_wercker_yml_raises_anything(text: str) -> None:
    check(load(text.encode()))


@pytest.mark.parametrize(
    ("box", "image"),
    [
        (Box(id="debian"), "debian"),
        (Box(id="debian", tag="12"), "debian:12"),
        (Box(id="debian:11", tag="12"), "debian:12"),
        (Box(id="host:5000/a/b"), "host:5000/a/b"),
        (Box(id="host:5000/a/b", tag="1"), "host:5000/a/b:1"),
        (Box(id="host:5000/a/b:0", tag="1"), "host:5000/a/b:1"),
        (Box(id="$IMAGE", tag="$TAG"), "$IMAGE:$TAG"),
        (Box(id="a@sha256:" + "b" * 64, tag="1"), "a@sha256:" + "b" * 64),
    ],
)
def test_the_image_of_a_box(box: Box, image: str) -> None:
    assert box.image == image


def test_the_credentials_of_every_kind_of_registry_are_kept() -> None:
    keys = [key for key in AUTH_KEYS if key != "aws-strict-auth"]
    text = "box:\n  id: a\n" + "".join(f"  {key}: ${n}\n" for n, key in enumerate(keys))

    loaded = read(text + "  aws-strict-auth: yes\n")

    assert loaded.diagnostics == ()
    assert loaded.config is not None
    assert loaded.config.box is not None
    expected = {**{key: f"${n}" for n, key in enumerate(keys)}, "aws-strict-auth": "true"}
    assert dict(loaded.config.box.auth) == expected
