"""Docker configs become a keychain that finds the closest entry, and complains without quoting secrets."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.dockerconfig import (
    NO_CREDENTIALS,
    Credential,
    keychain_from_docker_config,
    keychain_from_secrets,
)
from sentinel.image.reference import parse_reference


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(**users: str) -> str:
    """A config with a user per key; the password is the user's name backwards."""
    return json.dumps(
        {"auths": {key: {"auth": encoded(f"{user}:{user[::-1]}")} for key, user in users.items()}}
    )


def found(text: str, image: str) -> str:
    credential = keychain_from_docker_config(text, source="test").find(parse_reference(image))
    return credential.username if credential else ""


@pytest.mark.parametrize(
    ("key", "image", "fits"),
    [
        ("quay.io", "quay.io/a/b", True),
        ("quay.io", "quay.io:443/a/b", False),
        ("reg:5000", "reg:5000/a", True),
        ("reg", "reg:5000/a", False),
        ("https://quay.io", "quay.io/a", True),
        ("https://quay.io/v1/", "quay.io/a", True),
        ("https://quay.io/v2/", "quay.io/a", True),
        ("https://index.docker.io/v1/", "redis", True),
        ("docker.io", "redis", True),
        ("registry-1.docker.io", "wercker/box", True),
        ("registry.hub.docker.com", "wercker/box", True),
        ("https://hub.docker.com/v2/", "wercker/box", True),
        ("docker.io", "registry.hub.docker.com/wercker/box", True),
        ("quay.io/team", "quay.io/team/app", True),
        ("quay.io/team", "quay.io/team", True),
        ("quay.io/team", "quay.io/teams/app", False),
        ("*.example.com", "eu.example.com/a", True),
        ("*.example.com", "a.eu.example.com/a", False),
        ("other.io", "quay.io/a", False),
    ],
)
def test_keys_fit_images(key: str, image: str, fits: bool) -> None:
    assert found(config(**{key: "me"}), image) == ("me" if fits else "")


def test_the_longest_path_wins_then_the_exact_host_then_the_first_secret() -> None:
    text = config(
        **{
            "quay.io": "host",
            "quay.io/team/app": "app",
            "quay.io/team": "team",
            "*.io": "pattern",
        }
    )
    images = ["quay.io/x", "quay.io/team/y", "quay.io/team/app", "ghcr.io/x"]
    assert [found(text, image) for image in images] == ["host", "team", "app", "pattern"]
    two = keychain_from_docker_config(
        config(**{"quay.io": "first"}), source="1"
    ) + keychain_from_docker_config(config(**{"quay.io": "second"}), source="2")
    credential = two.find(parse_reference("quay.io/x"))
    assert credential == Credential(username="first", password="tsrif")


def test_passwords_may_hold_colons_and_are_never_shown() -> None:
    text = json.dumps({"auths": {"quay.io": {"auth": encoded("me:pass:word")}}})
    keychain = keychain_from_docker_config(text, source="test")
    credential = keychain.find(parse_reference("quay.io/a"))
    assert credential == Credential(username="me", password="pass:word")
    assert "pass:word" not in repr(keychain)


def secret(data: dict[str, str], *, kind: str = "kubernetes.io/dockerconfigjson") -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": "push"}, "type": kind, "data": data}


def test_secrets_of_both_types_are_read() -> None:
    modern = secret({".dockerconfigjson": encoded(config(**{"quay.io": "modern"}))})
    legacy = secret(
        {".dockercfg": encoded(json.dumps({"ghcr.io": {"username": "old", "password": "x"}}))},
        kind="kubernetes.io/dockercfg",
    )
    keychain = keychain_from_secrets([modern, legacy])
    assert [
        keychain.find(parse_reference(f"{host}/a"))
        for host in ("quay.io", "ghcr.io", "elsewhere.io")
    ] == [
        Credential(username="modern", password="nredom"),
        Credential(username="old", password="x"),
        None,
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"token": encoded("hunter2")}, "holds no .dockerconfigjson"),
        ({".dockerconfigjson": encoded("hunter2")}, "it is not JSON (line 1)"),
        ({".dockerconfigjson": encoded('["hunter2"]')}, "it is not a JSON object"),
        ({".dockerconfigjson": encoded('{"auths": "hunter2"}')}, "`auths` is not an object"),
        ({".dockerconfigjson": encoded('{"auths": {"q.io": "hunter2"}}')}, "is no object"),
        (
            {
                ".dockerconfigjson": encoded(
                    json.dumps({"auths": {"q.io": {"auth": "aHVudGVyMg=="}}})
                )
            },
            "is not base64 of user:password",
        ),
    ],
)
def test_malformed_secrets_are_named_and_not_quoted(data: dict[str, str], why: str) -> None:
    with pytest.raises(UserError) as caught:
        keychain_from_secrets([secret(data)])
    assert caught.value.reason is Reason.IMAGE_AUTH_FAILED
    assert "Secret team/push" in caught.value.message
    assert why in caught.value.message
    assert "hunter2" not in caught.value.message


def test_an_empty_keychain_has_no_login() -> None:
    assert NO_CREDENTIALS.find(parse_reference("redis")) is None
