"""Collects diagnostics while a file is read, so that every mistake is reported, not only the first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.nearest import nearest
from sentinel.text import printable


class Placed(Protocol):
    """Anything with a place in the file, from 1."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


FINDINGS_LIMIT = 500
"""Most diagnostics of one file: the first ones help the user, and hostile files cost no more."""


TEXT_LIMIT = 300
"""Characters of a message or hint: what it quotes may be as long as the file."""


class TooManyFindings(Exception):
    """The limit is reached: reading the file further is not worth the time."""


class Findings:
    """The diagnostics so far. Inside `within(name)` they belong to that pipeline.

    Raises TooManyFindings past the limit.
    """

    def __init__(self) -> None:
        self._all: list[Diagnostic] = []
        self._pipeline = ""

    @contextmanager
    def within(self, pipeline: str) -> Iterator[None]:
        """Everything reported in this block spoils only `pipeline`."""
        before, self._pipeline = self._pipeline, pipeline
        try:
            yield
        finally:
            self._pipeline = before

    def error(self, code: Code, message: str, *, at: Placed, hint: str = "") -> None:
        """Something that keeps the pipeline, or the file, from being run."""
        self._add(Severity.ERROR, code, message, at, hint)

    def warning(self, code: Code, message: str, *, at: Placed, hint: str = "") -> None:
        """Something that is probably not what its author meant."""
        self._add(Severity.WARNING, code, message, at, hint)

    def assign(self, pipelines: Sequence[tuple[int, str]]) -> None:
        """Give each finding of the file so far to the pipeline in whose lines it is.

        `pipelines` has the first line of each section of the file, ascending, and the section's name; the name is
        empty for a section that concerns the whole file.
        """
        starts = [line for line, _ in pipelines]
        for index, each in enumerate(self._all):
            section = bisect_right(starts, each.line) - 1
            if not each.pipeline and section >= 0:
                self._all[index] = replace(each, pipeline=pipelines[section][1])

    def add(self, diagnostic: Diagnostic) -> None:
        """One made elsewhere."""
        if len(self._all) >= FINDINGS_LIMIT:
            raise TooManyFindings
        self._all.append(diagnostic)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self._all if d.severity is Severity.ERROR)

    def sorted(self) -> tuple[Diagnostic, ...]:
        """All of them by place, each once: an anchor that is used twice is wrong only once."""
        return tuple(sorted(set(self._all)))

    def _add(self, severity: Severity, code: Code, message: str, at: Placed, hint: str) -> None:
        self.add(
            Diagnostic(
                line=at.line,
                column=at.column,
                code=code,
                severity=severity,
                message=visible(message),
                hint=visible(hint),
                pipeline=self._pipeline,
            )
        )


def visible(text: str) -> str:
    """`text` on one line, bounded, without characters that a terminal would obey."""
    if len(text) > TEXT_LIMIT:
        text = text[: TEXT_LIMIT - 1] + "…"
    return printable(text, instead="\ufffd")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint that names the nearest of `known`, or nothing if none is near."""
    near = nearest(word, known)
    return f"did you mean {near[0]}?" if near else ""
