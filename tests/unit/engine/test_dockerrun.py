"""internal/docker-run: its properties, and the container that is added to the pod."""

from __future__ import annotations

import pytest
from tests.unit.engine.world import plan

from sentinel.api.build import PodContainer
from sentinel.api.reasons import Reason
from sentinel.engine.containers import _last_of
from sentinel.engine.dockerrun import ContainerRun, make_container, read_run
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential
from sentinel.plan.model import ImageFacts
from sentinel.plan.names import run_container_name

IMAGE = ImageFacts(
    name="app",
    reference="registry.example.com/app@sha256:0",
    entrypoint=("/entry",),
    cmd=("serve", "$HOME"),
    user="1000:1000",
)
BARE = PodContainer()


def test_every_property() -> None:
    run = read_run(
        "my $WHAT",
        {
            "image": "app:$TAG",
            "cmd": "serve --port $PORT 'two words'",
            "entrypoint": "sh -c",
            "env": "A=$TAG B='two words'",
            "working-dir": "/srv/$TAG",
            "user": "100:200",
            "ports": "8080",
            "username": "ci",
            "password": "$WORD",
        },
        {"TAG": "1", "PORT": "80", "WHAT": "app", "WORD": "word-4711"},
        secret_values=["word-4711"],
    )

    assert isinstance(run.login, Credential)
    assert run.login.password == "word-4711"
    assert "word-4711" not in repr(run)
    assert make_container(run, IMAGE, ordinal=3, said=BARE) == {
        "name": "run-3-my-app",
        "image": IMAGE.reference,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "/run/sentinel/kit/boxkit",
            "run",
            *("sh", "-c", "serve", "--port", "80", "two words"),
        ],
        "volumeMounts": [{"name": "kit", "mountPath": "/run/sentinel/kit", "readOnly": True}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "two words"}],
        "workingDir": "/srv/1",
        "securityContext": {"runAsUser": 100, "runAsGroup": 200},
    }
    assert run.notes[0].startswith("ports is not needed")


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({}, ["/entry", "serve", "$$HOME"]),
        ({"cmd": ("x",)}, ["/entry", "x"]),
        ({"entrypoint": ("x",)}, ["x"]),
        ({"entrypoint": ("x",), "cmd": ("y",)}, ["x", "y"]),
    ],
)
def test_what_is_run(run: dict[str, tuple[str, ...]], words: list[str]) -> None:
    container = make_container(
        ContainerRun(name="a", image="app", **run),  # type: ignore[arg-type]
        IMAGE,
        ordinal=1,
        said=PodContainer(security_context={"runAsNonRoot": True}),
    )

    assert container["command"][2:] == words
    assert container["securityContext"] == {
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "runAsNonRoot": True,
    }


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({}, "image is missing"),
        ({"image": "a", "cmd": "'x"}, "cannot be split"),
        ({"image": "a", "cmd": "x\0"}, "NUL character"),
        ({"image": "a", "env": "A"}, "'A' is not NAME=value"),
        ({"image": "a", "env": "A=$WORD"}, "readable in the pod's spec"),
        ({"image": "a", "cmd": "login $WORD"}, "readable in the pod's spec"),
        ({"image": "a", "username": "x"}, "belong together"),
        ({"image": "a", "cmd": "x " * 129}, "more than 128 words"),
    ],
)
def test_what_cannot_be_run(properties: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_run("web", properties, {"WORD": "word-4711"}, secret_values=["word-4711"])

    assert caught.value.reason is Reason.CONFIG_INVALID
    assert "word-4711" not in caught.value.message


def test_a_user_that_is_a_name_is_ignored_with_a_note() -> None:
    run = read_run("web", {"image": "a", "user": "www"}, {})

    assert (run.user, run.notes) == (
        "",
        ("user www is ignored: only a number, or uid:gid, can be used",),
    )


def test_an_image_that_runs_nothing_needs_a_cmd() -> None:
    with pytest.raises(UserError, match="neither ENTRYPOINT nor CMD"):
        make_container(
            ContainerRun(name="a", image="app"),
            ImageFacts(name="app", reference="app"),
            ordinal=1,
            said=BARE,
        )


def test_the_container_that_was_started_last_is_killed() -> None:
    names = [
        run_container_name(name=n, ordinal=o) for n, o in (("Web", 2), ("web", 10), ("db", 11))
    ]
    pod = {"spec": {"ephemeralContainers": [{"name": name} for name in (*names, "debugger-x")]}}

    assert _last_of(pod, "web") == "run-10-web"
    assert _last_of(pod, "we") is None
    assert _last_of({"spec": {}}, "web") is None
    assert plan().id.image_build(3) == "b-6f0d3a52-1-image3"
