"""Where a step is looked for, who may, how many at once, and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

import pytest
from tests.unit.steps.servers import (
    LAB,
    Reply,
    Scripted,
    entries,
    sha256,
    source,
    tarball,
)

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.settings import StepSettings
from sentinel.steps import WantedStep, find_all, step_source
from sentinel.steps.folder import FolderRegistry

GREET = WantedStep(owner="lab", name="greet")


def by_url(url: str) -> WantedStep:
    return WantedStep(owner="lab", name="hello", url=url)


def index(script: Scripted, count: int, *, size: int = 10) -> list[WantedStep]:
    """Steps s0, s1… in the scripted server's index, each with `size` bytes of noise; as wanted."""
    listed = []
    for number in range(count):
        body = tarball({"run.sh": f"echo {number}\n", "noise": os.urandom(size).hex()})
        place = f"/{number}.tgz"
        script.add(place, Reply(body=body))
        listed.append(
            {
                "owner": "lab",
                "name": f"s{number}",
                "version": "1.0.0",
                "tarballUrl": place,
                "sha256": sha256(body),
            }
        )
    script.json("/index.json", listed)
    return [WantedStep(owner="lab", name=f"s{number}") for number in range(count)]


async def test_without_a_registry_there_is_a_sentence_for_it(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"is not a standard step, and the operator has no step registry"
    ) as caught:
        await source("", tmp_path).find(GREET)
    assert caught.value.reason is Reason.STEP_NOT_FOUND


@pytest.mark.parametrize(
    "registry",
    [
        "steps",
        "ftp://host/",
        "http://",
        "git+https://host/steps.git",
        "git+ssh://host/{owner}/{name}",
        "https://bob:s3cret@",
        "https://bob:s3cret@host:99999",
        "http://[",
    ],
)
def test_an_invalid_registry_setting_is_reported(tmp_path: Path, registry: str) -> None:
    with pytest.raises(UserError, match="the operator's setting steps.registry") as caught:  # noqa: RUF043
        step_source(StepSettings(registry=registry), cache_dir=tmp_path)
    assert "s3cret" not in caught.value.message


async def test_a_folder_that_does_not_exist_is_the_operator_s_business(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="is not a directory here"):
        await source(str(tmp_path / "nowhere"), tmp_path / "cache").find(GREET)


async def test_a_folder_is_read_again_for_versions_and_names(tmp_path: Path) -> None:
    shutil.copytree(LAB, tmp_path / "steps")
    steps = source(str(tmp_path / "steps"), tmp_path / "cache")
    newest = WantedStep(owner="lab", name="make-temp")
    assert (await steps.find(newest)).version == "1.1.0"
    shutil.copytree(tmp_path / "steps/lab/make-temp/1.1.0", tmp_path / "steps/lab/make-temp/1.2.0")
    assert (await steps.find(newest)).version == "1.2.0"
    (tmp_path / "steps/lab/greet/run.sh").write_text("echo other\n")
    assert entries((await steps.find(GREET)).archive)["run.sh"][1] == b"echo other\n"
    with pytest.raises(UserError, match=r"It has 1.2.0, 1.1.0, 1.0.0; without @"):
        await steps.find(WantedStep(owner="lab", name="make-temp", version="3.0.0"))


async def test_a_mounted_config_map_is_a_registry(tmp_path: Path) -> None:
    """Kubernetes mounts one as links through a hidden directory, which it swaps when the ConfigMap changes."""
    data = tmp_path / "mounted/..2026_11_27/lab/hello"
    data.mkdir(parents=True)
    (data / "run.sh").write_text("echo hello\n")
    (tmp_path / "mounted/..data").symlink_to("..2026_11_27")
    (tmp_path / "mounted/lab").symlink_to("..data/lab")
    steps = source(f"file://{tmp_path}/mounted", tmp_path / "cache")
    found = await steps.find(WantedStep(owner="lab", name="hello"))

    assert (found.version, entries(found.archive)) == (
        "0.0.0",
        {"run.sh": (0o644, b"echo hello\n")},
    )


