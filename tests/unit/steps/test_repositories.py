"""One git repository for each step, and steps in the project's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.source.gitserver import PASSWORD, USER, GitServer, git
from tests.unit.steps.servers import entries, source

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.source.git import GitCredentials
from sentinel.steps import Project, StepSource, WantedStep, find_all
from sentinel.steps.repositories import RepositoryTemplate

WANTED = WantedStep(owner="lab", name="hello")


def commit(work: Path, subject: str, **files: str) -> str:
    for name, text in files.items():
        path = work / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", subject, cwd=work)
    return git("rev-parse", "HEAD", cwd=work)


def publish(work: Path, root: Path, name: str) -> None:
    bare = root / name
    bare.parent.mkdir(parents=True, exist_ok=True)
    git("clone", "-q", "--mirror", str(work), str(bare), cwd=root)
    git("config", "uploadpack.allowFilter", "true", cwd=bare)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A step's repository with versions 1.9.0, v1.10.0 (annotated), 2.0.0-rc.1, and a commit after them."""
    work = tmp_path / "work"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    (work / "tool").mkdir()
    (work / "tool/x").write_text("#!/bin/sh\n")
    (work / "tool/x").chmod(0o755)
    (work / ".gitattributes").write_text("tests export-ignore\n")
    (work / "tests").mkdir()
    (work / "tests/big").write_text("big")
    commit(work, "1.9.0", run_sh="echo 1.9\n", step_yml="version: 1.9.0\n")
    git("tag", "1.9.0", cwd=work)
    commit(work, "1.10.0", run_sh="echo 1.10\n")
    git("tag", "-a", "v1.10.0", "-m", "annotated", cwd=work)
    commit(work, "rc", run_sh="echo rc\n")
    git("tag", "2.0.0-rc.1", cwd=work)
    git("tag", "stable", cwd=work)
    commit(work, "later", run_sh="echo later\n")
    return work


@pytest.fixture
def hub(tmp_path: Path, work: Path) -> Iterator[GitServer]:
    root = tmp_path / "served"
    root.mkdir()
    publish(work, root, "lab/step-hello.git")
    server = GitServer(root)
    yield server
    server.stop()


def at(server: GitServer, cache: Path, *, kind: str = "open", **settings: str) -> StepSource:
    return source(f"git+{server.url}/{kind}/{{owner}}/step-{{name}}.git", cache, **settings)


async def test_the_highest_tag_an_exact_one_and_what_is_in_the_archive(
    hub: GitServer, tmp_path: Path
) -> None:
    steps = at(hub, tmp_path / "cache")
    found = await find_all(
        steps,
        [
            WANTED,
            WantedStep(owner="lab", name="hello", version="1.9.0"),
            WantedStep(owner="lab", name="hello", version="2.0.0-rc.1"),
        ],
    )

    assert [each.version for each in found] == ["1.10.0", "1.9.0", "2.0.0-rc.1"]
    assert [entries(each.archive)["run.sh"][1] for each in found] == [
        b"echo 1.10\n",
        b"echo 1.9\n",
        b"echo rc\n",
    ]
    assert entries(found[0].archive) == {
        ".gitattributes": (0o644, b"tests export-ignore\n"),
        "run.sh": (0o644, b"echo 1.10\n"),
        "step.yml": (0o644, b"version: 1.9.0\n"),
        "tool": (0o755, None),
        "tool/x": (0o755, b"#!/bin/sh\n"),
    }
    assert found[0].origin == f"{hub.url}/open/lab/step-hello.git at v1.10.0"
    assert list((tmp_path / "cache/work").iterdir()) == []


