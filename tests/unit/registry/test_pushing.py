"""Which repositories builds of a namespace may push to."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.image.reference import parse_repository
from sentinel.registry.pushing import Pushing, allowed_places, may_push
from sentinel.settings.images import ImageSettings

PREFIX = {"prefix": "r.example.com:5000/builds/"}
PATTERNS = {"allowed_repositories": ["r.example.com:5000/{namespace}/*", "other.example.com/team"]}


@pytest.mark.parametrize(
    ("said", "repository", "expected"),
    [
        (PREFIX, "r.example.com:5000/builds/team/app", Pushing.ALLOWED),
        (PREFIX, "r.example.com:5000/builds/team/a/b", Pushing.ALLOWED),
        # Another namespace's, one whose name only begins like ours, and what lies beside all of them.
        (PREFIX, "r.example.com:5000/builds/other/app", Pushing.DENIED),
        (PREFIX, "r.example.com:5000/builds/team2/app", Pushing.DENIED),
        (PREFIX, "r.example.com:5000/builds/team", Pushing.DENIED),
        (PREFIX, "r.example.com:5000/sentinel", Pushing.DENIED),
        (PREFIX, "r.example.com/builds/team/app", Pushing.WITH_LOGIN),
        (PREFIX, "elsewhere.example.com/app", Pushing.WITH_LOGIN),
        ({}, "r.example.com:5000/builds/team/app", Pushing.WITH_LOGIN),
        ({"prefix": "acme"}, "acme/team/app", Pushing.ALLOWED),
        ({"prefix": "acme"}, "docker.io/acme/other/app", Pushing.DENIED),
        ({"prefix": "docker.io"}, "docker.io/team/app", Pushing.ALLOWED),
        ({"prefix": "docker.io"}, "docker.io/other/app", Pushing.DENIED),
        ({**PREFIX, **PATTERNS}, "r.example.com:5000/builds/team/app", Pushing.ALLOWED),
        (PATTERNS, "r.example.com:5000/team/app", Pushing.ALLOWED),
        (PATTERNS, "other.example.com/team", Pushing.ALLOWED),
        (PATTERNS, "r.example.com:5000/other/app", Pushing.DENIED),
        (PATTERNS, "elsewhere.example.com/app", Pushing.DENIED),
    ],
)
def test_where_builds_of_a_namespace_may_push(
    said: dict[str, Any], repository: str, expected: Pushing
) -> None:
    images = ImageSettings(**said)

    assert may_push(parse_repository(repository), images=images, namespace="team") is expected


def test_the_allowed_places_name_their_settings() -> None:
    assert allowed_places(ImageSettings(**PREFIX), namespace="team") == (
        "r.example.com:5000/builds/team/* (images.prefix), other registries with a login in spec.image.pushSecretRef"
    )
    assert allowed_places(ImageSettings(**PATTERNS), namespace="team") == (
        "r.example.com:5000/team/* (images.allowedRepositories), "
        "other.example.com/team (images.allowedRepositories)"
    )
