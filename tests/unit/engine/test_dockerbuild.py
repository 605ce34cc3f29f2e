"""internal/docker-build: its properties, the words for buildctl, the pod that runs it, and its output."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.lab import tls
from tests.unit.engine.world import UID, plan

from sentinel.api.reasons import Reason
from sentinel.engine.builder import make_builder, owned_by
from sentinel.engine.buildlog import BuildLog
from sentinel.engine.dockerbuild import (
    ImageBuild,
    buildctl_words,
    built_tag,
    login_config,
    read_build,
    source_policy,
)
from sentinel.errors import UserError
from sentinel.image.dockerconfig import keychain_from_docker_config
from sentinel.image.reference import Reference, parse_reference
from sentinel.session.client import Session
from sentinel.settings import Settings

TARGET = Reference(registry="registry.example.com", repository="team/app", tag="t")


def test_every_property() -> None:
    build = read_build(
        {
            "image-name": "app:$TAG",
            "context": "/deploy/./web/",
            "dockerfile": "Dockerfile.$TAG",
            "target": "final",
            "build-args": "VERSION=$TAG 'B=two words' C=a=b EMPTY=",
            "labels": "com.example.tag=$TAG",
            "extra-hosts": "db:10.0.0.1, six:[fd00::1]",
            "no-cache": "true",
            "q": "True",
            "squash": "true",
            "registry-auth-config": '{"https://index.docker.io/v1/": {"username": "${WHO}", "password": "$WORD"}}',
        },
        {"TAG": "1.2", "WHO": "ci", "WORD": 'a"b'},
    )

    assert replace(build, logins=ImageBuild(name="").logins) == ImageBuild(
        name="app:1.2",
        context="deploy/web",
        dockerfile="Dockerfile.1.2",
        target="final",
        args=("VERSION=1.2", "B=two words", "C=a=b", "EMPTY="),
        labels=(("com.example.tag", "1.2"),),
        hosts=(("db", "10.0.0.1"), ("six", "fd00::1")),
        no_cache=True,
        quiet=True,
        notes=("squash is ignored: BuildKit keeps the layers of an image",),
    )
    assert json.loads(login_config(build.logins, target=TARGET)) == {
        "auths": {"https://index.docker.io/v1/": {"username": "ci", "password": 'a"b'}}
    }


def test_omitted_options_have_werckers_defaults() -> None:
    assert read_build({"image-name": "a", "no-cache": "maybe", "build-args": ""}, {}) == ImageBuild(
        name="a"
    )


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({}, "image-name is missing"),
        ({"image-name": "$NOTHING"}, "image-name is missing"),
        ({"image-name": "a", "context": "../../etc"}, "leads outside the source"),
        ({"image-name": "a", "dockerfile": "x/../../y"}, "leads outside the source"),
        ({"image-name": "a", "build-args": "VERSION"}, "'VERSION' is not NAME=value"),
        ({"image-name": "a", "build-args": "A='x"}, "cannot be split"),
        ({"image-name": "a", "build-args": "BUILDKIT_SYNTAX=evil/frontend"}, "BUILDKIT_"),
        ({"image-name": "a", "build-args": " ".join(f"A{n}=1" for n in range(65))}, "65 entries"),
        ({"image-name": "a", "build-args": f"A={'x' * 4096}"}, "more than 4096 bytes"),
        ({"image-name": "a", "build-args": "A='x\0'"}, "NUL character"),
        ({"image-name": "a", "target": "x\0"}, "NUL character"),
        ({"image-name": "a", "extra-hosts": "db:nowhere"}, "is not host:address"),
        ({"image-name": "a", "extra-hosts": "a,b=1:10.0.0.1"}, "is not host:address"),
        ({"image-name": "a", "registry-auth-config": "{"}, "is not a JSON object"),
        ({"image-name": "a", "registry-auth-config": "[1]"}, "is not a JSON object"),
        (
            {"image-name": "a", "registry-auth-config": "{" + '"a": {' * 5000},
            "is not a JSON object",
        ),
        ({"image-name": "a", "labels": "key=word-4711"}, "comes from a Secret"),
    ],
)
def test_what_cannot_be_built(properties: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_build(properties, {}, secret_values=["word-4711"])

    assert caught.value.reason is Reason.CONFIG_INVALID
    assert "word-4711" not in caught.value.message


def test_a_secret_in_a_build_argument_is_pointed_out_and_not_shown() -> None:
    build = read_build(
        {"image-name": "a", "build-args": "T=$T"}, {"T": "word-4711"}, secret_values=["word-4711"]
    )

    assert "build-args has a value that comes from a Secret" in build.notes[0]
    assert "word-4711" not in repr(build)


def test_tags_of_built_images() -> None:
    names = ["app", "App", "registry.example.com/o/app:1", "$!", "x" * 300]
    tags = [built_tag(uid=UID, attempt=2, name=name) for name in names]

    assert re.fullmatch(f"{UID}-2-registry-example-com-o-app-1-[0-9a-f]{{8}}", tags[2])
    assert len(set(tags)) == len(names)
    assert all(parse_reference(f"registry.example.com/a:{tag}").tag == tag for tag in tags)


def test_the_words_for_buildctl() -> None:
    build = read_build(
        {
            "image-name": "a",
            "target": "x",
            "build-args": "A='$B --opt=source=evil'",
            "labels": "k=v",
            "extra-hosts": "db:10.0.0.1",
            "no-cache": "1",
        },
        {"B": "b"},
    )

    assert buildctl_words(
        build, target=TARGET, context="/context/source", namespace="team", insecure=True
    ) == [
        "build",
        "--frontend=dockerfile.v0",
        "--local=context=/context/source",
        "--local=dockerfile=/context/source",
        "--opt=filename=Dockerfile",
        "--opt=cmdline=sentinel",
        "--opt=build-arg:BUILDKIT_CACHE_MOUNT_NS=team",
        "--opt=build-arg:A=b --opt=source=evil",
        "--opt=label:k=v",
        "--opt=target=x",
        "--opt=add-hosts=db=10.0.0.1",
        "--no-cache",
        "--progress=plain",
        "--output=type=image,name=registry.example.com/team/app:t,push=true,registry.insecure=true",
    ]


def test_one_login_a_registry_and_the_one_to_push_with_for_the_target() -> None:
    def keys(**auths: Any) -> Any:
        return keychain_from_docker_config(json.dumps({"auths": auths}), source="test")

    login = {"username": "u", "password": "p"}
    all_of_it = keys(
        **{
            "registry.example.com/other": {**login, "username": "other"},
            "registry.example.com/team": {**login, "username": "team"},
            "docker.io": {**login, "username": "hub"},
            "*.example.org": login,
        }
    )

    config = json.loads(login_config(all_of_it, target=TARGET))["auths"]

    assert {host: each["username"] for host, each in config.items()} == {
        "registry.example.com": "team",
        "https://index.docker.io/v1/": "hub",
    }


def test_nothing_secret_stands_in_the_pod() -> None:
    settings = Settings(
        image="sentinel:1",
        pod_namespace="sentinel-system",
        engine={  # type: ignore[arg-type]
            "buildkit": {
                "address": "tcp://buildkit.{namespace}-builds:1234",
                "tls_secret": "buildkit-client",
            }
        },
    )
    of = plan("build")

    pod, secret = make_builder(
        of,
        of.steps[0],
        settings=settings,
        words=["build", "--opt=build-arg:T=word-4711", "--opt=build-arg:ODD=\udc80"],
        url="https://s3.example.com/context?signature=word-4711",
        sha256="a" * 64,
        login='{"auths": "word-4711"}',
    )

    assert "word-4711" not in json.dumps(pod)
    build = pod["spec"]["containers"][0]
    assert build["args"][0] == "--addr=tcp://buildkit.ns-builds:1234"
    assert build["args"][-3:] == ["$(WORD0)", "$(WORD1)", "$(WORD2)"]
    assert pod["metadata"]["namespace"] == "sentinel-system"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["activeDeadlineSeconds"] == 180
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["word1"] == "--opt=build-arg:T=word-4711"
    assert json.loads(data["fetch"])["sha256"] == "a" * 64
    made = {"metadata": {"name": "p", "uid": "u"}}
    assert owned_by(secret, made)["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_base_images_come_from_the_registries_that_boxes_may_come_from() -> None:
    settings = Settings(engine={"buildkit": {"address": "tcp://b:1", "tls_secret": "c"}})  # type: ignore[arg-type]
    of = plan("build")
    policy = source_policy(["registry.example.com", "docker.io"])

    pod, secret = make_builder(
        of,
        of.steps[0],
        settings=settings,
        words=["build"],
        url="",
        sha256="",
        login="{}",
        policy=policy,
    )

    assert source_policy([]) == ""
    assert [
        (rule["action"], rule["selector"]["identifier"]) for rule in json.loads(policy)["rules"]
    ] == [
        ("DENY", "docker-image://*"),
        ("ALLOW", "docker-image://registry.example.com/*"),
        ("ALLOW", "docker-image://docker.io/*"),
    ]
    build = pod["spec"]["containers"][0]
    assert build["args"][-1] == "--source-policy-file=/run/sentinel/login/policy.json"
    assert base64.b64decode(secret["data"]["policy.json"]).decode() == policy


class Notes:
    """A session that keeps notes as boxkit does: each key once."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def note(self, key: str, text: str) -> None:
        self.kept.setdefault(key, text)

    @property
    def text(self) -> str:
        return "\n".join(self.kept.values())