async def test_a_commit_that_is_known_is_not_fetched_again_and_a_new_tag_is(
    hub: GitServer, work: Path, tmp_path: Path
) -> None:
    steps = at(hub, tmp_path / "cache")
    first = await steps.find(WANTED)
    hub.requests.clear()
    assert await steps.find(WANTED) == first
    # The refs are asked for, and no more.
    assert len(hub.requests) == 2

    git("tag", "1.11.0", cwd=work)
    git("push", "-q", str(tmp_path / "served/lab/step-hello.git"), "1.11.0", cwd=work)
    second = await steps.find(WANTED)
    assert second.version == "1.11.0"
    assert entries(second.archive)["run.sh"][1] == b"echo later\n"


async def test_a_tag_that_was_moved_is_fetched_again(
    hub: GitServer, work: Path, tmp_path: Path
) -> None:
    steps = at(hub, tmp_path / "cache")
    pinned = WantedStep(owner="lab", name="hello", version="1.9.0")
    await steps.find(pinned)
    git("tag", "-f", "1.9.0", "main", cwd=work)
    git("push", "-q", "-f", str(tmp_path / "served/lab/step-hello.git"), "1.9.0", cwd=work)

    assert entries((await steps.find(pinned)).archive)["run.sh"][1] == b"echo later\n"


