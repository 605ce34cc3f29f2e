"""What YAML's own error means to the author of a wercker.yml.

The library names the place where it gave up. Often the slip is one line above: a step without its colon, a dash
too far left. The most common ones are recognised by the lines around them, and reported with the corrected text.
"""

from __future__ import annotations

import re

import yaml

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.layout import explain_layout
from sentinel.config.texts import explain_text

LINE_LIMIT = 400
"""Characters of a line that are looked at: what a hostile line may cost grows with the square of them."""


def explain(error: yaml.YAMLError, *, text: str) -> Diagnostic:
    """The diagnostic for an error of PyYAML's scanner, parser or reader."""
    if isinstance(error, yaml.reader.ReaderError):
        return _unreadable(error, text)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    problem = str(getattr(error, "problem", None) or error)
    # One that is longer is none that people write: it is neither looked at nor quoted.
    lines = [each if len(each) <= LINE_LIMIT else "" for each in text.splitlines()]
    return (
        _tab(line, column, lines)
        or explain_layout(error, problem=problem, line=line, lines=lines)
        or explain_text(error, problem=problem, line=line, column=column, lines=lines)
        or _missing_colon(problem, line, lines)
        or _dash_without_space(error, line, lines)
        or _colon_without_space(problem, line, lines)
        or _value_with_colon(problem, line, lines)
        or _too_far_in(problem, line, lines)
        or _uneven(error, problem, line, column, lines)
        or _reserved_character(problem, line, column, lines)
        or _error(Code.SYNTAX, f"this is not YAML: {problem}", line, column, _context(error))
    )


def _unreadable(error: yaml.reader.ReaderError, text: str) -> Diagnostic:
    # The library counts bytes; `character` is the code point it will not have.
    before = text.encode()[: error.position].decode(errors="ignore")
    column = len(before) - (before.rfind("\n") + 1) + 1
    return _error(
        Code.SYNTAX,
        f"there is an invisible character here (U+{int(error.character):04X}) that YAML does not allow",
        before.count("\n") + 1,
        column,
        "delete it",
    )


def _missing_colon(problem: str, line: int, lines: list[str]) -> Diagnostic | None:
    """`- hipchat-notify` and below it, further in, `token: …`: the sample of the original design."""
    if "mapping values are not allowed" not in problem:
        return None
    above = _above(line, lines)
    if above is None:
        return None
    item = re.match(r"^(\s*(?:-\s+)+)([A-Za-z0-9_./@$-]+)\s*(?:#.*)?$", lines[above - 1])
    key = re.match(r"^(\s*)([^\s:#][^:]*):(\s|$)", lines[line - 1])
    if item is None or key is None or len(key[1]) <= _indent(lines[above - 1]):
        return None
    name = item[2]
    return _error(
        Code.MISSING_COLON,
        f"step {name} has no colon behind its name, so {key[2]} on line {line} cannot be one of its options",
        above,
        len(item[1]) + len(name) + 1,
        f"write: - {name}:",
    )


def _tab(line: int, column: int, lines: list[str]) -> Diagnostic | None:
    if not 0 < line <= len(lines):
        return None
    indent = re.match(r"[ \t]*", lines[line - 1])
    if indent is None or "\t" not in indent[0]:
        return None
    return _error(
        Code.TAB,
        "there is a tab in the indentation: YAML takes spaces only",
        line,
        indent[0].index("\t") + 1,
        "replace each tab by spaces",
    )


def _dash_without_space(error: yaml.YAMLError, line: int, lines: list[str]) -> Diagnostic | None:
    """`-script:` for `- script:`. The library complains about a later line, of a block that begins with this one."""
    mark = getattr(error, "context_mark", None)
    block = [] if mark is None else [mark.line + 1]
    for number in (*block, line, _above(line, lines)):
        if number is None or not 0 < number <= len(lines):
            continue
        found = re.match(r"^(\s*)-([A-Za-z][A-Za-z0-9_./@-]*)(:.*)?$", lines[number - 1])
        if found is not None:
            return _error(
                Code.SYNTAX,
                f"there is no space between the dash and {found[2]}, so this is no item of the list",
                number,
                len(found[1]) + 1,
                f"write: - {found[2]}{(found[3] or '').rstrip()}",
            )
    return None


def _colon_without_space(problem: str, line: int, lines: list[str]) -> Diagnostic | None:
    """`box:debian` above a line that is a key: YAML takes the two for one text."""
    above = _above(line, lines)
    if "mapping values are not allowed" not in problem or above is None:
        return None
    found = re.match(r"^(\s*(?:-\s+)?)([A-Za-z][A-Za-z0-9_-]*):([^\s:/].*)$", lines[above - 1])
    if found is None:
        return None
    written, value = found[2], found[3].strip()
    image = not found[1] and re.fullmatch(r"v?\d[\w.-]*", value) is not None
    return _error(
        Code.SYNTAX,
        f"there is no space behind the colon of {written}",
        above,
        len(found[1]) + len(written) + 1,
        # What has a version behind its colon is an image, not a key.
        f"write: box: {written}:{value}" if image else f"write: {written}: {value}",
    )


