"""The requests that carry reports: CloudEvents in both modes, commit statuses of three hosts, chunks of logs."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.reports import stories

from sentinel.reports.cloudevents import cloudevents_post, sequence
from sentinel.reports.commitstatus import commitstatus_post, host_for, repository_of
from sentinel.reports.event import Event, Kind, Origin, Rank
from sentinel.reports.logs import CHUNK, pieces
from sentinel.reports.post import Post
from sentinel.reports.sequence import Reported, events
from sentinel.settings import Settings
from sentinel.settings.reports import CommitStatusHost

ORIGIN = Origin(
    namespace="team", name="b", uid="uid-1", pipeline="build", url="https://ci.example/run"
)
STEP = Event(
    rank=Rank(1, 1, 3, 0),
    kind=Kind.STEP_STARTED,
    time="2026-11-28T10:00:00Z",
    step="größe 1",
    data={"stepSafeId": "größe 1", "order": 5},
)


def body(post: Post | None) -> dict[str, Any]:
    assert post is not None
    found: dict[str, Any] = json.loads(post.body)
    return found


def test_a_cloud_event_in_binary_mode_has_its_attributes_in_headers() -> None:
    post = cloudevents_post(STEP, ORIGIN, url="https://e.example/", token="t", mode="binary")
    assert post is not None
    assert post.headers == {
        "Content-Type": "application/json",
        "Authorization": "Bearer t",
        "ce-specversion": "1.0",
        "ce-id": "uid-1.1.1.3.0.0",
        "ce-source": "/apis/sentinel.wercker.com/v1alpha1/namespaces/team/builds/b",
        "ce-type": "com.wercker.sentinel.build.step.started",
        "ce-time": "2026-11-28T10:00:00Z",
        "ce-sequence": "0001.0001.0003.0000.0000",
        # Percent-encoded as the HTTP binding has it.
        "ce-subject": "gr%C3%B6%C3%9Fe%201",
    }
    assert body(post)["stepSafeId"] == "größe 1"
    assert body(post)["pipeline"] == "build"


def test_a_cloud_event_in_structured_mode_is_one_json_object() -> None:
    post = cloudevents_post(STEP, ORIGIN, url="https://e.example/", token="", mode="structured")
    assert post is not None
    assert post.headers == {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    found = body(post)
    assert found.pop("data")["order"] == 5
    assert found == {
        "specversion": "1.0",
        "id": "uid-1.1.1.3.0.0",
        "source": "/apis/sentinel.wercker.com/v1alpha1/namespaces/team/builds/b",
        "type": "com.wercker.sentinel.build.step.started",
        "subject": "größe 1",
        "time": "2026-11-28T10:00:00Z",
        "sequence": "0001.0001.0003.0000.0000",
        "datacontenttype": "application/json",
    }


def test_every_event_but_logs_is_a_cloud_event_with_a_valid_time() -> None:
    seen = Reported.parse(stories.passed().raw)
    for event in events(seen, settings=Settings()):
        post = cloudevents_post(event, ORIGIN, url="https://e.example/", token="", mode="binary")
        assert (post is None) == (event.kind is Kind.STEP_LOG)
        assert event.time.startswith("2026-11-28T10:00:")


@given(st.lists(st.tuples(*[st.integers(0, 999)] * 5)))
def test_the_sequence_sorts_as_the_ranks(numbers: list[tuple[int, int, int, int, int]]) -> None:
    ranks = [Rank(*each) for each in numbers]
    assert [sequence(each) for each in sorted(ranks)] == sorted(map(sequence, ranks))


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://github.com/acme/shop.git", "github.com", "acme/shop"),
        ("https://user:pass@GitHub.com/acme/shop", "github.com", "acme/shop"),
        ("git@github.com:acme/shop.git", "github.com", "acme/shop"),
        ("ssh://git@git.example:2222/acme/shop/", "git.example", "acme/shop"),
        ("http://git.lab:3000/acme/shop.git", "git.lab:3000", "acme/shop"),
        ("https://gitlab.example/a/b/c.git", "gitlab.example", "a/b/c"),
    ],
)
def test_the_repository_of_a_source(url: str, host: str, path: str) -> None:
    found = repository_of(url)
    assert found is not None
    assert (found.host, found.path) == (host, path)


@pytest.mark.parametrize(
    "url", ["", "https://github.com/shop", "https://github.com/a/../b/c", "file:///a/b", "x"]
)
def test_what_is_not_a_repository_of_a_git_host(url: str) -> None:
    assert repository_of(url) is None


def host(kind: str = "github", name: str = "github.com", **more: Any) -> CommitStatusHost:
    return CommitStatusHost.model_validate(
        {"host": name, "kind": kind, "repositories": ["{namespace}/*"], **more}
    )


def test_a_namespace_sets_statuses_only_where_the_settings_allow_it() -> None:
    repository = repository_of("https://github.com/team/shop")
    assert repository is not None
    assert host_for(repository, [host()], namespace="team") is not None
    assert host_for(repository, [host()], namespace="other") is None
    assert host_for(repository, [host(repositories=[])], namespace="team") is None
    assert host_for(repository, [host(name="git.example")], namespace="team") is None


def ended(phase: str, reason: str) -> Event:
    data = {"phase": phase, "reason": reason, "message": "step 'test'\nfailed", "commit": "abc"}
    return Event(rank=Rank(2, 0, 1), kind=Kind.FINISHED, time="", data=data)


RUNS = Event(rank=Rank(0, 0, 2), kind=Kind.SOURCE_FETCHED, time="", data={"commit": "abc"})


@pytest.mark.parametrize(
    ("kind", "url", "login", "states"),
    [
        (
            "github",
            "https://api.github.com/repos/team/shop/statuses/abc",
            ("Authorization", "Bearer t"),
            ("pending", "success", "failure", "error", "error"),
        ),
        (
            "gitea",
            "https://github.com/api/v1/repos/team/shop/statuses/abc",
            ("Authorization", "token t"),
            ("pending", "success", "failure", "error", "error"),
        ),
        (
            "gitlab",
            "https://github.com/api/v4/projects/team%2Fshop/statuses/abc",
            ("PRIVATE-TOKEN", "t"),
            ("running", "success", "failed", "failed", "canceled"),
        ),
    ],
)
def test_commit_statuses(
    kind: str, url: str, login: tuple[str, str], states: tuple[str, ...]
) -> None:
    repository = repository_of("https://github.com/team/shop")
    assert repository is not None
    found = []
    for event in (
        RUNS,
        ended("Succeeded", "Passed"),
        ended("Failed", "ExitCode"),
        ended("Errored", "NodeLost"),
        ended("Cancelled", "Cancelled"),
    ):
        post = commitstatus_post(
            event,
            ORIGIN,
            host=host(kind, context="ci/{pipeline}/{namespace}"),
            repository=repository,
            commit="abc",
            token="t",
        )
        assert post is not None
        assert post.url == url
        assert post.headers[login[0]] == login[1]
        found.append(body(post))
    name = "name" if kind == "gitlab" else "context"
    assert tuple(each["state"] for each in found) == states
    assert {each[name] for each in found} == {"ci/build/team"}
    assert found[0]["description"] == "pipeline build runs"
    assert found[2]["description"] == "ExitCode: step 'test' failed"
    assert {each["target_url"] for each in found} == {"https://ci.example/run"}


def test_a_description_fits_into_what_git_hosts_take() -> None:
    repository = repository_of("https://github.com/team/shop")
    assert repository is not None
    event = ended("Failed", "ExitCode")
    long = Event(
        rank=event.rank, kind=event.kind, time="", data={**event.data, "message": "x" * 5000}
    )
    post = commitstatus_post(
        long, ORIGIN, host=host(), repository=repository, commit="abc", token=""
    )
    assert len(body(post)["description"]) == 140


@given(st.integers(0, 300_000), st.integers(1, 200_000))
@example(2, 1)
def test_chunks_of_a_log_are_contiguous_and_bounded(size: int, most: int) -> None:
    found = list(pieces(size, most=most))
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    sent = [(each.start, each.start + each.length) for each in found if not each.text]
    assert all(end - start <= CHUNK for start, end in sent)
    assert sum(end - start for start, end in sent) <= max(most, 2)
    gaps = [(a[1], b[0]) for a, b in pairwise(sent) if a[1] != b[0]]
    assert len(gaps) == len([each for each in found if each.text]) == (size > max(most, 2))
    if size:
        assert (sent[0][0], sent[-1][1]) == (0, size)
