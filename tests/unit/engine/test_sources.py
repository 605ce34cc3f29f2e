"""A source pinned to a commit: what the resolver is asked for, and which branch and tag the build gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from sentinel.api.source import GitSource, Source, UploadSource
from sentinel.engine.sources import found_of, names_of, wanted_of
from sentinel.errors import UserError
from sentinel.resolver.messages import SourceAnswer, SourceRequest
from sentinel.resolver.reading import read_source

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


def test_of_an_upload_all_is_known_from_the_build() -> None:
    sent = UploadSource(sha256="d" * 64, size=7)
    # Whatever a resolver answers.
    answer = SourceAnswer(commit=COMMIT, digest="e" * 64)
    source, status = found_of(Source(upload=sent), answer)
    assert (source.url, source.commit, source.digest, source.upload) == ("", "", "d" * 64, 7)
    assert (status.digest, status.commit) == (f"sha256:{'d' * 64}", "")


async def test_an_upload_has_nothing_to_resolve_and_is_for_builds_alone() -> None:
    with pytest.raises(UserError, match=r"set spec\.source\.git or spec\.source\.archive"):
        await wanted_of(
            Source(upload=UploadSource(sha256="d" * 64, size=7)), cast(Any, References())
        )


def test_the_configuration_of_an_upload_is_the_spec_s(tmp_path: Path) -> None:
    request = SourceRequest(pipeline="build", config="box: debian:12\nbuild: {steps: []}\n")
    answer, files, root, what = read_source(request, tmp_path, ())
    assert (answer, files, root, what) == (SourceAnswer(), {}, (), "spec.config")
    with pytest.raises(UserError, match=r"spec\.source\.upload needs spec\.config"):
        read_source(SourceRequest(pipeline="build"), tmp_path, ())
