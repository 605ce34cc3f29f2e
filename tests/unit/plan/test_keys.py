from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.plan import keys

RESULTS = "ci/team/project-artifacts/hello/uid-1/2/"


def test_keys_of_an_attempt() -> None:
    results = keys.results_prefix(
        prefix="/ci/", namespace="team", app_id="hello", build_uid="uid-1", attempt=2
    )
    found = [
        results,
        keys.output(results),
        keys.step_log(results, "script-3f2a"),
        keys.step_artifacts(results, "script-3f2a"),
    ]
    assert found == [
        RESULTS,
        RESULTS + "output.tar",
        RESULTS + "step/script-3f2a/log.txt",
        RESULTS + "step/script-3f2a/artifacts.tar",
    ]


def test_no_prefix_is_no_empty_segment() -> None:
    results = keys.results_prefix(prefix="", namespace="n", app_id="a", build_uid="u", attempt=1)
    assert results == "n/project-artifacts/a/u/1/"


@pytest.mark.parametrize("text", ["hello", "5a0b", "my.app_1-x", "a" * 100])
def test_a_good_id_stays_as_it_is(text: str) -> None:
    assert keys.segment(text) == text


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("github.com/owner/app", "github.com-owner-app-"),
        ("../../etc", "etc-"),
        ("ä ö", ""),
        ("", ""),
        (".hidden", "hidden-"),
        ("x" * 300, "x" * 80 + "-"),
    ],
)
def test_an_odd_id_gets_a_shape_and_a_hash(text: str, shape: str) -> None:
    found = keys.segment(text)
    assert found[:-8] == shape
    assert set(found[-8:]) <= set("0123456789abcdef")


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_slug_is_one_short_segment_and_never_shared(one: str, other: str) -> None:
    found = keys.segment(one)
    assert 0 < len(found) <= 100
    assert "/" not in found
    assert found not in (".", "..")
    assert (found == keys.segment(other)) == (one == other)
