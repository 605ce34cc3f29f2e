"""Which cache a build has: its key, who may write it, and how large it may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plan.examples import SOURCE, build, settings

from sentinel.api.build import Build
from sentinel.api.model import quantity
from sentinel.plan.cache import is_pull_ref, plan_cache
from sentinel.plan.keys import CacheKey, cache_object, cache_prefix, parse_cache
from sentinel.plan.model import PlanCache, PlanSource
from sentinel.settings import CacheSettings, Settings, StoreSettings

SPACE = "7d2f0a9e-0000-4000-8000-000000000001"
STORE = StoreSettings(bucket="b", prefix="ci/prod")


def cache_of(
    *,
    source: PlanSource = SOURCE,
    settings_: Settings | None = None,
    space: str = SPACE,
    **spec: Any,
) -> PlanCache:
    known = settings_ or settings(store=STORE)
    return plan_cache(
        build(cache=spec), source=source, pipeline="build", settings=known, space=space, size=5
    )


def test_the_cache_of_a_build() -> None:
    assert cache_of() == PlanCache(
        key=f"ci/prod/{build().namespace}/cache/{SPACE}/hello/build/default.tar.zst",
        space=SPACE,
        size=5,
        save=True,
        limit=1000 * 1024**2,
    )


def test_another_key_is_another_cache_and_never_stands_in_the_object_s_name() -> None:
    keys = {cache_of(key=key).key for key in ("", "node-20", "../../../other", "default")}
    assert len(keys) == 4
    assert not any(".." in key or "node-20" in key for key in keys)


names = st.text(max_size=40) | st.sampled_from(["..", ".", "a/b", "../x", "a//b", "\x00", "ü", ""])


@given(app=names, pipeline=names, key=names)
def test_no_name_leads_out_of_the_namespace(app: str, pipeline: str, key: str) -> None:
    """Whatever a tenant calls things, there are as many segments as there should be, and they say whose it is."""
    found = cache_object(
        prefix="ci", namespace="team", space=SPACE, app_id=app, pipeline=pipeline, key=key
    )
    assert found.startswith(cache_prefix(prefix="ci", namespace="team") + f"{SPACE}/")
    parts = found.split("/")
    assert len(parts) == 7
    assert not {"", ".", ".."} & set(parts)
    assert parse_cache(found, prefix="ci") == CacheKey.of(
        namespace="team", space=SPACE, app_id=app, pipeline=pipeline, key=key
    )


def test_other_objects_are_no_caches() -> None:
    for key in ("ci/team/project-artifacts/a/b/1", "team/cache/a/b/c/d.tar.zst", "ci/team/cache/x"):
        assert parse_cache(key, prefix="ci") is None


@pytest.mark.parametrize(
    ("spec", "settings_", "space"),
    [
        ({"enabled": False}, None, SPACE),
        ({}, settings(store=STORE, cache=CacheSettings(enabled=False)), SPACE),
        ({}, settings(store=StoreSettings()), SPACE),
        ({}, None, ""),
    ],
    ids=["the Build's", "the operator's", "no store", "no uid of the namespace"],
)
def test_none_at_all(spec: dict[str, Any], settings_: Settings | None, space: str) -> None:
    assert cache_of(settings_=settings_, space=space, **spec) == PlanCache()


PULLS = [
    replace(SOURCE, ref=ref, branch="")
    for ref in (
        "pull/7/head",
        "refs/pull/7/merge",
        "refs/merge-requests/3/head",
        "refs/changes/45/12345/2",
        "refs/pull-requests/1/from",
    )
]
OWN = [
    replace(SOURCE, ref="main", branch="main"),
    replace(SOURCE, ref="v1", branch="", tag="v1"),
    replace(SOURCE, ref="HEAD", branch=""),
    replace(SOURCE, ref="", branch=""),
    replace(SOURCE, ref="C0FFEE" + "0" * 34, branch=""),
    replace(SOURCE, ref="pull/7/head", branch="pull/7/head"),  # a branch that is called so
    PlanSource(url="https://example.com/a.tar", digest="d" * 64),
]


@pytest.mark.parametrize("source", PULLS, ids=lambda source: source.ref)
def test_a_pull_ref_reads_only_unless_the_build_says_otherwise(source: PlanSource) -> None:
    assert is_pull_ref(source)
    assert not cache_of(source=source).save
    assert cache_of(source=source).key == cache_of().key
    assert cache_of(source=source, readOnly=False).save


@pytest.mark.parametrize("source", OWN, ids=lambda source: source.ref or source.url)
def test_the_project_s_own_refs_save(source: PlanSource) -> None:
    assert not is_pull_ref(source)
    assert cache_of(source=source).save
    assert not cache_of(source=source, readOnly=True).save


def test_a_build_may_ask_for_less_and_not_for_more() -> None:
    assert cache_of(maxSize="500Mi").limit == 500 * 1024**2
    assert cache_of(maxSize="2Gi").limit == 1000 * 1024**2


def test_quantities() -> None:
    assert [quantity(text) for text in ("1", "5k", "2Mi", "3G", "1Ti")] == [
        1,
        5000,
        2 * 1024**2,
        3 * 10**9,
        1024**4,
    ]
    for wrong in ("", "0", "1.5Gi", "Mi", "5 Mi", "5mi", "5MiB", "-1"):
        with pytest.raises(ValueError, match="write it like"):
            quantity(wrong)


def test_a_wrong_size_is_found_in_the_build() -> None:
    raw = build().model_dump(by_alias=True)
    raw["spec"]["cache"]["maxSize"] = "lots"
    with pytest.raises(Exception, match=r"spec\.cache\.maxSize"):
        Build.parse(raw)