def _value_with_colon(problem: str, line: int, lines: list[str]) -> Diagnostic | None:
    """`name: build: all`, a value with a colon of its own; `- step: option: x`, an option beside its step."""
    if "mapping values are not allowed" not in problem or not 0 < line <= len(lines):
        return None
    found = re.match(
        r"^(\s*(?:-\s+)*)([^\s:#'\"][^:]*):\s+([^'\"|>\[{\s].*:(?:\s.*)?)$", lines[line - 1]
    )
    if found is None:
        return None
    value = found[3].rstrip()
    option = re.match(r"[A-Za-z][A-Za-z0-9_-]*:(\s|$)", value)
    name = re.sub(r"^-\s+", "", found[2])
    image = re.fullmatch(r"([a-z0-9][\w./-]*):\s+(v?\d[\w.-]*|latest)", value)
    if image is not None and name in ("box", "id"):
        return _error(
            Code.SYNTAX,
            f"there is a space between the image's name {image[1]} and its tag {image[2]}",
            line,
            found.start(3) + 1,
            f"write {name}: {image[1]}:{image[2]}",
        )
    if name == "box" and option is not None:
        return _error(
            Code.SYNTAX,
            f"{value.split(':')[0]} of the box is on the same line as box",
            line,
            found.start(3) + 1,
            f"write box:, and on the next line, two spaces in, {value}",
        )
    if "-" in found[1] and option is not None:
        return _error(
            Code.SYNTAX,
            f"the first option of {found[2]} stands on the step's own line",
            line,
            found.start(3) + 1,
            f"put {value} on the next line, under the step, four spaces further in than its dash",
        )
    quoted = value.replace("'", "''")
    return _error(
        Code.SYNTAX,
        f"the value of {found[2]} has a colon of its own, so YAML takes it for another key",
        line,
        found.start(3) + 1,
        f"quote it: {found[2]}: '{quoted}'",
    )


def _too_far_in(problem: str, line: int, lines: list[str]) -> Diagnostic | None:
    """A key further in than the key above it, which has its value already."""
    above = _above(line, lines)
    if "mapping values are not allowed" not in problem or above is None:
        return None
    key = re.match(r"^(\s*)([^\s:#-][^:]*):(\s|$)", lines[line - 1])
    upper = re.match(r"^(\s*(?:-\s+)?)([^\s:#-][^:]*):\s+[^\s#|>]", lines[above - 1])
    if key is None or upper is None or len(key[1]) <= len(upper[1]):
        return None
    return _error(
        Code.SYNTAX,
        f"{key[2]} is indented further than {upper[2]} on line {above}, which has its value already",
        line,
        len(key[1]) + 1,
        f"begin it below {upper[2]}, with {len(upper[1])} spaces before it",
    )


def _uneven(
    error: yaml.YAMLError, problem: str, line: int, column: int, lines: list[str]
) -> Diagnostic | None:
    """An item or key that is not below its neighbours."""
    mark = getattr(error, "context_mark", None)
    block = "expected '-' indicator" in problem or "expected key" in problem
    if not block or mark is None or not 0 < line <= len(lines):
        return None
    text = lines[line - 1]
    if _indent(text) + 1 != column or column == mark.column + 1:
        return None
    what = text.strip().removeprefix("- ").split(":")[0]
    return _error(
        Code.SYNTAX,
        f"{what} has {column - 1} spaces before it, its neighbours above (from line {mark.line + 1} on) have "
        f"{mark.column}",
        line,
        column,
        f"begin the line with {mark.column} spaces",
    )


def _reserved_character(
    problem: str, line: int, column: int, lines: list[str]
) -> Diagnostic | None:
    if "cannot start any token" not in problem or not 0 < line <= len(lines):
        return None
    character = lines[line - 1][column - 1 : column]
    return _error(
        Code.SYNTAX,
        f"a value cannot begin with {character}",
        line,
        column,
        "put the whole value in single quotes",
    )


def _context(error: yaml.YAMLError) -> str:
    context, mark = getattr(error, "context", None), getattr(error, "context_mark", None)
    if not context or mark is None:
        return "check the indentation of this line and the ones above it"
    return (
        f"{context} that begins on line {mark.line + 1}: check the indentation from there to here"
    )


def _above(line: int, lines: list[str]) -> int | None:
    """The nearest line above that is neither blank nor a comment, from 1."""
    for number in range(min(line, len(lines) + 1) - 1, 0, -1):
        stripped = lines[number - 1].strip()
        if stripped and not stripped.startswith("#"):
            return number
    return None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _error(code: Code, message: str, line: int, column: int, hint: str) -> Diagnostic:
    return Diagnostic(
        line=line, column=column, code=code, severity=Severity.ERROR, message=message, hint=hint
    )
