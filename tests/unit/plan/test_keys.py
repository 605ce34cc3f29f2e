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


def test_no_prefix_is_not_an_empty_segment() -> None:
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


UID = "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa"


@given(st.text(max_size=120), st.text(max_size=120), st.sampled_from(["", "ci", "/a/b/"]))
def test_what_is_made_here_is_read_back_whatever_the_names_are(
    app: str, other: str, prefix: str
) -> None:
    results = keys.results_prefix(
        prefix=prefix, namespace="team-1", app_id=app, build_uid=UID, attempt=12
    )
    expected = keys.ResultsKey(
        namespace="team-1", application=keys.segment(app), build_uid=UID, attempt=12
    )
    cache = keys.cache_object(
        prefix=prefix, namespace="team-1", space=UID, app_id=app, pipeline=other, key=other
    )
    step = keys.step_archive(prefix, "a" * 64)
    of_results = [
        keys.output(results),
        *(made(results, other) for made in (keys.step_log, keys.step_artifacts, keys.step_context)),
    ]
    for key in of_results:
        assert keys.parse_results(key, prefix=prefix) == expected
        assert keys.parse_cache(key, prefix=prefix) is None
        assert keys.parse_step_archive(key, prefix=prefix) is None
    assert keys.parse_cache(cache, prefix=prefix) is not None
    assert keys.parse_cache(keys.cache_mark(cache), prefix=prefix) is None
    assert keys.marked_cache(keys.cache_mark(cache)) == cache
    assert keys.parse_step_archive(step, prefix=prefix) == "a" * 64
    for key in (cache, step):
        assert keys.parse_results(key, prefix=prefix) is None
    for key in (*of_results, cache, step):
        assert keys.marked_cache(key) == ""
