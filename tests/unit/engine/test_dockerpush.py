"""What `internal/docker-push` is to push: its properties with the box's variables, the registry, the configuration."""

from __future__ import annotations

import pytest

from sentinel.api.imagecommit import ImageConfig
from sentinel.api.reasons import Reason
from sentinel.engine.dockerpush import Push, read_push
from sentinel.engine.properties import wants_sync
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential
from sentinel.registry.ecr import EcrKeys

ENV = {"TAG": "1.2", "USER": "me", "PASSWORD": "s3cret", "APP": "Shop", "NAMES": "a,b c"}

AMAZON = {
    "aws_access_key": "AKIA",
    "aws_secret_key": "$PASSWORD",
    "aws_region": "eu-west-1",
    "aws_registry_id": "123456789012",
}
AZURE = {
    "azure_client_id": "$USER",
    "azure_client_secret": "$PASSWORD",
    "azure_login_server": "acme.azurecr.io",
    "azure_subscription_id": "s",
    "azure_tenant_id": "t",
    "azure_resource_group": "g",
    "azure_registry_name": "acme",
}


def push(secret_values: tuple[str, ...] = (), **properties: str) -> Push:
    given = {name.replace("_", "-"): text for name, text in properties.items()}
    return read_push({"repository": "owner/app", **given}, ENV, secret_values=secret_values)


@pytest.mark.parametrize(
    ("repository", "registry", "target"),
    [
        ("owner/app", "", "docker.io/owner/app"),
        ("app", "", "docker.io/library/app"),
        ("Owner/$APP", "", "docker.io/owner/shop"),
        ("quay.io/owner/app", "", "quay.io/owner/app"),
        ("owner/app", "https://quay.io/v2", "quay.io/owner/app"),
        ("owner/app", "quay.io", "quay.io/owner/app"),
        (
            "owner/app",
            "https://registry.example.com:5000/v1/",
            "registry.example.com:5000/owner/app",
        ),
        ("gcr.io/project/app", "https://gcr.io", "gcr.io/project/app"),
        ("owner/app", "https://hub.docker.com/r/owner/app", "docker.io/owner/app"),
        ("hub.docker.com/r/owner/app", "", "docker.io/owner/app"),
        ("hub.docker.com/r/owner/app/", "https://hub.docker.com", "docker.io/owner/app"),
        ("owner/app", "https://registry.hub.docker.com", "docker.io/owner/app"),
        ("index.docker.io/owner/app", "", "docker.io/owner/app"),
        ("localhost:5000/app", "", "localhost:5000/app"),
    ],
)
def test_the_registry_is_inferred(repository: str, registry: str, target: str) -> None:
    found = push(repository=repository, registry=registry)

    assert found.target.name == target
    assert found.notes == ()


@pytest.mark.parametrize(
    ("repository", "registry", "target", "note"),
    [
        (
            *("quay.io/owner/app", "https://gcr.io", "quay.io/owner/app"),
            "repository names quay.io, registry gcr.io: quay.io is used",
        ),
        (
            *("owner/app", "mine", "docker.io/owner/app"),
            "registry 'mine' has no host: it is taken from repository",
        ),
    ],
)
def test_a_registry_that_is_not_used_is_noted(
    repository: str, registry: str, target: str, note: str
) -> None:
    found = push(repository=repository, registry=registry)

    assert (found.target.name, found.notes) == (target, (note,))


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        ("", ("latest",)),
        ("$TAG", ("1.2",)),
        ("v$TAG, latest", ("v1.2", "latest")),
        ("$NAMES $TAG a", ("a", "b", "c", "1.2")),
        ("$NOT_SET", ("latest",)),
    ],
)
def test_tags_are_split_after_their_variables_are_replaced(tag: str, tags: tuple[str, ...]) -> None:
    assert push(tag=tag).tags == tags


def test_every_property_of_the_image() -> None:
    found = push(
        cmd="node 'my server.js' $PORT",
        entrypoint="/bin/tini --",
        env='TAG=$TAG B="two words"',
        ports="8080, 53/udp 80:8000",
        volumes="/data,/logs",
        labels="a=b 'c=d e' ref=$TAG",
        user="65534",
        working_dir="/srv/$APP",
        stopsignal="SIGINT",
        author="me",
        message="built $TAG",
    )

    assert found.config == ImageConfig(
        cmd=["node", "my server.js", "$PORT"],
        entrypoint=["/bin/tini", "--"],
        env=["TAG=1.2", "B=two words"],
        ports=["8080/tcp", "53/udp", "8000/tcp"],
        volumes=["/data", "/logs"],
        labels={"a": "b", "c": "d e", "ref": "1.2"},
        user="65534",
        working_dir="/srv/Shop",
        stop_signal="SIGINT",
        author="me",
        message="built 1.2",
    )


def test_a_login_is_in_no_text() -> None:
    found = push(username="$USER", password="$PASSWORD")

    assert found.login == Credential(username="me", password="s3cret")
    assert "s3cret" not in repr(found)
    assert push().login is None


