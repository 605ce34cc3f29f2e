from __future__ import annotations

import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.gitserver import PASSWORD, USER, GitServer

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.network import Policy
from sentinel.source import git as module
from sentinel.source.failure import BACKOFF, CalledOff, Deadline
from sentinel.source.git import GitCredentials, Resolved, resolve

WANTED = ["ewok.yml", "wercker.yml", "link.yml", "deep"]
FIRST_FILES = {"wercker.yml": b"box: debian\n", "link.yml": b"box: debian\n"}
SECOND_FILES = {"wercker.yml": b"box: busybox\n", "link.yml": b"box: busybox\n"}


def ask(url: str, ref: str, tmp_path: Path, *, timeout: float = 150, **options: Any) -> Resolved:
    options = {"credentials": None, "paths": WANTED, "deadline": Deadline(timeout)} | options
    try:
        return resolve(url=url, ref=ref, cache_dir=tmp_path / "cache", **options)
    finally:
        if url.startswith("http"):
            assert list((tmp_path / "cache").iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize(
    ("ref", "commit", "branch", "tag"),
    [
        ("main", "second", "main", ""),
        ("", "second", "main", ""),
        ("HEAD", "second", "main", ""),
        ("refs/heads/main", "second", "main", ""),
        ("feature/one", "first", "feature/one", ""),
        ("v1.0", "first", "", "v1.0"),
        ("light", "first", "", "light"),
        ("refs/pull/7/head", "first", "", ""),
        ("pull/7/head", "first", "", ""),
        ("twice", "first", "twice", ""),
        ("refs/tags/twice", "second", "", "twice"),
    ],
)
@pytest.mark.parametrize("repository", ["project.git", "plain.git"])
def test_a_ref_becomes_a_commit_with_its_files(
    server: GitServer,
    commits: dict[str, Any],
    tmp_path: Path,
    repository: str,
    ref: str,
    commit: str,
    branch: str,
    tag: str,
) -> None:
    known = commits if repository == "project.git" else commits["plain"]
    assert ask(f"{server.url}/open/{repository}", ref, tmp_path) == Resolved(
        commit=known[commit],
        branch=branch,
        tag=tag,
        subject="First subject" if commit == "first" else "Second subject",
        files=FIRST_FILES if commit == "first" else SECOND_FILES,
    )


def test_a_full_commit_id_takes_two_requests(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    found = ask(f"{server.url}/open/project.git", commits["first"].upper(), tmp_path)
    assert (found.commit, found.branch, found.files) == (commits["first"], "", FIRST_FILES)
    assert len(server.requests) == 2


def test_a_branch_takes_three_requests(server: GitServer, tmp_path: Path) -> None:
    ask(f"{server.url}/open/project.git", "main", tmp_path)
    assert len(server.requests) == 3


def test_head_and_its_branch_take_three_requests(server: GitServer, tmp_path: Path) -> None:
    found = ask(f"{server.url}/open/project.git", "", tmp_path)
    assert found.branch == "main"
    assert len(server.requests) == 3


def test_a_detached_head_is_a_commit_without_a_branch(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    server.root = tmp_path / "served"
    head = shutil.copytree(commits["root"] / "project.git", server.root / "p.git") / "HEAD"
    head.write_text(commits["lost"] + "\n")
    found = ask(f"{server.url}/open/p.git", "", tmp_path)
    assert (found.commit, found.branch) == (commits["lost"], "")


def test_a_head_that_leads_nowhere_names_the_branches(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    server.root = tmp_path / "served"
    head = shutil.copytree(commits["root"] / "project.git", server.root / "p.git") / "HEAD"
    head.write_text("ref: refs/heads/gone\n")
    with pytest.raises(
        UserError, match=r"'HEAD'.*for example: feature/one, light, main, twice, v1\.0$"
    ):
        ask(f"{server.url}/open/p.git", "", tmp_path)


def test_an_abbreviated_commit_is_found_at_the_tip_of_a_branch(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    found = ask(f"{server.url}/open/project.git", commits["second"][:9], tmp_path)
    assert found.commit == commits["second"]


def test_a_server_that_refuses_the_filter_gets_the_next(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    server.config = {"uploadpackfilter.tree.maxDepth": "0"}
    found = ask(f"{server.url}/open/project.git", "main", tmp_path)
    assert (found.commit, found.files) == (commits["second"], SECOND_FILES)
    server.requests.clear()
    ask(f"{server.url}/open/project.git", "main", tmp_path, paths=[])
    assert len(server.requests) == 3, "it is remembered which filter the host refused"


def test_an_unknown_ref_names_close_ones(server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        ask(f"{server.url}/open/project.git", "mian", tmp_path)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert caught.value.message == (
        f"{server.url}/open/project.git has no branch, tag or commit 'mian'. "
        "Set spec.source.git.ref to one that exists. Close names: main"
    )


def test_an_unknown_ref_that_is_like_none_names_what_there_is(
    server: GitServer, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"There are, for example: feature/one, light, main, twice, v1\.0$"
    ):
        ask(f"{server.url}/open/project.git", "zzzzzzzz", tmp_path)


def test_an_empty_repository_is_reported(server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no branches or tags at all") as caught:
        ask(f"{server.url}/open/empty.git", "", tmp_path)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


@pytest.mark.parametrize(
    ("path", "ref", "words"),
    [
        ("open/project.git", "f" * 40, "has no commit 'ffff"),
        ("open/nope.git", "main", "is not a repository: git: fatal: repository '"),
        ("open/project.git", "a:b", "cannot be the name of a branch"),
    ],
)
def test_what_does_not_exist_is_the_users(
    server: GitServer, tmp_path: Path, path: str, ref: str, words: str
) -> None:
    (tmp_path / "cache").mkdir()
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        ask(f"{server.url}/{path}", ref, tmp_path)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


def test_a_password_opens_a_private_repository(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    credentials = GitCredentials(username=USER, password=PASSWORD + "\n")
    found = ask(f"{server.url}/private/project.git", "main", tmp_path, credentials=credentials)
    assert found.commit == commits["second"]
    assert repr(credentials) == "GitCredentials()"


@pytest.mark.parametrize("login", ["wrong-one", "builder:wrong-one", ":wrong-one"])
def test_a_login_in_the_url_is_refused_and_not_repeated(
    server: GitServer, tmp_path: Path, login: str
) -> None:
    (tmp_path / "cache").mkdir()
    host = server.url.removeprefix("http://")
    with pytest.raises(UserError, match=r"secretRef") as caught:
        ask(f"http://{login}@{host}/private/project.git", "main", tmp_path)
    assert caught.value.reason is Reason.INVALID_SPEC
    assert "wrong-one" not in caught.value.message
    assert server.requests == []


def test_a_login_is_not_sent_by_plain_http_unless_a_setting_allows_it(
    server: GitServer, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    with pytest.raises(UserError, match=r"network\.plainHttp") as caught:
        ask(
            f"{server.url}/private/project.git",
            "main",
            tmp_path,
            credentials=GitCredentials(username=USER, password=PASSWORD),
            policy=Policy.make(allowed=["127.0.0.0/8"]),
        )
    assert caught.value.reason is Reason.INVALID_SPEC
    assert server.requests == []


@pytest.mark.parametrize(
    ("path", "credentials", "advice"),
    [
        ("private", None, "Name a Secret with `username` and `password`"),
        (
            "private",
            GitCredentials(username=USER, password="wrong-one"),
            "Correct `username` and `password`",
        ),
        (
            "forbidden",
            GitCredentials(username=USER, password=PASSWORD),
            "Correct `username` and `password`",
        ),
    ],
)
def test_a_refusal_is_the_users(
    server: GitServer, tmp_path: Path, path: str, credentials: GitCredentials | None, advice: str
) -> None:
    with pytest.raises(UserError, match=advice) as caught:
        ask(f"{server.url}/{path}/project.git", "main", tmp_path, credentials=credentials)
    assert caught.value.reason is Reason.SOURCE_AUTH_FAILED
    assert PASSWORD not in caught.value.message
    assert "wrong-one" not in caught.value.message


def test_a_redirect_does_not_take_the_password_to_another_host(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    other = GitServer(commits["root"], host="127.0.0.2")
    try:
        server.redirect_to = f"{other.url}/private"
        with pytest.raises(UserError) as caught:
            ask(
                f"{server.url}/moved/project.git",
                "main",
                tmp_path,
                credentials=GitCredentials(username=USER, password=PASSWORD),
            )
    finally:
        other.stop()
    assert caught.value.reason is Reason.SOURCE_AUTH_FAILED
    assert other.requests != []
    assert [authorization for _, authorization in other.requests if authorization] == []


def test_a_server_that_fails_once_is_asked_again(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    server.failures = 1
    found = ask(f"{server.url}/flaky/project.git", "main", tmp_path)
    assert found.commit == commits["second"]


def test_a_server_that_keeps_failing_is_the_platforms(server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"git: .*returned error: 503") as caught:
        ask(f"{server.url}/broken/project.git", "main", tmp_path)
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE
    assert len(server.requests) == BACKOFF.tries


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/p.git", "ssh://git@127.0.0.1:1/p.git"])
def test_a_refused_connection_is_the_platforms(tmp_path: Path, url: str) -> None:
    with pytest.raises(InfrastructureError, match="git: ") as caught:
        ask(url, "main", tmp_path)
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE


def test_a_server_that_never_answers_is_given_up(server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"did not answer within 0\.5 seconds"):
        ask(f"{server.url}/slow/project.git", "main", tmp_path, timeout=0.5)


def test_a_cancel_leaves_no_process(server: GitServer, tmp_path: Path) -> None:
    deadline = Deadline(150)
    with ThreadPoolExecutor() as pool:
        url = f"{server.url}/slow/project.git"
        work = pool.submit(ask, url, "main", tmp_path, deadline=deadline)
        while not server.requests and not work.done():
            time.sleep(0.01)
        deadline.cancel()
        with pytest.raises(CalledOff):
            work.result()
    # Killed, they end one after the other.
    while _processes_with(f"{server.url}/slow"):
        time.sleep(0.01)


def _processes_with(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text in line:
                found.append(line)
    return found


def test_a_repository_that_floods_us_is_stopped(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DISK", 1)
    with pytest.raises(UserError, match="partial clones"):
        ask(f"{server.url}/slow/project.git", "main", tmp_path)


def test_a_wanted_file_that_is_too_large_is_refused(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILE", 5)
    with pytest.raises(UserError, match=r"wercker\.yml at .* is larger than") as caught:
        ask(f"{server.url}/open/project.git", "main", tmp_path)
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_a_file_url_needs_permission(commits: dict[str, Any], tmp_path: Path) -> None:
    url = f"file://{commits['root']}/project.git"
    with pytest.raises(UserError, match="may be used here"):
        ask(url, "main", tmp_path)
    found = ask(url, "main", tmp_path, allow_file=True)
    assert found.commit == commits["second"]