async def test_a_step_on_our_own_file_system_only_where_that_is_allowed(tmp_path: Path) -> None:
    wanted = by_url(f"file://{LAB}/lab/greet")
    with pytest.raises(UserError, match=r"setting steps\.allowLocal is off") as caught:
        await source("", tmp_path).find(wanted)
    assert caught.value.reason is Reason.STEP_NOT_FOUND

    steps = source("", tmp_path, allow_local=True)
    found = await steps.find(wanted)
    assert (found.owner, found.name, found.version) == ("lab", "hello", "0.0.9")
    for path in ("/etc", "/" + "a" * 5000, "/a%00b"):
        with pytest.raises(UserError, match="there is no step at /"):
            await steps.find(by_url(f"file://{path}"))


async def test_a_step_by_url_only_where_that_is_allowed_and_again_each_time(
    script: Scripted, tmp_path: Path
) -> None:
    wanted = by_url(f"{script.url}/step.tgz?key=s3cret")
    with pytest.raises(UserError, match=r"setting steps\.allowUrl is off") as caught:
        await source("", tmp_path, token="t0ken").find(wanted)
    assert "s3cret" not in caught.value.message
    assert script.requests == []

    steps = source(script.url, tmp_path, allow_url=True, token="t0ken")
    for text in ("echo 1\n", "echo 2\n"):
        script.replies.clear()
        script.add("/step.tgz", Reply(body=tarball({"run.sh": text}, top="step-1.0")))
        found = await steps.find(wanted)
        assert entries(found.archive) == {"run.sh": (0o644, text.encode())}
    assert found.origin == f"{script.url}/step.tgz"
    # The author of a wercker.yml names this address: it never gets the token, on any host.
    assert script.requests == [("/step.tgz?key=s3cret", "")] * 2


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "steps/x", "http://[", "http://host:99999/x", "git+https://h/x"]
)
async def test_what_is_not_an_address_of_a_step_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError) as caught:
        await source("", tmp_path, allow_local=True, allow_url=True).find(by_url(url))
    assert caught.value.reason is Reason.STEP_INVALID


async def test_the_same_step_asked_for_many_times_at_once_is_fetched_once(
    script: Scripted, tmp_path: Path
) -> None:
    wanted = index(script, 1)
    steps = source(script.url, tmp_path)
    found = await asyncio.gather(*(steps.find(wanted[0]) for _ in range(30)))

    assert len({each.digest for each in found}) == 1
    assert script.paths().count("/0.tgz") == 1
    assert await find_all(steps, wanted * 3) == [found[0]] * 3


async def test_many_steps_are_found_at_once_in_their_order(
    script: Scripted, tmp_path: Path
) -> None:
    wanted = index(script, 40)
    found = await find_all(source(script.url, tmp_path), wanted[::-1])

    assert [each.name for each in found] == [each.name for each in wanted[::-1]]
    assert [entries(each.archive)["run.sh"][1] for each in found] == [
        f"echo {number}\n".encode() for number in range(39, -1, -1)
    ]
    assert all(script.paths().count(f"/{number}.tgz") == 1 for number in range(40))


async def test_a_mistake_is_reported_before_a_registry_that_is_down(
    script: Scripted, tmp_path: Path
) -> None:
    script.add("/api/steps/lab/greet/*", Reply(status=500))
    steps = source(script.url, tmp_path)
    with pytest.raises(UserError, match="is not a version"):
        await find_all(steps, [GREET, WantedStep(owner="a", name="b", version="latest")])
    with pytest.raises(InfrastructureError, match="HTTP 500"):
        await find_all(steps, [GREET])


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 10, 20, 40, 80])
async def test_who_is_cancelled_leaves_nothing_and_the_next_one_goes_on(
    script: Scripted, tmp_path: Path, turns: int
) -> None:
    """Cancelled at one moment or another after the archive was asked for."""
    wanted = index(script, 1, size=100_000)
    steps = source(script.url, tmp_path)
    task = asyncio.create_task(steps.find(wanted[0]))
    while "/0.tgz" not in script.paths():
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0.0002)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert list((tmp_path / "work").iterdir()) == []
    assert (await steps.find(wanted[0])).name == "s0"
    assert list((tmp_path / "work").iterdir()) == []


def test_a_folder_has_its_path_for_a_title() -> None:
    assert FolderRegistry(Path("/srv/steps")).title == "/srv/steps"