async def test_without_versions_head_is_the_step_and_its_manifest_says_which_version_it_is(
    hub: GitServer, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    git("init", "-q", "-b", "trunk", cwd=plain)
    made = commit(plain, "one", run_sh="echo head\n", step_yml="version: 0.4.2\n")
    publish(plain, tmp_path / "served", "lab/step-plain.git")
    steps = at(hub, tmp_path / "cache")
    found = await steps.find(WantedStep(owner="lab", name="plain"))

    assert (found.version, found.origin) == (
        "0.4.2",
        f"{hub.url}/open/lab/step-plain.git at {made[:12]}",
    )
    # What a build was planned with can be asked for again.
    again = await steps.find(WantedStep(owner="lab", name="plain", version=found.version))
    assert (again.version, again.digest) == ("0.4.2", found.digest)
    with pytest.raises(UserError, match=r"has no tag that is a version, and its newest .* 0\.4\.2"):
        await steps.find(WantedStep(owner="lab", name="plain", version="0.5.0"))


async def test_what_does_not_exist_is_reported(hub: GitServer, tmp_path: Path) -> None:
    empty = tmp_path / "served/lab/step-empty.git"
    empty.mkdir()
    git("init", "-q", "--bare", cwd=empty)
    steps = at(hub, tmp_path / "cache")
    for wanted, words in (
        (WantedStep(owner="lab", name="nothing"), "there is no repository"),
        (WantedStep(owner="lab", name="empty"), "is empty"),
        (
            WantedStep(owner="lab", name="hello", version="3.0.0"),
            "has no such version. It has 2.0.0-rc.1, v1.10.0, 1.9.0",
        ),
    ):
        with pytest.raises(UserError) as caught:
            await steps.find(wanted)
        assert caught.value.reason is Reason.STEP_NOT_FOUND
        assert words in caught.value.message


async def test_a_private_one_needs_the_token_and_no_other_host_is_given_it(
    hub: GitServer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"setting steps\.token is empty"):
        await at(hub, tmp_path / "cache", kind="private").find(WANTED)

    elsewhere = GitServer(hub.root)
    try:
        hub.redirect_to = f"{elsewhere.url}/private"
        moved = at(hub, tmp_path / "cache", kind="moved", token=PASSWORD)
        with pytest.raises((InfrastructureError, UserError)) as caught:
            await moved.find(WANTED)
        assert elsewhere.requests
        assert {authorization for _, authorization in elsewhere.requests} == {""}
        assert PASSWORD not in caught.value.message
    finally:
        elsewhere.stop()


async def test_user_and_password_of_the_template_work_and_are_not_shown(
    hub: GitServer, tmp_path: Path
) -> None:
    template = f"{hub.url}/private/{{owner}}/step-{{name}}.git".replace(
        "http://", f"http://{USER}:s3cr3t%2Fp%25ss@"
    )
    found = await source(f"git+{template}", tmp_path / "cache").find(WANTED)

    assert found.version == "1.10.0"
    assert "s3cr3t" not in found.origin
    assert "s3cr3t" not in RepositoryTemplate(template, scratch=tmp_path).title


async def test_a_server_that_comes_back_is_asked_again_and_one_that_does_not_is_named(
    hub: GitServer, tmp_path: Path
) -> None:
    hub.failures = 2
    assert (await at(hub, tmp_path / "cache", kind="flaky").find(WANTED)).version == "1.10.0"
    with pytest.raises(InfrastructureError) as caught:
        await at(hub, tmp_path / "cache", kind="broken").find(WANTED)
    assert caught.value.reason is Reason.REGISTRY_UNAVAILABLE
    assert f"cannot fetch from {hub.url}/broken/lab/step-hello.git" in caught.value.message


async def test_links_out_of_a_repository_are_refused(
    hub: GitServer, work: Path, tmp_path: Path
) -> None:
    (work / "out").symlink_to("../../etc")
    commit(work, "a link")
    git("tag", "9.0.0", cwd=work)
    git("push", "-q", str(tmp_path / "served/lab/step-hello.git"), "9.0.0", cwd=work)
    with pytest.raises(UserError, match="leads outside the archive") as caught:
        await at(hub, tmp_path / "cache").find(WANTED)
    assert caught.value.reason is Reason.STEP_INVALID


@pytest.fixture
def project(tmp_path: Path, hub: GitServer) -> Project:
    """A project with a step in steps/tool, at a commit that is no branch's newest."""
    made = tmp_path / "project"
    made.mkdir()
    git("init", "-q", "-b", "main", cwd=made)
    commit(made, "one", steps__tool__run_sh="echo mine\n", wercker_yml="box: x\n")
    first = commit(made, "two", steps__tool__step_yml="properties: {a: {default: b}}\n")
    commit(made, "three", steps__tool__run_sh="echo later\n")
    publish(made, hub.root, "project.git")
    return Project(
        url=f"{hub.url}/private/project.git",
        commit=first,
        ref="main",
        credentials=GitCredentials(username=USER, password=PASSWORD),
    )


@pytest.mark.parametrize("any_commit", ["true", "false"])
async def test_a_step_in_the_project_is_packed_from_the_build_s_commit(
    hub: GitServer, project: Project, tmp_path: Path, any_commit: str
) -> None:
    hub.config = {
        "uploadpack.allowAnySHA1InWant": any_commit,
        "uploadpack.allowFilter": "true",
    }
    steps = source("", tmp_path / "cache")
    found = [
        await steps.find(WantedStep(owner="wercker", name="tool", url=url), project=project)
        for url in ("file://./steps/tool", "file://steps/tool/")
    ]

    assert found[0] == found[1]
    assert entries(found[0].archive) == {
        "run.sh": (0o644, b"echo mine\n"),
        "step.yml": (0o644, b"properties: {a: {default: b}}\n"),
    }
    assert [(each.name, each.default) for each in found[0].manifest.properties] == [("a", "b")]
    assert found[0].origin == "steps/tool of the project's source"


async def test_a_step_that_is_not_in_the_project_or_leads_out_of_it_is_reported(
    project: Project, tmp_path: Path
) -> None:
    steps = source("", tmp_path / "cache")
    for url, words in (
        ("file://./steps/other", "there is no directory steps/other in the project's source"),
        ("file://wercker.yml", "there is no directory wercker.yml in the project's source"),
        ("file://./../x", "leads outside the project's source"),
    ):
        with pytest.raises(UserError) as caught:
            await steps.find(WantedStep(owner="wercker", name="x", url=url), project=project)
        assert words in caught.value.message
    with pytest.raises(UserError, match="is looked for in the project's git repository"):
        await steps.find(WantedStep(owner="wercker", name="x", url="file://steps/tool"))
