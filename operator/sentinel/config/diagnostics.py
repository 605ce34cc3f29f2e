"""A finding in a wercker.yml, and how it is shown.

A diagnostic is for the file's author: a stable code, where, what is wrong in their words, and what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sentinel.text import printable


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, order=True)
class Diagnostic:
    """One finding. `line` and `column` count from 1; 0 means the file as a whole.

    `pipeline` names the pipeline that it spoils, or `workflows`; empty means the whole file. A Build of another
    pipeline runs on.
    """

    line: int = 0
    column: int = 0
    code: str
    severity: Severity = Severity.ERROR
    message: str
    hint: str = ""
    pipeline: str = ""


WIDTH = 160
"""Characters of a source line that are shown, around the place."""


def render(diagnostic: Diagnostic, *, path: str, text: str, colour: bool = False) -> str:
    """The finding as a compiler would print it: place, message, source line with a caret, hint.

    `text` is the file's content; without a line only the message is shown. `colour` is for terminals.
    """
    paint = _paint if colour else _plain
    grave = "31" if diagnostic.severity is Severity.ERROR else "33"
    place = f"{path}:{diagnostic.line}:{diagnostic.column}" if diagnostic.line else path
    verdict = paint(f"1;{grave}", f"{diagnostic.severity} {diagnostic.code}")
    out = [f"{paint('1', place)}: {verdict}: {diagnostic.message}"]
    lines = text.splitlines()
    if 0 < diagnostic.line <= len(lines):
        number = str(diagnostic.line)
        source, before, length = _excerpt(lines[diagnostic.line - 1], diagnostic.column)
        out.append(f" {paint('34', f'{number} |')} {source}")
        caret = " " * before + paint(grave, "^" + "~" * (length - 1))
        out.append(f" {paint('34', ' ' * len(number) + ' |')} {caret}")
    if diagnostic.hint:
        out.append(f"   {paint('1', 'hint:')} {diagnostic.hint}")
    return "\n".join(out)


def _excerpt(line: str, column: int) -> tuple[str, int, int]:
    """The part of `line` that is shown, how far in the place lies in it, and how long the word there is.

    What a terminal would obey is shown as a space.
    """
    start = max(0, column - 1 - WIDTH // 2) if len(line) > WIDTH else 0
    shown = printable(line[start : start + WIDTH])
    before = max(0, min(column - 1 - start, len(shown)))
    word = re.match(r"[\w./@$-]*", shown[before:])
    return shown, before, max(1, len(word[0]) if word else 1)


def _paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m"


def _plain(_: str, text: str) -> str:
    return text
