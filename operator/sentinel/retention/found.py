"""One thing that goes, or may go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stale:
    """What goes and why. `name` is a key, or repository@digest with its tags; `size` in bytes, where it is known."""

    kind: str
    name: str
    why: str
    size: int = 0
