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
            (5, 15), "the quote that opens here is never closed", "close it at the end of the text, or remove it",
        ),
        (
            SCRIPT + "        code: *foo\n",
            (5, 15), "there is no &foo above that *foo could mean",
            "if it is meant as a text, put it in quotes: '*foo'",
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
    ],
)  # fmt: skip
def test_a_file_that_is_no_yaml(text: str, place: tuple[int, int], message: str, hint: str) -> None:
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
            "step script has a text where its options belong",
            "write code: | under it, four spaces further in, and the text under that",
        ),
        (
            HEAD + "    - foo file:///x\n", 4,
            "'foo file:///x' is no step: steps are written owner/name@version",
            'put the url in double quotes: foo "file:///x"',
        ),
        (
            HEAD + "    - foo\n     - bar\n", 4,
            "'foo - bar' is no step: steps are written owner/name@version",
            "if these are several steps, begin each line with as many spaces before the dash",
        ),
        (
            "image: debian\nbuild: {box: a, steps: []}\n", 1,
            "image is no key of wercker.yml, and a text is no pipeline",
            "the image that the steps run in is called box",
        ),
        (
            "env:\n  CC: clang\n", 1,
            "env is no key of wercker.yml, nor does it look like a pipeline",
            "set variables in the Build's spec.env, or in env of the box",
        ),
        (
            "pipelines:\n  build: {steps: []}\n", 1,
            "pipelines is no key of wercker.yml, nor does it look like a pipeline",
            "each pipeline stands at the left margin, e.g. build: with steps: under it",
        ),
        (
            "command-timeout: 30m\n", 1, "command-timeout is a number of minutes; what stands here is ignored",
            "write command-timeout: 30, without quotes or unit",
        ),
        (
            "owner/box@1.0\n", 1, "wercker.yml is a text, so there is no pipeline in it",
            "write box: owner/box@1.0 and, below it, build: with steps:",
        ),
        (
            "box: {id: a, ports: [[80]]}\n", 1, "a port of a box is a number, not a list; it is ignored",
            'write: "8080", "8080:80" or "8080/udp"',
        ),
        (
            'box: {id: a, aws-strict-auth: "true"}\n', 1,
            "aws-strict-auth is true or false, without quotes; what stands here is ignored",
            "write: aws-strict-auth: true",
        ),
        (
            "box: {id: a, env: {A: [1]}}\n", 1, "the value of A is a list, not a text; it is ignored",
            'write it as one text: A: "…"',
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


def test_a_script_whose_code_is_no_text_does_not_pass_as_an_empty_one() -> None:
    loaded = load((SCRIPT + "        code: { make; }\n").encode())

    assert [(d.severity, d.pipeline) for d in loaded.diagnostics] == [("error", "build")]


def test_a_space_that_is_none_is_shown() -> None:
    loaded = load("box: a\nbuild:\n\u00a0 steps:\n    - a\n".encode())

    found = next(d for d in loaded.diagnostics if d.code == "WY010")
    assert (found.line, found.column, found.severity, found.pipeline) == (3, 1, "error", "")
    assert "before steps (U+00A0)" in found.message


def test_a_file_of_sixteen_bit_characters_is_told_as_that() -> None:
    (found,) = load("box: a\n".encode("utf-16")).diagnostics

    assert (found.message, found.hint) == (
        "the file is UTF-16 text, not UTF-8",
        "save it as UTF-8",
    )