async def _chunks(*parts: bytes, cut: bool = False) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if cut:
        raise ConnectionError


async def test_output_that_is_cut_is_read_again_and_noted_once() -> None:
    notes = Notes()
    log = BuildLog(cast("Session", notes), 3, limit=1000)

    with pytest.raises(ConnectionError):
        await log.take(_chunks(b"one\ntw", b"o\nthr", cut=True))
    assert not log.complete
    await log.take(_chunks(b"one\ntwo\nthree\nerror: failed to solve: no\n"))

    assert log.complete
    assert notes.text == "one\ntwo\nthree\nerror: failed to solve: no"
    assert log.error() == "failed to solve: no"


async def test_of_output_that_is_too_long_the_end_is_kept() -> None:
    notes = Notes()
    log = BuildLog(cast("Session", notes), 3, limit=100)
    lines = [b"line %d" % n for n in range(1000)]

    await log.take(_chunks(b"\n".join(lines), b"\n" + b"x" * 100_000, b"\nerror: last"))

    assert notes.text.startswith("line 0\nline 1\n")
    assert notes.text.endswith("\nerror: last")
    assert "lines left out" in notes.text
    assert len(notes.text) < 10_000
    assert log.error() == "last"


def test_the_context_is_fetched_as_the_store_is_reached(tmp_path: Path) -> None:
    """Behind the proxy, and from a server of a private authority. With the latter alone it failed."""
    pem = tls.certificates(tmp_path, "s3.example.com").authority.read_text()
    settings = Settings(
        engine={"buildkit": {"address": "tcp://b:1", "tls_secret": "c"}},  # type: ignore[arg-type]
        proxy={"https": "http://proxy:3128"},  # type: ignore[arg-type]
        ca=pem,
    )
    of = plan("build")

    pod, secret = make_builder(
        of, of.steps[0], settings=settings, words=["build"], url="", sha256="", login="{}"
    )

    fetch = json.loads(base64.b64decode(secret["data"]["fetch"]))
    assert pem.strip() in fetch["ca"]
    context = pod["spec"]["initContainers"][0]
    assert {"name": "https_proxy", "value": "http://proxy:3128"} in context["env"]
