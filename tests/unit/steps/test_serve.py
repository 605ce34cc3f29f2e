"""`sentinel steps serve` as a registry: what clients of both generations and of the index get from it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.unit.steps.servers import LAB, entries, sha256, source

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.steps import WantedStep, find_all
from sentinel.steps.folder import list_steps
from sentinel.steps.serve import StepServer


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        if answer.content_type == "application/json":
            return answer.status, await answer.json()
        return answer.status, await answer.read()


async def test_both_generations_the_index_and_the_tarball_agree(lab: str) -> None:
    _, new = await get(f"{lab}/api/steps/lab/make-temp/*")
    _, old = await get(f"{lab}/api/v2/steps/lab/make-temp/1.1.0")
    _, index = await get(f"{lab}/index.json")
    status, content = await get(new["step"]["tarballUrl"])

    assert status == 200
    digest = sha256(content)
    assert new == {
        "step": {
            "owner": "lab",
            "name": "make-temp",
            "summary": "Makes a temporary file or directory and exports its path",
            "tarballUrl": f"{lab}/tarballs/lab/make-temp/1.1.0/{digest}.tar.gz",
            "sha256": digest,
            "version": {"number": "1.1.0"},
        }
    }
    assert old == {
        "tarballUrl": new["step"]["tarballUrl"],
        "sha256": digest,
        "version": "1.1.0",
        "description": "Makes a temporary file or directory and exports its path",
    }
    assert {
        "owner": "lab",
        "name": "make-temp",
        "version": "1.1.0",
        "tarballUrl": new["step"]["tarballUrl"],
        "sha256": digest,
        "summary": "Makes a temporary file or directory and exports its path",
    } in index
    assert len(index) == 11


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("api/steps/lab/nothing/*", "there is no step lab/nothing@*"),
        ("api/steps/lab/make-temp/3.0.0", "it has 1.0.0, 1.1.0"),
        ("api/steps/lab/make-temp/^1.0.0", "it has 1.0.0, 1.1.0"),
        ("api/v2/steps/..%2F..%2Fetc/passwd/*", "there is no step"),
        (f"tarballs/lab/greet/0.0.9/{'0' * 64}.tar.gz", "lab/greet@0.0.9 has changed"),
    ],
)
async def test_what_does_not_exist_is_404_with_a_sentence(lab: str, path: str, words: str) -> None:
    status, said = await get(f"{lab}/{path}")

    assert status == 404
    assert words in said["message"]


async def test_all_of_our_steps_are_found_with_what_their_manifests_say(
    lab: str, tmp_path: Path
) -> None:
    steps, problems = list_steps(LAB)
    assert problems == []
    wanted = [WantedStep(owner=each.owner, name=each.name, version=each.version) for each in steps]
    found = await find_all(source(lab, tmp_path), wanted)

    assert [(each.owner, each.name, each.version) for each in found] == [
        (each.owner, each.name, each.version) for each in steps
    ]
    assert [each.manifest for each in found] == [each.manifest for each in steps]
    assert [each.warnings for each in found] == [()] * 11
    for each in found:
        content = each.archive.read_bytes()
        assert (each.digest, each.size) == (sha256(content), len(content))
    count = next(each for each in found if each.name == "count-lines")
    assert entries(count.archive)["bin/count"][0] == 0o755
    assert [(p.name, p.default) for p in found[2].manifest.properties] == [
        ("whom", "world"),
        ("times", "1"),
        ("loud", "yes"),
    ]


async def test_a_folder_and_the_server_of_it_give_the_same_digest(lab: str, tmp_path: Path) -> None:
    wanted = WantedStep(owner="lab", name="count-lines")
    by_server = await source(lab, tmp_path / "1").find(wanted)
    by_path = await source(str(LAB), tmp_path / "2").find(wanted)
    by_url = await source(f"file://{LAB}", tmp_path / "3").find(wanted)

    assert by_server.digest == by_path.digest == by_url.digest
    assert by_path.origin == f"{LAB}/lab/count-lines"


async def test_what_changes_in_the_folder_is_served_at_the_next_request(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    shutil.copytree(LAB / "lab/greet", folder / "lab/greet")
    said: list[str] = []
    async with StepServer(folder, complain=said.append).running("127.0.0.1", 0) as url:
        steps = source(url, tmp_path / "cache")
        wanted = WantedStep(owner="lab", name="greet")
        first = await steps.find(wanted)
        (folder / "lab/greet/run.sh").write_text("echo changed\n")
        second = await steps.find(wanted)
        assert entries(second.archive)["run.sh"][1] == b"echo changed\n"
        assert first.digest != second.digest

        shutil.copytree(LAB / "lab/render", folder / "lab/render")
        assert (await steps.find(WantedStep(owner="lab", name="render"))).version == "0.2.0"

        (folder / "lab/render/out").symlink_to("/etc")
        (folder / "lab/empty").mkdir()
        with pytest.raises(UserError) as missing:
            await steps.find(WantedStep(owner="lab", name="render"))
        assert missing.value.reason is Reason.STEP_NOT_FOUND
        _, index = await get(f"{url}/index.json")
        assert [each["name"] for each in index] == ["greet"]
    assert len(said) == 2
    assert said[0] == "lab/render@0.2.0 is not served: it has a link with an absolute target: out"
    assert said[1].startswith("lab/empty is not a step: it has none of run.sh, init.sh, step.yml")


async def test_a_public_url_is_what_tarballs_are_said_to_be_below() -> None:
    server = StepServer(LAB, public_url="https://steps.example.com/x/")
    async with server.running("127.0.0.1", 0) as url:
        _, said = await get(f"{url}/api/steps/lab/greet/*")

    assert said["step"]["tarballUrl"].startswith("https://steps.example.com/x/tarballs/lab/greet/")


async def test_many_at_once_pack_once_and_get_the_same(lab: str, tmp_path: Path) -> None:
    answers = await asyncio.gather(*(get(f"{lab}/api/steps/lab/notify/*") for _ in range(50)))

    assert len({said["step"]["sha256"] for _, said in answers}) == 1
