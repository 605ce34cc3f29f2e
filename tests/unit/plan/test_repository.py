"""Where a box is pushed to, and what of it is left out."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.examples import SOURCE, build, settings

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.reference import parse_repository
from sentinel.plan.repository import plan_image, repository_name


@pytest.mark.parametrize(
    ("application", "name"),
    [
        ("hello", "hello"),
        ("Case-02-Upper", "case-02-upper"),
        ("a.b_c__d--e", "a.b_c__d--e"),
        ("owner/name", "owner/name"),
        (".x", "x-"),
        ("-x", "x-"),
        ("c++", "c-"),
        ("My App", "my-app-"),
        ("case_02__x_", "case-02-x-"),
        ("case-02%20space", "case-02-20space-"),
        ("Ümlaut", "mlaut-"),
        ("../../other/app", "other-app-"),
        (":v1", "v1-"),
        ("漢字", "app-"),
        ("x" * 300, "x" * 80 + "-"),
    ],
)
def test_an_application_s_name_is_made_fit_for_a_repository(application: str, name: str) -> None:
    found = repository_name(application)

    # A dash at its end: eight digits of a hash follow.
    assert found[:-8] == name if name.endswith("-") else found == name
    assert parse_repository(f"r.example.com/team/{found}").repository == f"team/{found}"


def test_two_names_of_one_shape_have_two_repositories() -> None:
    names = ["x", ".x", "x!", "-x", "x ", "X!"]

    assert len({repository_name(name) for name in names}) == len(names)
    assert all(re.fullmatch(r"x(-[0-9a-f]{8})?", repository_name(name)) for name in names)


def test_the_default_repository_is_below_the_namespace() -> None:
    said = settings(images={"prefix": "r.example.com/CI"})
    odd = replace(SOURCE, url="https://git.example.com/acme/c++.git")

    made = plan_image(build(), source=odd, settings=said)

    assert re.fullmatch(r"r\.example\.com/ci/team/c-[0-9a-f]{8}", made.repository)


def paths(*said: str) -> tuple[str, ...]:
    image = {"repository": "r.example.com/x", "excludePaths": list(said)}
    return plan_image(build(image=image), source=SOURCE, settings=settings()).exclude_paths


def test_plain_paths_to_exclude_are_normalised() -> None:
    assert paths("/opt//g", "//opt/g/", "/opt/./h", "/a b", "/~x") == (
        "/opt/g",
        "/opt/h",
        "/a b",
        "/~x",
    )


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/opt/c/*", r"\* is not a pattern here, .*: write /opt/c\. Entries"),
        ("/opt/cache-*/x", "write /opt"),
        ("/*", r"write /\. Entries"),
        ("/opt/{a,b}", "write /opt"),
        ("~/.npmrc", "does not begin with /; ~ is not replaced by a home directory"),
        ("$HOME/.npmrc", "does not begin with /"),
        ("opt/d", "does not begin with /"),
        ("", "does not begin with /"),
        ("/opt/../opt/d", r"contains \.\."),
        ("/", "nothing would be left"),
        ("//.", "nothing would be left"),
        ("/a\nb", "control character"),
    ],
)
def test_what_would_match_nothing_is_refused(path: str, why: str) -> None:
    """Secrets were pushed because an entry that was no plain path matched nothing."""
    with pytest.raises(UserError, match=f"spec.image.excludePaths: .*{why}") as caught:
        paths("/fine", path)

    assert caught.value.reason is Reason.INVALID_SPEC


def test_excluded_paths_are_checked_also_where_nothing_is_committed() -> None:
    image: dict[str, Any] = {"commit": "never", "excludePaths": ["~/x"]}

    with pytest.raises(UserError, match="excludePaths"):
        plan_image(build(image=image), source=SOURCE, settings=settings())
