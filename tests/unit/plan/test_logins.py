"""Registry logins in wercker.yml: which keys make one, and where the image is looked for."""

from __future__ import annotations

import json

import pytest

from sentinel.api.reasons import Reason
from sentinel.config.load import load
from sentinel.config.model import Box
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential, docker_config
from sentinel.plan.images import wanted_images
from sentinel.plan.logins import login_of, wants_login, with_registry

VALUES = {"USER": "ci", "PASSWORD": 'p$x"\\`', "EMPTY": ""}


def box(**auth: str) -> Box:
    return Box(id="acme/app", line=3, auth=tuple((k.replace("_", "-"), v) for k, v in auth.items()))


@pytest.mark.parametrize(
    ("said", "login"),
    [
        ({}, None),
        ({"registry": "quay.io"}, None),
        (
            {"username": "$USER", "password": "${PASSWORD}"},
            Credential(username="ci", password='p$x"\\`'),
        ),
        (
            {"username": "_json_key", "password": '{"type": "x"}'},
            Credential(username="_json_key", password='{"type": "x"}'),
        ),
        (
            {
                "azure_login_server": "acme.azurecr.io",
                "azure_client_id": "id",
                "azure_client_secret": "$PASSWORD",
                "azure_tenant_id": "t",
            },
            Credential(username="id", password='p$x"\\`'),
        ),
    ],
)
def test_the_login_of_a_box(said: dict[str, str], login: Credential | None) -> None:
    assert login_of(box(**said), values=VALUES) == login
    assert wants_login(box(**said)) == (login is not None)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"username": "$USER", "password": "$EMPTY"},
            r"password of acme/app on line 3 .*: \$EMPTY",
        ),
        ({"username": "$USER"}, r"password of acme/app on line 3 of wercker\.yml is empty$"),
    ],
)
def test_a_login_that_cannot_work_is_refused_without_its_values(
    said: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        login_of(box(**said), values=VALUES)

    assert caught.value.reason is Reason.IMAGE_AUTH_FAILED
    assert "ci" not in caught.value.message.split()


@pytest.mark.parametrize(
    ("image", "registry", "whole"),
    [
        ("acme/app", "quay.io", "quay.io/acme/app"),
        ("acme/app", "https://quay.io/v2/", "quay.io/acme/app"),
        ("app", "registry.lab:5000", "registry.lab:5000/app"),
        ("acme/app", "https://index.docker.io/v1/", "docker.io/acme/app"),
        ("gcr.io/acme/app", "https://quay.io", "gcr.io/acme/app"),
        ("localhost/app", "quay.io", "localhost/app"),
        ("host:5000/app", "quay.io", "host:5000/app"),
        ("acme/app", "", "acme/app"),
    ],
)
def test_an_image_without_a_host_is_on_the_registry_that_is_named(
    image: str, registry: str, whole: str
) -> None:
    assert with_registry(image, (("registry", registry),)) == whole


def test_a_registry_may_be_a_variable_and_the_password_a_secret() -> None:
    config = load(
        b"box: {id: acme/app, tag: 1, registry: $REG, username: u, password: $TOKEN}\nbuild: {}\n"
    ).config
    assert config is not None

    wanted = wanted_images(
        config,
        config.pipelines["build"],
        public={"REG": "https://quay.io"},
        hidden=frozenset({"TOKEN"}),
    )

    assert wanted.box.image == "quay.io/acme/app:1"
    assert dict(wanted.box.auth)["password"] == "$TOKEN"


def test_the_docker_config_holds_each_login_for_its_repository_only() -> None:
    text = docker_config({"quay.io/acme/app": Credential(username="u", password="p:w")})

    assert json.loads(text) == {
        "auths": {"quay.io/acme/app": {"username": "u", "password": "p:w", "auth": "dTpwOnc="}}
    }


def test_a_login_does_not_show_itself() -> None:
    assert repr(Credential(username="hidden", password="hidden")) == "Credential()"
