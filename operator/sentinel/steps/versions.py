"""Versions of steps: `*` is the highest there is, anything else is exactly that one. Pure.

Upstream's registry knew semantic versions and nothing like ranges; files that write `@~1.2` never worked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LATEST = "*"
_EXACT = re.compile(
    r"v?(?P<numbers>[0-9]{1,18}(?:\.[0-9]{1,18}){0,4})(?:-(?P<pre>[0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)


def is_exact(version: str) -> bool:
    """Whether it is one version: numbers with dots, perhaps `v` before and `-rc.1` behind."""
    return len(version) <= 100 and _EXACT.fullmatch(version) is not None


def bare(version: str) -> str:
    """The version without the `v` that tags often begin with."""
    return version.removeprefix("v") if is_exact(version) else version


def precedence(
    version: str,
) -> tuple[tuple[int, ...], tuple[int, tuple[tuple[int, int, str], ...]]]:
    """A sort key after semver.org §11; missing numbers count as 0. ValueError for what is no exact version."""
    match = _EXACT.fullmatch(version)
    if match is None:
        raise ValueError(f"{version!r} is no version")
    numbers = [int(each) for each in match["numbers"].split(".")]
    numbers += [0] * (5 - len(numbers))
    if match["pre"] is None:
        return tuple(numbers), (1, ())
    parts = tuple(
        (0, int(part), "") if part.isdecimal() and len(part) < 19 else (1, 0, part)
        for part in match["pre"].split(".")
    )
    return tuple(numbers), (0, parts)


def ordered(versions: Iterable[str]) -> list[str]:
    """The exact versions among them, highest first."""
    return sorted((each for each in versions if is_exact(each)), key=precedence, reverse=True)


def choose(wanted: str, versions: Iterable[str]) -> str | None:
    """The one of `versions` that `wanted` means, or None. `*` prefers releases to what has a `-` in it."""
    known = ordered(versions)
    if wanted != LATEST:
        return next((each for each in known if bare(each) == bare(wanted)), None)
    releases = [each for each in known if precedence(each)[1][0] == 1]
    return next(iter(releases or known), None)
