"""Tables, sizes and spans of time as kubectl prints them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from sentinel.clock import parse_rfc3339
from sentinel.config.findings import visible


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest cell; the first row is the headline. All rows have as many cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def rough(seconds: float) -> str:
    """An age in its largest unit: 90s, 5m, 3h, 2d."""
    for unit, one in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * one:
            return f"{int(seconds // one)}{unit}"
    return f"{max(int(seconds), 0)}s"


def byte_size(size: int) -> str:
    """A number of bytes in its largest unit: 700 B, 2.0 KiB, 3.0 GiB."""
    for unit, one in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size} B"


def precise(seconds: float) -> str:
    """A duration in its two largest units: 42s, 3m12s, 2h5m."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s"
    return f"{whole // 3600}h{whole % 3600 // 60}m"


def moment(text: str) -> datetime | None:
    """A time of the API server; None for an empty one, and for one that is no time."""
    try:
        return parse_rfc3339(text) if text else None
    except ValueError:
        return None


def between(start: str, end: str, *, now: datetime) -> str:
    """How long it was from `start` to `end`, or is until `now`; empty where it has not started."""
    began = moment(start)
    return "" if began is None else precise(((moment(end) or now) - began).total_seconds())


def since(text: str, *, now: datetime) -> str:
    """How long ago that was; empty for no time."""
    at = moment(text)
    return "" if at is None else rough((now - at).total_seconds())


def text_at(value: Any, *path: str) -> str:
    """The printable text at `path`; empty where there is none, so that one odd Build does not hide the rest."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return visible(value) if isinstance(value, str) else ""
