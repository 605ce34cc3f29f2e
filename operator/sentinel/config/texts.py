"""Slips around texts: a quote that stays open, a block that is not further in than its key, a value that begins like
a list. Also a merge that was not finished. Recognised by the lines around, like those of `syntax`.
"""

from __future__ import annotations

import re

import yaml

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity


def explain_text(
    error: yaml.YAMLError, *, problem: str, line: int, column: int, lines: list[str]
) -> Diagnostic | None:
    """The diagnostic where the slip is one of these. `line` and `column`, from 1, are where the library gave up."""
    return (
        _merge(lines, line)
        or _open_quote(error, problem)
        or _short_block(line, lines)
        or _value_like_a_list(line, lines)
        or _value_like_a_mark(problem, error, lines)
        or _too_many_brackets(line, column, lines)
    )


def _merge(lines: list[str], line: int) -> Diagnostic | None:
    for number, text in enumerate(lines[:line], start=1):
        if text.startswith(_MARKS) and text[7:8] in ("", " "):
            return _error(
                "a merge was not finished here: this line is one of git's conflict marks",
                number,
                1,
                "keep what is right of the two versions, and delete the lines <<<<<<<, ======= and >>>>>>>",
            )
    return None


_MARKS = ("<<<<<<<", "=======", ">>>>>>>")
_LOOK_BACK = 200
"""Lines above the error among which the block's key is looked for."""


def _open_quote(error: yaml.YAMLError, problem: str) -> Diagnostic | None:
    mark = getattr(error, "context_mark", None)
    quoted = "quoted scalar" in str(getattr(error, "context", ""))
    if mark is None or not quoted or "unexpected end" not in problem:
        return None
    return _error(
        "the quote that opens here is not closed",
        mark.line + 1,
        mark.column + 1,
        "close it at the end of the text, or remove it",
    )


_BLOCK = re.compile(r"^(\s*(?:-\s+)*)([^\s#:][^:]*):\s*[|>][-+0-9]*\s*(?:#.*)?$")


def _short_block(line: int, lines: list[str]) -> Diagnostic | None:
    """`code: |` with its text no further in than the key, or one line of it further left than its first."""
    for number in range(min(line, len(lines)), max(0, line - _LOOK_BACK), -1):
        text = lines[number - 1]
        found = _BLOCK.match(text)
        if found is None or number == line:
            continue
        margin = len(found[1])
        body = [
            each for each in range(number + 1, min(line, len(lines)) + 1) if lines[each - 1].strip()
        ]
        depths = [_indent(lines[each - 1]) for each in body]
        if not body:
            return None
        if depths[0] <= margin and not re.match(r"\s*(-\s|[^\s:]+:(\s|$))", lines[body[0] - 1]):
            return _error(
                f"the text of {found[2]} begins here, and must be further in than {found[2]} itself",
                body[0],
                depths[0] + 1,
                f"begin each of its lines with {margin + 2} spaces",
            )
        if margin < depths[-1] < depths[0] and min(depths[:-1], default=0) >= depths[0]:
            return _error(
                f"this line is further left than the first line of the text of {found[2]} (line {body[0]})",
                line,
                depths[-1] + 1,
                f"begin it with {depths[0]} spaces, if it belongs to {found[2]}",
            )
        return None
    return None


def _value_like_a_list(line: int, lines: list[str]) -> Diagnostic | None:
    """`code: [ -f x ] && make`, which to YAML is a list with something behind it."""
    if not 0 < line <= len(lines):
        return None
    found = re.match(r"^(\s*(?:-\s+)*)([^\s:#'\"][^:]*):\s+([\[{].*\S)\s*$", lines[line - 1])
    if found is None or re.search(r"[\]}]\s*(#.*)?$", found[3]):
        return None
    if not re.search(r"[\]}]\s+\S", found[3]):
        return None
    return _error(
        f"the value of {found[2]} begins with {found[3][0]}, which begins a list or a map",
        line,
        found.start(3) + 1,
        f"write {found[2]}: |, and the text on the next line, further in",
    )


_MARKS_OF_YAML = {
    ">": "begins a block of text",
    "|": "begins a block of text",
    "*": "begins an alias",
    "&": "begins an anchor",
    "!": "begins a tag",
}


def _value_like_a_mark(problem: str, error: yaml.YAMLError, lines: list[str]) -> Diagnostic | None:
    """`code: > out.txt`, `code: *.sh run`, `code: "$A" && make`: shell that begins like something of YAML's."""
    mark = getattr(error, "problem_mark", None)
    line = 0 if mark is None else mark.line + 1
    if not 0 < line <= len(lines):
        return None
    found = re.match(r"^(\s*(?:-\s+)*)([^\s:#'\"][^:]*):\s+(\S.*)$", lines[line - 1])
    if found is None:
        return None
    value = found[3].rstrip()
    if value[0] in _MARKS_OF_YAML and not _BLOCK.match(lines[line - 1]):
        why = f"the value of {found[2]} begins with {value[0]}, which in YAML {_MARKS_OF_YAML[value[0]]}"
    elif re.match(r"\"(?:[^\"\\]|\\.)*\"\s*[^\s#]|'(?:[^']|'')*'\s*[^\s#]", value):
        why = f"the value of {found[2]} goes on behind its closing quote"
    else:
        return None
    return _error(
        why,
        line,
        found.start(3) + 1,
        f"write {found[2]}: |, and the text on the next line, further in",
    )


def _too_many_brackets(line: int, column: int, lines: list[str]) -> Diagnostic | None:
    if not 0 < line <= len(lines) or lines[line - 1][column - 1 : column] not in ("]", "}"):
        return None
    bracket = lines[line - 1][column - 1]
    return _error(
        f"this {bracket} closes nothing that is open",
        line,
        column,
        f"remove it, or open its {_OPENS[bracket]} before",
    )


_OPENS = {"]": "[", "}": "{"}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _error(message: str, line: int, column: int, hint: str) -> Diagnostic:
    return Diagnostic(
        line=line,
        column=column,
        code=Code.SYNTAX,
        severity=Severity.ERROR,
        message=message,
        hint=hint,
    )
