"""How long to wait between two tries. Standard library only: the init container uses it.

Not here: trying again (`retry.py`, and for threads `source/failure.py`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Pauses that double from `first` to `longest` seconds, each shorter or longer by up to the share `jitter`.

    `tries` counts the first one too; 0 is no limit.
    """

    first: float
    longest: float
    tries: int = 0
    jitter: float = 0.5

    def pause(self, tried: int, *, asked: float | None = None) -> float:
        """Seconds to wait after `tried` tries, counted from 1; `asked` is what a server wants instead."""
        if asked is not None:
            return min(asked, self.longest)
        seconds = min(self.first * 2.0 ** min(tried - 1, 32), self.longest)
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311
