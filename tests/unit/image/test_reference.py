"""Image names are taken apart by Docker's rules."""

from __future__ import annotations

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.reference import Reference, parse_reference, parse_repository

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected", "full"),
    [
        (
            "redis",
            Reference(registry="docker.io", repository="library/redis"),
            "docker.io/library/redis",
        ),
        (
            "redis:6.2",
            Reference(registry="docker.io", repository="library/redis", tag="6.2"),
            "docker.io/library/redis:6.2",
        ),
        (
            "wercker/sentinel",
            Reference(registry="docker.io", repository="wercker/sentinel"),
            "docker.io/wercker/sentinel",
        ),
        (
            "localhost/box",
            Reference(registry="localhost", repository="box"),
            "localhost/box",
        ),
        (
            "registry:5000/a/b/c:v1",
            Reference(registry="registry:5000", repository="a/b/c", tag="v1"),
            "registry:5000/a/b/c:v1",
        ),
        (
            f"quay.io/a/b:v1@{DIGEST}",
            Reference(registry="quay.io", repository="a/b", tag="v1", digest=DIGEST),
            f"quay.io/a/b:v1@{DIGEST}",
        ),
        (
            f"redis@{DIGEST}",
            Reference(registry="docker.io", repository="library/redis", digest=DIGEST),
            f"docker.io/library/redis@{DIGEST}",
        ),
        (
            "index.docker.io/redis",
            Reference(registry="docker.io", repository="library/redis"),
            "docker.io/library/redis",
        ),
        (
            "[::1]:5000/box",
            Reference(registry="[::1]:5000", repository="box"),
            "[::1]:5000/box",
        ),
        (
            "MyHost/box",
            Reference(registry="MyHost", repository="box"),
            "MyHost/box",
        ),
        (
            "a__b/c-d.e_f",
            Reference(registry="docker.io", repository="a__b/c-d.e_f"),
            "docker.io/a__b/c-d.e_f",
        ),
    ],
)
def test_names_are_taken_apart(text: str, expected: Reference, full: str) -> None:
    assert (parse_reference(text), str(parse_reference(text))) == (expected, full)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has no repository"),
        ("Redis", "names are lower case: write 'redis'"),
        ("quay.io/A/b", "names are lower case: write 'quay.io/a/b'"),
        ("redis:", "'' is not a valid tag"),
        ("redis:a b", "'a b' is not a valid tag"),
        ("redis:-x", "'-x' is not a valid tag"),
        (f"redis:{'x' * 129}", "is not a valid tag"),
        ("redis@sha256:12", "'sha256:12' is not a digest"),
        ("redis@", "'' is not a digest"),
        ("a//b", "'a//b' is not a valid repository"),
        ("a/b/", "'a/b/' is not a valid repository"),
        ("../etc/passwd", "'..' is not a host name"),
        ("a b", "'a b' is not a valid repository"),
        ("https://quay.io/a", "leave https:// away"),
        ("ab" * 32, "64 hexadecimal digits are an image's id"),
        ("a" * 256, "255 characters at most"),
    ],
)
def test_bad_names_say_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_reference(text)
    assert caught.value.reason is Reason.INVALID_IMAGE_NAME
    assert why in caught.value.message


def test_names_without_a_host_live_in_the_default_registry() -> None:
    assert parse_reference("box:1", default_registry="registry.lab:5000") == Reference(
        registry="registry.lab:5000", repository="box", tag="1"
    )


def test_what_is_asked_for_is_digest_before_tag_before_latest() -> None:
    names = ["box", "box:1", f"box:1@{DIGEST}"]
    assert [parse_reference(name).identifier for name in names] == ["latest", "1", DIGEST]


def test_docker_hub_is_served_elsewhere_than_it_is_named() -> None:
    assert parse_reference("redis").endpoint == "registry-1.docker.io"
    assert parse_reference("quay.io/redis").endpoint == "quay.io"


def test_pinning_drops_the_tag_and_tagging_drops_the_digest() -> None:
    box = parse_reference("quay.io/box:1")
    assert str(box.pinned(DIGEST)) == f"quay.io/box@{DIGEST}"
    assert str(box.pinned(DIGEST).tagged("2")) == "quay.io/box:2"


def test_repositories_to_push_to_are_lower_cased() -> None:
    assert parse_repository("Registry.Lab:5000/Team/App").name == "registry.lab:5000/team/app"


@pytest.mark.parametrize("text", ["quay.io/a:1", f"quay.io/a@{DIGEST}"])
def test_repositories_to_push_to_have_no_tag(text: str) -> None:
    with pytest.raises(UserError, match="without a tag or digest"):
        parse_repository(text)
