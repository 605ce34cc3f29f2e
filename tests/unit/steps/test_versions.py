"""Which version is meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.steps.versions import choose, is_exact, ordered

# semver.org §11, highest first.
SEMVER = (
    "2.1.1", "2.1.0", "1.10.0", "1.9.0", "1.0.0", "1.0.0-rc.1", "1.0.0-beta.11", "1.0.0-beta.2", "1.0.0-beta",
    "1.0.0-alpha.beta", "1.0.0-alpha.1", "1.0.0-alpha",
)  # fmt: skip


@given(st.permutations(SEMVER))
def test_the_order_is_semver_s(versions: list[str]) -> None:
    assert tuple(ordered([*versions, "main", "latest"])) == SEMVER


@pytest.mark.parametrize(
    ("wanted", "versions", "chosen"),
    [
        ("*", ["1.9.0", "1.10.0", "not-one"], "1.10.0"),
        ("*", ["v1.0.0", "v1.1.0"], "v1.1.0"),
        ("*", ["1.0.0", "2.0.0-rc.1"], "1.0.0"),
        ("*", ["2.0.0-rc.1", "2.0.0-rc.2"], "2.0.0-rc.2"),
        ("*", [], None),
        ("1.0.0", ["1.0.0", "1.1.0"], "1.0.0"),
        ("1.0.0", ["v1.0.0"], "v1.0.0"),
        ("v1.0.0", ["1.0.0"], "1.0.0"),
        ("1.0", ["1.0.0"], None),
        ("1.0.0", ["1.0.0-rc.1"], None),
    ],
)
def test_choosing(wanted: str, versions: list[str], chosen: str | None) -> None:
    assert choose(wanted, versions) == chosen


@pytest.mark.parametrize(
    "text", ["", "*", "latest", "^1.0.0", "~1", ">=1.0", "1.x", "1.*", "1..0", "1.0.0 ", "1" * 200]
)
def test_what_is_not_an_exact_version(text: str) -> None:
    assert not is_exact(text)
