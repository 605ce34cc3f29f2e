"""internal/publish-step against a real `sentinel steps serve`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sentinel.steps.folder import versions_of
from sentinel.steps.pack import StepLimits
from sentinel.steps.serve import StepServer
from tests.standard.conftest import Bench, HttpStub

TOKEN = "0123456789abcdef-secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "registry"
    found.mkdir()
    return found


@pytest.fixture
async def registry(folder: Path) -> AsyncIterator[str]:
    async with StepServer(folder, publish_token=TOKEN).running("127.0.0.1", 0) as url:
        yield url


def write_step(
    directory: Path, manifest: str = "name: deploy\nversion: 1.0.0\n", file: str = "step.yml"
) -> None:
    (directory / ".git").mkdir(parents=True, exist_ok=True)
    (directory / ".git/config").write_text("[remote]\n")
    (directory / ".gitignore").write_text("x\n")
    (directory / "run.sh").write_text("echo hi\n")
    (directory / "bin").mkdir()
    (directory / "bin/tool").write_text("#!/bin/sh\n")
    (directory / "bin/tool").chmod(0o755)
    (directory / file).write_text(manifest)


async def test_the_source_is_published(bench: Bench, registry: str, folder: Path) -> None:
    write_step(bench.source)
    bench.env["TOKEN"] = TOKEN

    ran = await bench.run(
        "publish-step", owner="acme", endpoint=f"{registry}/", auth_token="$TOKEN"
    )

    assert (ran.exit, ran.exports) == (0, {}), ran.log
    assert "published acme/deploy@1.0.0" in ran.log
    assert TOKEN not in ran.log
    (step,) = versions_of(folder, "acme", "deploy")
    assert sorted(each.name for each in step.root.rglob("*")) == [
        ".gitignore", "bin", "run.sh", "step.yml", "tool"
    ]  # fmt: skip
    assert (step.root / "bin/tool").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("file", "manifest", "published"),
    [
        ("wercker-step.yml", "name: old\nversion: 0.0.7\n", "old@0.0.7"),
        ("step.yml", "# a step\nversion: \"1.10\"  # next\nname: 'q'\nsummary: x\n", "q@1.10"),
        ("step.yml", "name: v\r\nversion: v2.0.0\r\nproperties:\r\n  - name: x\r\n", "v@2.0.0"),
    ],
)
async def test_name_and_version_are_those_of_the_manifest(
    bench: Bench, registry: str, folder: Path, file: str, manifest: str, published: str
) -> None:
    write_step(bench.source / "steps/a b", manifest, file)
    bench.env |= {"STEP_REGISTRY_URL": registry, "STEP_REGISTRY_TOKEN": TOKEN}

    ran = await bench.run("publish-step", owner="acme", path="steps/a b")

    assert ran.exit == 0, ran.log
    name, _, version = published.partition("@")
    assert [each.version for each in versions_of(folder, "acme", name)] == [version]


async def test_a_version_that_exists(bench: Bench, registry: str, folder: Path) -> None:
    write_step(bench.source)

    ran = await bench.run(
        "publish-step",
        owner="acme",
        endpoint=registry,
        auth_token=TOKEN,
        times=2,
        between='echo echo changed > "$WERCKER_SOURCE_DIR/run.sh"',
    )

    assert (ran.exit, ran.message) == (
        1,
        "acme/deploy@1.0.0 was not published: 127.0.0.1 answered with HTTP 409 Conflict: acme/deploy@1.0.0 exists, and "
        "versions are never overwritten: publish a higher version",
    )
    assert (folder / "acme/deploy/1.0.0/run.sh").read_text() == "echo hi\n"


@pytest.mark.parametrize(
    ("token", "private", "words"),
    [
        ("not-the-token", "false", "HTTP 401 Unauthorized: the publish token is missing or wrong"),
        (TOKEN, "true", "HTTP 400 Bad Request: this registry has no private steps"),
    ],
)
async def test_a_refusal_has_the_registry_s_words(
    bench: Bench, registry: str, folder: Path, token: str, private: str, words: str
) -> None:
    write_step(bench.source)

    ran = await bench.run(
        "publish-step", owner="acme", endpoint=registry, auth_token=token, private=private
    )

    assert (ran.exit, list(folder.iterdir())) == (1, [])
    assert words in ran.message
    assert token not in ran.log


async def test_a_step_that_is_too_large(bench: Bench, folder: Path) -> None:
    write_step(bench.source)
    (bench.source / "data").write_bytes(os.urandom(3_000_000))
    server = StepServer(folder, publish_token=TOKEN, limits=StepLimits(packed=1_000_000))

    async with server.running("127.0.0.1", 0) as url:
        ran = await bench.run("publish-step", owner="acme", endpoint=url, auth_token=TOKEN)

    assert (ran.exit, list(folder.iterdir())) == (1, [])
    assert "HTTP 413 Request Entity Too Large: the archive has more than 1000000" in ran.message


async def test_another_registry_that_answers_with_text(bench: Bench, http: HttpStub) -> None:
    write_step(bench.source)
    http.answer("down\nfor maintenance", status=503)

    ran = await bench.run("publish-step", owner="acme", endpoint=http.url, auth_token=TOKEN)

    assert (ran.exit, ran.message) == (
        1,
        "acme/deploy@1.0.0 was not published: 127.0.0.1 answered with HTTP 503 Service Unavailable: downfor "
        "maintenance",
    )
    (request,) = http.requests
    assert (request.method, request.path) == ("PUT", "/api/steps/acme/deploy/1.0.0")
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("options", "manifest", "message"),
    [
        ({"owner": ""}, "name: x\nversion: 1.0.0\n", "owner is missing"),
        ({"endpoint": ""}, "name: x\nversion: 1.0.0\n", "endpoint is missing"),
        ({"endpoint": "steps.acme"}, "name: x\nversion: 1.0.0\n", "endpoint is steps.acme: write"),
        ({"auth_token": ""}, "name: x\nversion: 1.0.0\n", "auth-token is missing"),
        ({"path": "no"}, "name: x\nversion: 1.0.0\n", "path is no, and there is no directory"),
        ({"path": "bin"}, "name: x\nversion: 1.0.0\n", "there is no step.yml in "),
        ({}, "version: 1.0.0\n", "step.yml has no name"),
        ({}, "name: x\nproperties:\n  version: 1\n", "step.yml has no version"),
    ],
)
async def test_wrong_options(
    bench: Bench, http: HttpStub, options: dict[str, str], manifest: str, message: str
) -> None:
    write_step(bench.source, manifest)
    given = {"owner": "acme", "endpoint": http.url, "auth_token": TOKEN} | options

    ran = await bench.run("publish-step", **given)

    assert (ran.exit, http.requests) == (1, [])
    assert ran.message.startswith(message)


async def test_a_box_without_tar(bench: Bench, registry: str, folder: Path) -> None:
    write_step(bench.source)
    bench.only_fakes("sed")

    ran = await bench.run("publish-step", owner="acme", endpoint=registry, auth_token=TOKEN)

    assert ran.exit == 0, ran.log
    (step,) = versions_of(folder, "acme", "deploy")
    assert (step.root / "bin/tool").stat().st_mode & 0o777 == 0o755
