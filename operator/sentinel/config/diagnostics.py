"""A finding in a wercker.yml, and how it is shown.

A diagnostic is for the file's author: a stable code, where, what is wrong in their words, and what to write instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, order=True)
class Diagnostic:
    """One finding. `line` and `column` count from 1; 0 means the file as a whole.

    `pipeline` names the pipeline that it spoils; empty means the whole file. A Build of another pipeline runs on.
    """

    line: int = 0
    column: int = 0
    code: str
    severity: Severity = Severity.ERROR
    message: str
    hint: str = ""
    pipeline: str = ""


def render(diagnostic: Diagnostic, *, path: str, text: str) -> str:
    """The finding as a compiler would print it: place, message, source line with a caret, hint.

    `text` is the file's content; without a line only the message is shown. Plain, no colour.
    """
    place = f"{path}:{diagnostic.line}:{diagnostic.column}" if diagnostic.line else path
    out = [f"{place}: {diagnostic.severity} {diagnostic.code}: {diagnostic.message}"]
    lines = text.splitlines()
    if 0 < diagnostic.line <= len(lines):
        number = str(diagnostic.line)
        source = lines[diagnostic.line - 1].replace("\t", " ")
        out.append(f" {number} | {source}")
        out.append(f" {' ' * len(number)} | {' ' * max(0, diagnostic.column - 1)}^")
    if diagnostic.hint:
        out.append(f"   hint: {diagnostic.hint}")
    return "\n".join(out)
