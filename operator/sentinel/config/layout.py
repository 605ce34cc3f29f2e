"""Slips of layout: invisible characters, comments of other languages, a list on its key's line, lines too far left.

Like those of `syntax` and `texts`, they are recognized by the lines around the place where the library gave up.
"""

from __future__ import annotations

import re

import yaml

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity

_LOOK_BACK = 200
"""Lines above the error that are looked at."""


def explain_layout(
    error: yaml.YAMLError, *, problem: str, line: int, lines: list[str]
) -> Diagnostic | None:
    """The diagnostic where the slip is one of these. `line`, from 1, is where the library gave up."""
    mark = getattr(error, "context_mark", None)
    start = line if mark is None else mark.line + 1
    return (
        _invisible(line, lines)
        or _slashes(start, line, lines)
        or _list_behind_key(problem, line, lines)
        or _option_beside_step(problem, line, lines)
        or _left_of_block(problem, start, lines)
    )


_INVISIBLE = re.compile(
    r"^[ \t]*(?:-[ \t]+)?()([\u00a0\u2000-\u200b\u202f\u3000\ufeff])|:()([\u00a0\u2000-\u200b\u202f\u3000\ufeff])"
)


def _invisible(line: int, lines: list[str]) -> Diagnostic | None:
    """A no-break space where YAML needs a space: copied from a web page, or typed with a modifier key held down."""
    for number in range(max(1, line - _LOOK_BACK), min(line, len(lines)) + 1):
        found = _INVISIBLE.search(lines[number - 1])
        if found is not None:
            character = found[2] or found[4]
            return _error(
                f"there is an invisible character here (U+{ord(character):04X}), which YAML does not treat as a space",
                number,
                found.end(),
                "replace it with a space, here and in the other lines that have it",
                code=Code.BAD_KEY,
            )
    return None


def _slashes(start: int, line: int, lines: list[str]) -> Diagnostic | None:
    for number in range(max(1, start - 1), min(line, len(lines)) + 1):
        found = re.match(r"^(\s*)//", lines[number - 1])
        if found is not None:
            return _error(
                "a comment in YAML begins with #, not with //",
                number,
                len(found[1]) + 1,
                "replace // with #",
            )
    return None


def _list_behind_key(problem: str, line: int, lines: list[str]) -> Diagnostic | None:
    """`services: - redis`"""
    if "block sequence entries are not allowed" not in problem or not 0 < line <= len(lines):
        return None
    found = re.match(r"^(\s*(?:-\s+)*)([^\s:#'\"][^:]*):\s+(-\s.*)$", lines[line - 1])
    if found is None:
        return None
    return _error(
        f"the list of {found[2]} begins on the same line as its key",
        line,
        found.start(3) + 1,
        f"put {found[3].rstrip()} on the next line, {len(found[1]) + 2} spaces in",
    )


def _option_beside_step(problem: str, line: int, lines: list[str]) -> Diagnostic | None:
    """`options: x` as far left as the dash of the step that it belongs to."""
    if "expected '-' indicator" not in problem or not 0 < line <= len(lines):
        return None
    option = re.match(r"^(\s*)([A-Za-z][A-Za-z0-9_-]*):(\s|$)", lines[line - 1])
    if option is None:
        return None
    for number in range(line - 1, max(0, line - _LOOK_BACK), -1):
        step = re.match(r"^(\s*)-\s+([A-Za-z0-9_./@-]+)\s*:?\s*$", lines[number - 1])
        if step is None or len(step[1]) > len(option[1]):
            continue
        if len(step[1]) < len(option[1]):
            return None
        return _error(
            f"{option[2]} begins as far left as the dash of step {step[2]} (line {number}), so it is not one of its "
            "options",
            line,
            len(option[1]) + 1,
            f"begin the line with {len(step[1]) + 4} spaces",
        )
    return None


_BLOCK = re.compile(r"^(\s*(?:-\s+)*)([^\s:#][^:]*):\s*[|>][-+0-9]*\s*(?:#.*)?$")


def _left_of_block(problem: str, start: int, lines: list[str]) -> Diagnostic | None:
    """A line of a script at the left margin, for example of a here-document: the block ends before it."""
    if "could not find expected ':'" not in problem or not 0 < start <= len(lines):
        return None
    depth = _indent(lines[start - 1])
    for number in range(start - 1, max(0, start - _LOOK_BACK), -1):
        found = _BLOCK.match(lines[number - 1])
        body = [each for each in lines[number : start - 1] if each.strip()]
        if found is None or not body:
            continue
        inside = min(_indent(each) for each in body)
        if not depth <= len(found[1]) < inside:
            return None
        return _error(
            f"this line is further left than {found[2]} (line {number}), so the text of {found[2]} ends above it",
            start,
            depth + 1,
            f"begin it with {inside} spaces if it belongs to {found[2]}",
        )
    return None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _error(
    message: str, line: int, column: int, hint: str, *, code: Code = Code.SYNTAX
) -> Diagnostic:
    return Diagnostic(
        line=line, column=column, code=code, severity=Severity.ERROR, message=message, hint=hint
    )
