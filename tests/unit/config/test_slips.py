"""Slips of the pen, as people make them: where it is, what it is, and the text that repairs it."""

from __future__ import annotations

import time

import pytest

from sentinel.config.load import load

HEAD = "box: debian\nbuild:\n  steps:\n"
SCRIPT = HEAD + "    - script:\n"


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        (
            SCRIPT + '        name: "abc\n        code: x\n    - b\n',
            (5, 15), "the quote that opens here is not closed", "close it at the end of the text, or remove it",
        ),
        (
            SCRIPT + "        code: *foo\n",
            (5, 15), "anchor &foo of alias *foo is not defined above",
            "if it is meant as a string, put it in quotes: '*foo'",
        ),
        (
            SCRIPT + "        code: [ -f x ] && make\n",
            (5, 15), "the value of code begins with [, which begins a list or a map",
            "write code: |, and the text on the next line, further in",
        ),
        (
            SCRIPT + "        code: |\n        echo a\n        echo b\n",
            (6, 9), "the text of code begins here, and must be further in than code itself",
            "begin each of its lines with 10 spaces",
        ),
        (
            SCRIPT + "        code: |\n            echo a\n\n          echo b\n",
            (8, 11), "this line is further left than the first line of the text of code (line 6)",
            "begin it with 12 spaces, if it belongs to code",
        ),
        (
            SCRIPT + "        code: |\n\t  make\n",
            (6, 1), "there is a tab in the indentation: YAML takes spaces only", "replace each tab by spaces",
        ),
        (
            "build: |\nbox",
            (2, 1), "the text of build begins here, and must be further in than build itself",
            "begin each of its lines with 2 spaces",
        ),
        (
            "box: {id: a}}\nbuild: {steps: []}\n",
            (1, 13), "this } closes nothing that is open", "remove it, or open its { before",
        ),
        (
            "box: a\n<<<<<<< HEAD\nbuild:\n  steps: []\n=======\nfoo: {}\n>>>>>>> x\n",
            (2, 1), "a merge was not finished here: this line is one of git's conflict marks",
            "keep what is right of the two versions, and delete the lines <<<<<<<, ======= and >>>>>>>",
        ),
        (
            "ruby:2.2.4\nbox: ruby\nbuild: {steps: []}\n",
            (1, 5), "there is no space behind the colon of ruby", "write: box: ruby:2.2.4",
        ),
        (
            "box: id: node:8\n", (1, 6), "id of the box is on the same line as box",
            "write box:, and on the next line, two spaces in, id: node:8",
        ),
        (
            "box: ruby: 2.3\n", (1, 6), "there is a space between the image's name ruby and its tag 2.3",
            "write box: ruby:2.3",
        ),
        (
            "box: a\nservices:\n  - id: postgres: 9.4\n", (3, 9),
            "there is a space between the image's name postgres and its tag 9.4", "write id: postgres:9.4",
        ),
        (
            "box: a\nservices: - redis\n", (2, 11), "the list of services begins on the same line as its key",
            "put - redis on the next line, 2 spaces in",
        ),
        (
            "// the box\nbox: a\n", (1, 1), "a comment in YAML begins with #, not with //", "replace // with #",
        ),
        (
            HEAD + "    // install\n    - script: {code: make}\n", (4, 5),
            "a comment in YAML begins with #, not with //", "replace // with #",
        ),
        (
            HEAD + "    - npm-install:\n    options: --foo\n", (5, 5),
            "options begins as far left as the dash of step npm-install (line 4), so it is not one of its options",
            "begin the line with 8 spaces",
        ),
        (
            SCRIPT + "        code: |\n          cat <<EOF\nhello there\nEOF\n    - script: {code: make}\n",
            (7, 1), "this line is further left than code (line 5), so the text of code ends above it",
            "begin it with 10 spaces if it belongs to code",
        ),
        *(
            (
                SCRIPT + f"        code: {code}\n", (5, 15), message,
                "write code: |, and the text on the next line, further in",
            )
            for code, message in (
                ("> out.txt", "the value of code begins with >, which in YAML begins a block of text"),
                ("| tee x", "the value of code begins with |, which in YAML begins a block of text"),
                ("*.sh run", "the value of code begins with *, which in YAML begins an alias"),
                ('"$A" && make', "the value of code goes on behind its closing quote"),
                ("'a' || make", "the value of code goes on behind its closing quote"),
            )
        ),
        (
            HEAD + "\u00a0   - script:\n\u00a0       code: x\n    - script:\n        code: y\n", (4, 1),
            "there is an invisible character here (U+00A0), which YAML does not treat as a space",
            "replace it with a space, here and in the other lines that have it",
        ),
        (
            "box: a\nbuild:\n\u00a0 steps:\n", (3, 1),
            "there is an invisible character before steps (U+00A0), which YAML does not treat as a space",
            "replace it with a space, here and in the lines below",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_not_yaml(
    text: str, place: tuple[int, int], message: str, hint: str
) -> None:
    loaded = load(text.encode())

    assert loaded.config is None
    assert [((d.line, d.column), d.message, d.hint) for d in loaded.diagnostics] == [
        (place, message, hint)
    ]


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        (
            SCRIPT + "        code: { make; }\n", 5,
            "the code of this script is a map to YAML, so nothing would run",
            "write code: |, and the script on the next lines, further in",
        ),
        (
            HEAD + "    - script: |\n        make\n        make check\n", 4,
            "step script has a string where its options belong",
            "write code: | under it, four spaces further in, and the text under that",
        ),
        (
            HEAD + "    - foo file:///x\n", 4,
            "'foo file:///x' is not a step: steps are written owner/name@version",
            'put the url in double quotes: foo "file:///x"',
        ),
        (
            HEAD + "    - foo\n     - bar\n", 4,
            "'foo - bar' is not a step: steps are written owner/name@version",
            "if these are several steps, begin each line with as many spaces before the dash",
        ),
        (
            "image: debian\nbuild: {box: a, steps: []}\n", 1,
            "unknown key image; expected a map with steps, got a string",
            "the image that the steps run in is called box",
        ),
        (
            "env:\n  CC: clang\n", 1,
            "unknown key env, which does not look like a pipeline",
            "env belongs in the box: write box:, below it id: with the image's name, and env: beside id; or set variables "
            "in the Build's spec.env",
        ),
        (
            "pipelines:\n  build: {steps: []}\n", 1,
            "unknown key pipelines, which does not look like a pipeline",
            "each pipeline stands at the left margin, e.g. build: with steps: under it",
        ),
        (
            "command-timeout: 30m\n", 1, "command-timeout must be a number of minutes; the value is ignored",
            "write command-timeout: 30, without quotes or unit",
        ),
        (
            "owner/box@1.0\n", 1, "wercker.yml is a text, so there is no pipeline in it",
            "write box: owner/box@1.0 and, below it, build: with steps:",
        ),
        (
            "box: {id: a, ports: [[80]]}\n", 1, "a port of a box must be a number, not a list; it is ignored",
            'write: "8080", "8080:80" or "8080/udp"',
        ),
        (
            'box: {id: a, aws-strict-auth: "true"}\n', 1,
            "aws-strict-auth must be true or false, without quotes; the value is ignored",
            "write: aws-strict-auth: true",
        ),
        (
            "box: {id: a, env: {A: [1]}}\n", 1, "the value of A must be a string, not a list; it is ignored",
            'write it as a string: A: "…"',
        ),
        *(
            (
                SCRIPT + f"        code: {code}\n", 5, message,
                "put the whole value in quotes, or write it in a block: |, and the text on the next line, further in",
            )
            for code, message in (
                ("! grep x", "YAML takes ! at the beginning of this value as a tag and drops it: the value is 'grep x'"),
                ("!test -e x", "YAML takes !test at the beginning of this value as a tag and drops it: the value is '-e x'"),
                (
                    "&bg sleep 5",
                    "YAML takes &bg as an anchor and drops it: the value is 'sleep 5', and no alias *bg uses the anchor",
                ),
            )
        ),
        (
            HEAD + "    - https://example.com/owner/step-foo\n", 4,
            "https://example.com/owner/step-foo is taken as the name of a step, not as a URL",
            'write the step\'s name before the URL, and the URL in double quotes: - foo '
            '"https://example.com/owner/step-foo"',
        ),
        (
            HEAD + "    - owner/foo:1.2\n", 4, "owner/foo:1.2 is taken as the name of a step, with the colon",
            "a version is written behind an @: - owner/foo@1.2",
        ),
        (
            "box: a\nbuild:\n  branches: [main]\n", 3, "branches is taken as the name of a deploy target",
            "wercker.yml does not choose branches: create Builds for the branches that you want",
        ),
        (
            SCRIPT + "        code: make\n        when: always\n", 6,
            "script has no option when; it changes nothing but the variable WERCKER_SCRIPT_WHEN",
            "a script has name, cwd and code; write conditions in the code",
        ),
        (
            SCRIPT + "        - make\n        - make test\n", 5, "the options of script are a list",
            "write code: | under script:, and each command on a line of its own below it, further in",
        ),
        (
            HEAD + "    - run: make\n", 4, "run: is a step of a GitHub workflow, not of wercker",
            "write - script:, and under it, four spaces further in, code: and the command",
        ),
        (
            HEAD + "    - name: get\n      uses: actions/checkout@v4\n", 5,
            "uses: is a step of a GitHub workflow, not of wercker",
            "name a wercker step, e.g. - npm-install, or write a script; the source is checked out already",
        ),
        (
            SCRIPT + "  code: make\n", 5, "unknown key code in pipeline build",
            "code is an option of a step: indent it four spaces further than the step's dash",
        ),
        (
            "box: a\ndeploy:\n  production:\n    steps: []\n", 3,
            "deploy target production of pipeline deploy is a map; a deploy target is a list of steps",
            "remove the line steps: and write the list right below production:",
        ),
        (
            "box:\n  ruby: 2.3\n", 2, "this box names no image", "remove the space: box: ruby:2.3",
        ),
        (
            "ports: [80]\n", 1, "unknown key ports, which does not look like a pipeline",
            "ports belongs in the box: write box:, below it id: with the image's name, and ports: beside id",
        ),
        (
            "box: a\nbase-path: /go/src/x\nbuild: {steps: []}\n", 2,
            "base-path belongs in a pipeline; at the left margin it is ignored",
            "write build:, and below it base-path:, two spaces in",
        ),
    ],
)  # fmt: skip
def test_a_file_that_means_something_else(text: str, line: int, message: str, hint: str) -> None:
    assert (line, message, hint) in [
        (d.line, d.message, d.hint) for d in load(text.encode()).diagnostics
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"a: b\n  " + b"- " * 100_000 + b"c: d\n",
        b"a: b\n  " + b"- " * 100_000 + b"c\n  x: d\n",
        b"a: b\n" + b" " * 100_000 + b"c: d\n",
        b"a: b\n  " + b"x:" * 100_000 + b": c\n",
        b"\n" * 900_000 + b"a: b: c\n",
        b"a: |\n" + b" x\n" * 300_000 + b"b: c: d\n",
        b"a: '" + b"- x\n" * 200_000,
        b"a:\n  steps:\n    - " + b"a - " * 100_000 + b"\n",
        b"x" * 900_000 + b": {a: 1}\n",
    ],
    ids=[
        "dashes",
        "dashes above",
        "spaces",
        "colons",
        "lines",
        "a block",
        "a quote",
        "words",
        "a key",
    ],
)
def test_looking_for_the_slip_costs_a_hostile_file_nothing(data: bytes) -> None:
    began = time.process_time()
    loaded = load(data)

    assert time.process_time() - began < 2.0
    assert loaded.diagnostics
    assert all(len(d.message) + len(d.hint) < 1500 for d in loaded.diagnostics)


