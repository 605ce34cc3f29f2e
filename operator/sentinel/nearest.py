"""Names that are almost a given one, for "did you mean" hints.

Both sides may come from a tenant, so the work of one look-up is bounded, whatever the names are: difflib takes
milliseconds for one pair of repetitive names, and minutes for a list of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

LONGEST = 100
"""Characters of a name; a longer one is never suggested, and nothing is suggested for it."""

NAMES = 1000
"""How many names are considered."""

WORK = 10_000
"""Letters compared in one look-up, at most; about two milliseconds."""


def nearest(
    word: str, known: Iterable[str], *, count: int = 1, share: float = 0.2, most: int = 3
) -> list[str]:
    """At most `count` of `known` that `word` may be a misspelling of, the nearest first.

    A name is near if at most `share` of its letters, and at most `most`, are missing, added, different or swapped with
    their neighbour. Case does not count, nor does the difference between `_` and `-`.
    """
    if not word or len(word) > LONGEST:
        return []
    wanted = _plain(word)
    candidates: list[tuple[bool, int, str, str, int]] = []
    for name in islice(known, NAMES):
        limit = min(most, int((max(len(name), len(word)) + 1) * share))
        gap = abs(len(name) - len(word))
        if gap <= limit and len(name) <= LONGEST:
            plain = _plain(name)
            candidates.append((plain[:1] != wanted[:1], gap, name, plain, limit))
    work = WORK
    found: list[tuple[int, str]] = []
    for _, _, name, plain, limit in sorted(candidates):
        work -= len(wanted) * (2 * limit + 1)
        if work < 0:
            break
        distance = _distance(wanted, plain, limit)
        if distance <= limit:
            found.append((distance, name))
    return [name for _, name in sorted(found)[:count]]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _distance(a: str, b: str, limit: int) -> int:
    """The optimal string alignment distance, or `limit + 1` if it is larger: only a band around the diagonal is
    computed."""
    if a == b:
        return 0
    far = limit + 1
    before: dict[int, int] = {}
    row = {j: j for j in range(min(len(b), limit) + 1)}
    for i, letter in enumerate(a, start=1):
        two_before, before, row = before, row, {}
        for j in range(max(0, i - limit), min(len(b), i + limit) + 1):
            if j == 0:
                row[0] = i
                continue
            same = letter == b[j - 1]
            best = min(
                before.get(j - 1, far) + (not same), before.get(j, far) + 1, row.get(j - 1, far) + 1
            )
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == b[j - 1]:
                best = min(best, two_before.get(j - 2, far) + 1)
            row[j] = best
        if min(row.values()) > limit:
            return far
    return min(row.get(len(b), far), far)