def test_a_json_key_has_its_line_ends_repaired() -> None:
    found = read_push(
        {"repository": "gcr.io/p/a", "username": "_json_key", "password": "$KEY"},
        {"KEY": '{"private_key": "a\\\\nb"}'},
    )

    assert found.login is not None
    assert found.login.password == '{"private_key": "a\\nb"}'


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"repository": ""}, "repository is missing: set where to push"),
        ({"repository": "$NOT_SET"}, "repository is missing"),
        (
            {"repository": "owner/app:v1"},
            "repository 'owner/app:v1' holds a tag or digest: write it as tag",
        ),
        (
            {"repository": "owner/a b"},
            "repository: 'docker.io/owner/a b' is not a valid image name",
        ),
        ({"tag": "a/b"}, "tag 'a/b' cannot be used: a tag has 1 to 128 letters"),
        ({"tag": "a b c d e f g h i"}, "tag has 9 tags; at most 8"),
        ({"ports": "web"}, "ports: 'web' is not a port: write 8080 or 8080/udp"),
        ({"ports": "70000"}, "ports: '70000' is not a port"),
        ({"cmd": "it's"}, "cmd cannot be split into words: No closing quotation"),
        ({"env": "A"}, "env: 'A' is not NAME=value"),
        ({"labels": "a=b=c"}, "labels: 'a=b=c' is not key=value"),
        ({"username": "me"}, "username and password belong together"),
        ({"user": "x" * 300}, "user cannot be used: String should have at most 256 characters"),
        (
            {"volumes": " ".join("/v" * 33)},
            "volumes cannot be used: List should have at most 32 items",
        ),
        (
            {"aws_access_key": "x", "aws_region": "$NOT_SET"},
            "aws-secret-key and aws-region and aws-registry-id are missing or empty",
        ),
        ({**AMAZON, "aws_region": "eu"}, "aws-region 'eu' is no region"),
        (
            {**AMAZON, "repository": "quay.io/a/b"},
            "repository names quay.io, but the login is for 123456789012.dkr.ecr.",
        ),
        ({"azure_client_id": "x"}, "azure-client-secret is missing or empty"),
        (
            {"azure_client_id": "x", "azure_client_secret": "y"},
            "azure-login-server is missing or empty",
        ),
        ({**AZURE, "azure_login_server": "a b/c"}, "azure-login-server 'a b/c' is no host"),
    ],
)
def test_what_cannot_be_pushed(properties: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        push(**properties)

    assert caught.value.reason is Reason.CONFIG_INVALID
    assert caught.value.message.startswith(message)


def test_a_secret_in_the_configuration_is_refused() -> None:
    with pytest.raises(
        UserError, match="a value that comes from a Secret would stand in the image"
    ):
        push(secret_values=("s3cret",), env="TOKEN=$PASSWORD")


def test_an_image_from_scratch_takes_fewer_properties() -> None:
    given = {
        "cmd": "serve --all",
        "entrypoint": "/app",
        "env": "TAG=$TAG",
        "ports": "8080",
        "volumes": "/data",
        "working-dir": "/www",
    }
    unused = {
        "labels": "not a label",
        "user": "65534",
        "stopsignal": "SIGINT",
        "author": "me",
        "message": "built",
        "image-name": "other",
    }
    registry = {"repository": "owner/app", "registry": "mine"}

    found = read_push(registry | given | unused, ENV, scratch=True)

    assert found.config == ImageConfig(
        cmd=["serve", "--all"],
        entrypoint=["/app"],
        env=["TAG=1.2"],
        ports=["8080/tcp"],
        volumes=["/data"],
        working_dir="/www",
    )
    assert found.notes == (
        "not used for an image from scratch: labels, user, stopsignal, author, message, image-name",
        "registry 'mine' has no host: it is taken from repository",
    )
    assert read_push(registry | {"user": ""}, ENV, scratch=True).notes == found.notes[1:]


@pytest.mark.parametrize(
    ("given", "host", "login"),
    [
        (
            {**AMAZON, "registry": "https://quay.io/v2"},
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            EcrKeys(
                access_key="AKIA",
                secret_key="s3cret",
                region="eu-west-1",
                registry_id="123456789012",
            ),
        ),
        (AZURE, "acme.azurecr.io", Credential(username="me", password="s3cret")),
        (
            {**AZURE, "azure_login_server": "https://acme.azurecr.io/"},
            "acme.azurecr.io",
            Credential(username="me", password="s3cret"),
        ),
        (
            {**AZURE, "azure_login_server": ""},
            "acme.azurecr.io",
            Credential(username="me", password="s3cret"),
        ),
    ],
)
@pytest.mark.parametrize("written", ["Team/App", "{host}/team/app"])
def test_the_login_of_a_cloud_says_which_registry(
    given: dict[str, str], host: str, login: Credential | EcrKeys, written: str
) -> None:
    found = push(**{**given, "repository": written.format(host=host)})

    assert (found.target.name, found.login, found.notes) == (f"{host}/team/app", login, ())
    assert "s3cret" not in repr(found)


def test_variables_that_steps_exported_count_unless_sync_is_disabled() -> None:
    assert [wants_sync({"disable-sync": text}) for text in ("true", "false", "1", "")] == [
        False,
        True,
        True,
        True,
    ]
    assert wants_sync({})
