"""How many answers are under way at once: in all, and for the Builds of one namespace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sentinel.results.answers import Refusal


class Slots:
    """`with slots.take(namespace):` for the time of an answer.

    More than `total`, or than `share` for one namespace, are refused with 429, which clients try again: a user who
    reads slowly does not keep others from reading.
    """

    def __init__(self, *, total: int, share: int) -> None:
        self._total, self._share = total, share
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, namespace: str) -> Iterator[None]:
        """Raises Refusal 429."""
        if self._taken.total() >= self._total or self._taken[namespace] >= self._share:
            raise Refusal(
                429,
                f"too many logs and outputs of namespace {namespace!r}, or of all, are being read now; try again",
                headers={"Retry-After": "1"},
            )
        self._taken[namespace] += 1
        try:
            yield
        finally:
            self._taken[namespace] -= 1
            if not self._taken[namespace]:
                del self._taken[namespace]
