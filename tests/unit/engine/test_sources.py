"""A source pinned to a commit: what the resolver is asked for, and which branch and tag the build gets."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sentinel.api.source import GitSource, Source
from sentinel.engine.sources import found_of, names_of, wanted_of
from sentinel.resolver.messages import SourceAnswer

COMMIT = "c" * 40


def git(**fields: str) -> GitSource:
    return GitSource(url="https://example.com/o/r.git", **fields)


@pytest.mark.parametrize(
    ("ref", "names"),
    [
        ("main", ("main", "")),
        ("refs/heads/a/b", ("a/b", "")),
        ("refs/tags/v1", ("", "v1")),
        ("refs/pull/1/head", ("", "")),
        ("HEAD", ("", "")),
    ],
)
def test_a_ref_beside_a_commit_only_names_it(ref: str, names: tuple[str, str]) -> None:
    wanted = git(ref=ref, commit=COMMIT)
    assert names_of(wanted) == names
    answer = SourceAnswer(commit=COMMIT, branch="", subject="one")
    source, status = found_of(Source(git=wanted), answer)
    assert (source.commit, source.branch, source.tag) == (COMMIT, *names)
    assert (status.branch, status.tag, status.subject) == (*names, "one")


class References:
    async def git_credentials(self, secret: str) -> None:
        assert secret == ""


async def test_the_resolver_is_asked_for_the_commit() -> None:
    for wanted, asked in ((git(ref="main", commit=COMMIT), COMMIT), (git(ref="main"), "main")):
        found, _ = await wanted_of(Source(git=wanted), cast(Any, References()))
        assert found is not None
        assert found.ref == asked


def test_without_a_commit_the_repository_says_which_branch_it_was() -> None:
    answer = SourceAnswer(commit=COMMIT, branch="trunk")
    source, _ = found_of(Source(git=git()), answer)
    assert (source.branch, source.ref) == ("trunk", "HEAD")
