"""How much a box may say: a burst, and then so much a second. No clock and no I/O here.

A box that says more is read more slowly, not cut: its own connection fills up, and our event loop serves the others.
"""

from __future__ import annotations

BURST = 2 * 1024 * 1024
"""Bytes at once."""

STEP = 4 * 1024
"""Bytes at once for each step of the Plan: twice its records, which a replay brings all together."""

RATE = 16 * 1024
"""Bytes a second after that: a step's records have some hundred bytes, a heartbeat thirty."""

EACH = 256
"""Bytes that a message counts beside its own: small ones cost us more than their bytes."""


class Allowance:
    """Bytes that may be read now; `spend` says how long to wait after some were."""

    def __init__(self, *, burst: int = BURST, rate: int = RATE, now: float) -> None:
        self._left, self._burst, self._rate, self._now = float(burst), burst, rate, now

    def spend(self, size: int, *, messages: int, now: float) -> float:
        """Seconds until nothing is owed for `size` bytes in `messages` messages, read at `now` (monotonic seconds)."""
        self._left = min(self._burst, self._left + (now - self._now) * self._rate)
        self._now = now
        self._left -= size + EACH * messages
        return max(0.0, -self._left / self._rate)
