"""Uploads to `sentinel steps serve`: what is accepted, what is refused with which words, and what is left of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.unit.steps.servers import entries, source, tarball

from sentinel.steps import WantedStep
from sentinel.steps.pack import StepLimits
from sentinel.steps.serve import StepServer

TOKEN = "t" * 32
STEP = {"step.yml": "name: deploy\nversion: 1.0.0\n", "run.sh": "echo hi\n"}
PLACE = "acme/deploy/1.0.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "steps"
    found.mkdir()
    return found


@asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncIterator[str]:
    async with StepServer(
        folder, **({"publish_token": TOKEN} | more)
    ).running("127.0.0.1", 0) as url:  # fmt: skip
        yield url


async def put(
    url: str, place: str = PLACE, data: Any = None, *, token: str = TOKEN, query: str = ""
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession() as session,
        session.put(
            f"{url}/api/steps/{place}{query}",
            data=tarball(STEP) if data is None else data,
            headers=headers,
        ) as answer,
    ):
        said = await answer.json()
        return answer.status, said.get("message", said)


def files(folder: Path) -> list[str]:
    """All that is there, hidden files too."""
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))


async def test_what_is_published_is_served_at_once(folder: Path, tmp_path: Path) -> None:
    data = tarball(
        {**STEP, "bin/tool": "#!/bin/sh\n"},
        top="step-deploy",
        modes={"step-deploy/bin/tool": 0o755},
    )
    async with serving(folder) as url:
        status, said = await put(url, data=data)
        found = await source(url, tmp_path / "cache").find(WantedStep(owner="acme", name="deploy"))

    assert status == 201
    assert said == {
        "step": {
            "owner": "acme",
            "name": "deploy",
            "version": {"number": "1.0.0"},
            "sha256": found.digest,
        }
    }
    assert entries(found.archive)["run.sh"][1] == b"echo hi\n"
    assert files(folder) == [
        "acme",
        "acme/deploy",
        "acme/deploy/1.0.0",
        "acme/deploy/1.0.0/bin",
        "acme/deploy/1.0.0/bin/tool",
        "acme/deploy/1.0.0/run.sh",
        "acme/deploy/1.0.0/step.yml",
    ]


@pytest.mark.parametrize(
    ("token", "configured", "status", "words"),
    [
        ("", TOKEN, 401, "the publish token is missing or wrong"),
        (TOKEN[:-1], TOKEN, 401, "the publish token is missing or wrong"),
        (TOKEN + "x", TOKEN, 401, "the publish token is missing or wrong"),
        ("é" * 16, TOKEN, 401, "the publish token is missing or wrong"),
        (TOKEN, "", 403, "this registry takes no uploads"),
        ("", "", 403, "this registry takes no uploads"),
    ],
)
async def test_without_the_token_nothing_is_written(
    folder: Path, token: str, configured: str, status: int, words: str
) -> None:
    async with serving(folder, publish_token=configured) as url:
        got, said = await put(url, token=token)

    assert got == status
    assert words in said
    assert files(folder) == []


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("..%2Facme/deploy/1.0.0", "'../acme' cannot be the owner of a step"),
        (".hidden/deploy/1.0.0", "'.hidden' cannot be the owner"),
        ("acme/%2E%2E%2Fx/1.0.0", "'../x' cannot be the name of a step"),
        ("acme/deploy/..%2F..%2Fx", "'../../x' is not a version"),
        ("acme/deploy/v1.0.0", "'v1.0.0' is not a version"),
        ("acme/deploy/latest", "'latest' is not a version"),
        ("internal/deploy/1.0.0", "owner internal is reserved"),
        ("acme/other/1.0.0", "step.yml has name 'deploy', and the upload is for 'other'"),
        ("acme/deploy/1.0.1", "step.yml has version '1.0.0', and the upload is for '1.0.1'"),
    ],
)
async def test_names_and_versions_are_checked(folder: Path, place: str, words: str) -> None:
    async with serving(folder) as url:
        status, said = await put(url, place)

    assert status == 422
    assert words in said
    assert files(folder.parent) == ["steps"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no archive", "the archive is not unpacked"),
        (b"", "the archive is not unpacked"),
        (tarball({**STEP, "../../x": "x"}), "the archive is not unpacked"),
        (tarball({**STEP, "/etc/x": "x"}), "the archive is not unpacked"),
        (tarball({"README": "x"}), "the archive is not a step"),
        (tarball({"run.sh": "x"}), "the step has no manifest"),
        (tarball({**STEP, "step.yml": "version: 1.0.0\n"}), "step.yml has name ''"),
        (tarball({**STEP, "step.yml": "[broken"}), "step.yml has name ''"),
        (tarball({**STEP, "big": "".join(map(chr, range(32, 127))) * 300}), "the archive is not unpacked"),
    ],
)  # fmt: skip
async def test_archives_are_checked(folder: Path, data: bytes, words: str) -> None:
    async with serving(folder, limits=StepLimits(unpacked=20_000, entries=5)) as url:
        status, said = await put(url, data=data)

    assert status == 422
    assert words in said
    assert files(folder.parent) == ["steps"]


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    """Sent without a Content-Length."""
    for start in range(0, len(data), 4096):
        yield data[start : start + 4096]


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_archive_that_is_too_large(folder: Path, chunked: bool) -> None:
    data = os.urandom(100_000)
    async with serving(folder, limits=StepLimits(packed=10_000)) as url:
        status, said = await put(url, data=chunks(data) if chunked else data)

    assert status == 413
    assert said.startswith("the archive has more than 10000 bytes")
    assert files(folder) == []


async def test_an_upload_that_stalls(folder: Path) -> None:
    over = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await over.wait()

    async with serving(folder, upload_seconds=0.2) as url:
        status, said = await put(url, data=stalling())
        over.set()

    assert status == 408
    assert said.startswith("the upload took more than")


@pytest.mark.parametrize(
    "there", ["acme/deploy/1.0.0", "acme/deploy/v1.0.0", "acme/deploy", "acme"]
)
async def test_what_exists_is_never_changed(folder: Path, there: str) -> None:
    (folder / there).mkdir(parents=True)
    (folder / there / "run.sh").write_text("old\n")
    before = files(folder)
    async with serving(folder) as url:
        status, said = await put(url)

    assert (status, files(folder)) == (409, before)
    assert "acme" in said
    assert (folder / there / "run.sh").read_text() == "old\n"


async def test_of_uploads_of_one_version_at_once_one_is_kept(folder: Path) -> None:
    texts = [f"echo {number}\n" for number in range(6)]
    async with serving(folder) as url:
        answers = await asyncio.gather(
            *(put(url, data=tarball({**STEP, "run.sh": text})) for text in texts)
        )

    statuses = [status for status, _ in answers]
    assert sorted(statuses) == [201, 409, 409, 409, 409, 409]
    assert (folder / PLACE / "run.sh").read_text() == texts[statuses.index(201)]
    assert len(files(folder)) == 5


async def test_a_private_step_is_refused(folder: Path) -> None:
    async with serving(folder) as url:
        status, said = await put(url, query="?private=true")

    assert status == 400
    assert said.startswith("this registry has no private steps")
    assert files(folder) == []


async def test_a_directory_that_cannot_be_written(folder: Path) -> None:
    complaints: list[str] = []
    (folder / "acme").write_text("a file in the place of a directory")
    async with serving(folder, complain=complaints.append) as url:
        status, said = await put(url)

    assert (status, said) == (500, "the step could not be written: see the registry's log")
    assert len(complaints) == 1
    assert files(folder) == ["acme"]
