"""What a request asks for: parameters and byte range, checked. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sentinel.results.answers import Refusal

MOST_LINES = 10_000
"""Lines of `tailLines`: as many are looked for at the end of each step's log."""

_IGNORED = {"pretty", "timeout"}
"""What Kubernetes' clients add to any request."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """`step` is a step's id, name or display name, "" for all; `tail_lines` None for the whole log."""

    step: str = ""
    tail_lines: int | None = None
    since: datetime | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> LogQuery:
        """Raises Refusal 400."""
        known(query, "step", "tailLines", "sinceTime")
        lines = query.get("tailLines")
        if lines is not None and (not re.fullmatch(r"\d{1,6}", lines) or int(lines) > MOST_LINES):
            raise Refusal(400, f"tailLines must be a number from 0 to {MOST_LINES}")
        return cls(
            step=query.get("step", ""),
            tail_lines=None if lines is None else int(lines),
            since=_moment(query["sinceTime"]) if "sinceTime" in query else None,
        )


def known(query: Mapping[str, str], *names: str) -> None:
    """Raises Refusal 400 for a parameter that is none of `names`."""
    for key in query:
        if key not in {*names, *_IGNORED}:
            raise Refusal(
                400,
                f"unknown parameter {key!r}; there are: {', '.join(names) or 'none'}"
                + ("; `sentinel logs -f` follows a build that runs" if key == "follow" else ""),
            )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refusal(
            400, "sinceTime must be a time as in RFC 3339, for example 2026-11-28T10:00:00Z"
        )
    return moment


def span(header: str | None, size: int) -> tuple[int, int]:
    """The bytes (from, to) of a Range header of an object of that size; all without one, or where it names several.

    Raises Refusal 416, 400.
    """
    if header is None or "," in header:
        return 0, size
    match = _RANGE.fullmatch(header.strip())
    if match is None or not any(match.groups()):
        raise Refusal(400, "Range must be bytes=FROM-TO, bytes=FROM- or bytes=-LAST")
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if start >= size or start >= end:
        raise Refusal(
            416,
            f"the object has {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end
