"""The lab's names in this machine's hosts file, on lines that carry a mark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FILE = Path("/etc/hosts")
MARK = "# sentinel lab"


def add(address: str, names: Sequence[str]) -> None:
    """Make names stand for an address, in place of what an earlier lab wrote."""
    kept = _foreign()
    _write([*kept, f"{address} {' '.join(names)} {MARK}"])


def remove() -> None:
    """Take the lab's lines out."""
    kept = _foreign()
    if kept != FILE.read_text().splitlines():
        _write(kept)


def _foreign() -> list[str]:
    return [line for line in FILE.read_text().splitlines() if not line.endswith(MARK)]


def _write(lines: list[str]) -> None:
    # Written in place: in a container the file is a mount and cannot be replaced.
    FILE.write_text("".join(f"{line}\n" for line in lines))