def test_a_script_whose_code_is_not_text_does_not_pass_as_an_empty_one() -> None:
    loaded = load((SCRIPT + "        code: { make; }\n").encode())

    assert [(d.severity, d.pipeline) for d in loaded.diagnostics] == [("error", "build")]


def test_a_value_without_its_first_word_stops_its_pipeline_and_no_other() -> None:
    text = "box: a\nbuild:\n  steps: [a]\ncheck:\n  steps:\n    - script: {code: !test -e x}\n"

    assert [(d.code, d.severity, d.pipeline) for d in load(text.encode()).diagnostics] == [
        ("WY015", "error", "check")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "box: &it debian\nbuild: {box: *it, steps: []}\n",
        "x: &later\n  steps: []\nbox: a\nbuild: {steps: []}\n",
        'box: a\nbuild: {steps: [{script: {code: &quoted "make"}}]}\n',
        "box: a\nbuild: {steps: [{script: {code: !!str 5}}]}\n",
        "box: a\nbuild: {steps: [{script: {code: 'echo $WERCKER_SCRIPT_WHEN', when: now}}]}\n",
        "box: a\nbuild: {steps: [{heroku-deploy: , run: make}]}\n",
    ],
)
def test_anchors_tags_and_options_that_are_used_are_right(text: str) -> None:
    assert not [d for d in load(text.encode()).diagnostics if d.code in ("WY015", "WY301", "WY308")]


def test_a_file_in_utf_16_is_reported_as_such() -> None:
    (found,) = load("box: a\n".encode("utf-16")).diagnostics

    assert (found.message, found.hint) == (
        "the file is UTF-16 text, not UTF-8",
        "save it as UTF-8",
    )
