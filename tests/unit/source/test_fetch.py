from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.archives import FORMATS, Made, pack
from tests.unit.source.gitserver import PASSWORD, USER, GitServer, git
from tests.unit.source.pod import OPERATOR, Pod
from tests.unit.source.webserver import WebServer, body, status


def test_exactly_the_commit_is_checked_out(
    pod: Pod, server: GitServer, commits: dict[str, Any]
) -> None:
    url = f"{server.url}/open/project.git"
    done = pod.fetch(url, commits["second"])
    assert (done.returncode, done.stderr) == (0, "")
    assert pod.git("status", "--porcelain", "--branch") == "## main"
    assert pod.git("log", "--format=%H %s") == f"{commits['second']} Second subject"
    assert pod.git("remote", "get-url", "origin") == url
    assert (pod.dest / "wercker.yml").read_text() == "box: busybox\n"
    assert (pod.dest / "link.yml").is_symlink()
    assert (pod.dest / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (pod.kit / "boxkit").exists()
    assert (pod.dest.parent / "cache").is_dir()


def test_every_user_may_read_everything(
    pod: Pod, server: GitServer, commits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o077)
    try:
        assert pod.fetch(f"{server.url}/open/project.git", commits["second"]).returncode == 0
    finally:
        os.umask(before)
    for path in [pod.dest, *pod.dest.rglob("*")]:
        if not path.is_symlink():
            wanted = 0o555 if path.is_dir() else 0o444
            assert path.stat().st_mode & wanted == wanted, path


def test_a_tag_is_checked_out_detached_with_its_name(
    pod: Pod, server: GitServer, commits: dict[str, Any]
) -> None:
    url = f"{server.url}/open/project.git"
    assert pod.fetch(url, commits["first"], ref="v1.0", branch="", tag="v1.0").returncode == 0
    assert pod.git("describe", "--tags") == "v1.0"
    assert pod.git("rev-parse", "--abbrev-ref", "HEAD") == "HEAD"


def test_a_second_run_starts_afresh(pod: Pod, server: GitServer, commits: dict[str, Any]) -> None:
    url = f"{server.url}/open/project.git"
    pod.dest.mkdir(parents=True)
    (pod.dest / "left").mkdir()
    (pod.dest / "left" / "over").touch()
    assert pod.fetch(url, commits["second"]).returncode == 0
    assert pod.fetch(url, commits["first"]).returncode == 0
    assert pod.git("status", "--porcelain") == ""
    assert pod.git("rev-parse", "HEAD") == commits["first"]


def test_credentials_come_from_the_secret_and_stay_out_of_the_checkout(
    pod: Pod, server: GitServer, commits: dict[str, Any]
) -> None:
    secret = pod.secret({"username": USER + "\n", "password": PASSWORD + "\n"})
    done = pod.fetch(f"{server.url}/private/project.git", commits["second"], secretDir=secret)
    assert done.returncode == 0, done.stderr
    for path in pod.path.joinpath("mnt").rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes()


@pytest.mark.parametrize("ref", ["main", "", "commit"])
def test_an_old_server_gives_a_commit_by_way_of_its_refs(
    pod: Pod, server: GitServer, commits: dict[str, Any], ref: str
) -> None:
    server.old = True
    first = commits["first"]
    branch = "main" if ref == "main" else ""
    bare = pod.path / "served" / "one.git"
    one = ("--bare", "--single-branch", "--branch=main", "--no-tags")
    git("clone", "-q", *one, str(commits["root"] / "project.git"), str(bare), cwd=pod.path)
    server.root = bare.parent
    done = pod.fetch(
        f"{server.url}/open/one.git", first, ref=first if ref == "commit" else ref, branch=branch
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert pod.git("rev-parse", "HEAD") == first
    assert len(server.requests) == 3, "asked for its id, which was not offered; then for the refs"


def test_a_commit_that_was_rewritten_away_is_the_users(pod: Pod, server: GitServer) -> None:
    done = pod.fetch(f"{server.url}/open/project.git", "f" * 40)
    assert done.returncode == 1
    assert pod.said() == {
        "reason": "SourceNotFound",
        "message": f"{server.url}/open/project.git does not have commit {'f' * 40} any more: "
        "'main' was rewritten meanwhile. Submit the Build again",
    }


def test_a_refusal_is_the_users(pod: Pod, server: GitServer, commits: dict[str, Any]) -> None:
    secret = pod.secret({"username": USER, "password": "wrong-one"})
    done = pod.fetch(f"{server.url}/private/project.git", commits["second"], secretDir=secret)
    assert done.returncode == 1
    assert pod.said()["reason"] == "SourceAuthFailed"
    assert done.stderr == f"sentinel fetch: SourceAuthFailed: {pod.said()['message']}\n"
    assert "wrong-one" not in done.stderr


def test_a_server_that_keeps_failing_is_the_networks(
    pod: Pod, server: GitServer, commits: dict[str, Any]
) -> None:
    done = pod.fetch(f"{server.url}/broken/project.git", commits["second"])
    assert (done.returncode, pod.said()["reason"]) == (2, "SourceUnavailable")
    assert len(server.requests) == 3


def test_a_server_that_fails_once_is_asked_again(
    pod: Pod, server: GitServer, commits: dict[str, Any]
) -> None:
    server.failures = 1
    assert pod.fetch(f"{server.url}/flaky/project.git", commits["second"]).returncode == 0


def test_boxkit_that_cannot_install_itself_is_ours(
    pod: Pod, server: GitServer, commits: dict[str, Any]
) -> None:
    pod.boxkit("#!/bin/sh\necho 'no space left' >&2\nexit 1\n")
    done = pod.fetch(f"{server.url}/open/project.git", commits["second"])
    assert done.returncode == 3
    assert pod.said() == {"reason": "Internal", "message": "boxkit install failed: no space left"}


@pytest.mark.parametrize("more", [{"commit": "main"}, {"ref": "a:b"}, {"branch": "../../x"}])
def test_a_task_that_is_none_is_ours(pod: Pod, server: GitServer, more: dict[str, str]) -> None:
    done = pod.fetch(f"{server.url}/open/project.git", **({"commit": "f" * 40} | more))
    assert (done.returncode, server.requests, pod.dest.exists()) == (3, [], False)
    assert "Internal: $SENTINEL_FETCH" in done.stderr


def test_submodules_come_along_when_asked(
    pod: Pod, server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    work, bare = tmp_path / "outer", commits["root"] / f"outer-{tmp_path.name}.git"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    git("submodule", "add", "-q", f"{server.url}/open/project.git", "inner", cwd=work)
    git("commit", "-q", "-m", "outer", cwd=work)
    git("clone", "-q", "--bare", str(work), str(bare), cwd=tmp_path)
    commit = git("rev-parse", "HEAD", cwd=work)
    done = pod.fetch(f"{server.url}/open/{bare.name}", commit, submodules=True)
    assert done.returncode == 0, done.stderr
    assert (pod.dest / "inner" / "wercker.yml").read_text() == "box: busybox\n"


def test_only_the_standard_library_is_imported() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(OPERATOR)!r}); import sentinel.source.fetch, json; "
        "print(json.dumps({n: getattr(m, '__file__', None) for n, m in sys.modules.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True
    )
    modules: dict[str, str | None] = json.loads(done.stdout)
    foreign = [
        n
        for n in modules
        if n.split(".")[0] not in {*sys.stdlib_module_names, "sentinel", "__main__"}
    ]
    # Python's site may run code of its own at start (editable installs, setuptools, Debian's sitecustomize).
    own = ("_distutils", "_editable", "__editable", "sitecustomize")
    foreign = [name for name in foreign if not name.startswith(own)]
    assert foreign == []
    ours = {name.rpartition(".")[2] for name in modules if name.startswith("sentinel.source.")}
    assert ours <= {
        *("access", "address", "checkout", "complaint", "failure", "fetch", "gitcommand", "ignore"),
        *("process", "repository", "restore", "task"),
    }, "archives and submodules are imported where there are some"
    slow = {"asyncio", "http.client", "ssl", "tarfile", "zipfile", "urllib.request", "email"}
    assert slow & set(modules) == set(), "the start is on every build's critical path"


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


ENTRIES = (
    Made(name="p-1.0/wercker.yml", data=b"box: busybox\n", mode=0o600),
    Made(name="p-1.0/bin/run", data=b"#!/bin/sh\n", mode=0o700),
    Made(name="p-1.0/link", kind="symlink", target="bin/run"),
)


@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_is_unpacked_readable_by_all_users(pod: Pod, web: WebServer, form: str) -> None:
    data = pack(form, *ENTRIES)
    web.answers["/private/p"] = body(data)
    secret = pod.secret({"token": "the-token\n"})
    (pod.dest / "left").mkdir(parents=True)
    digest = hashlib.sha256(data).hexdigest()
    done = pod.fetch(f"{web.url}/private/p", "", sha256=digest, secretDir=secret)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in pod.dest.iterdir()) == ["bin", "link", "wercker.yml"]
    assert (pod.dest / "wercker.yml").stat().st_mode & 0o777 == 0o644
    assert (pod.dest / "bin" / "run").stat().st_mode & 0o777 == 0o744
    assert (pod.dest / "link").read_text() == "#!/bin/sh\n"
    assert (pod.kit / "boxkit").exists()
    assert sorted(path.name for path in pod.dest.parent.iterdir()) == ["cache", "source"]
    assert web.asked == [("/private/p", "Bearer the-token")]


def test_other_bytes_than_the_operator_saw_are_refused(pod: Pod, web: WebServer) -> None:
    web.answers["/p"] = body(pack("tar", *ENTRIES))
    done = pod.fetch(f"{web.url}/p", "", sha256="0" * 64)
    assert done.returncode == 1
    assert pod.said()["reason"] == "SourceInvalid"
    assert "0" * 64 in pod.said()["message"]
    assert list(pod.dest.iterdir()) == []
    assert sorted(path.name for path in pod.dest.parent.iterdir()) == ["cache", "source"]


def test_a_hostile_archive_leaves_nothing_in_the_pod(pod: Pod, web: WebServer) -> None:
    data = pack("tar.gz", *ENTRIES, Made(name="../../kit/boxkit", data=b"evil"))
    web.answers["/p?signature=abc"] = body(data)
    url, digest = f"{web.url}/p", hashlib.sha256(data).hexdigest()
    done = pod.fetch(f"{url}?signature=abc", "", sha256=digest)
    assert done.returncode == 1
    assert pod.said()["reason"] == "SourceInvalid"
    assert pod.said()["message"].startswith(f"{url}: entry '../../kit/boxkit' has `..` in its name")
    assert list(pod.dest.iterdir()) == []


def test_an_archive_server_that_is_away_is_the_platforms(pod: Pod, web: WebServer) -> None:
    web.answers["/p"] = status(503)
    assert pod.fetch(f"{web.url}/p", "", sha256="0" * 64).returncode == 2
    assert pod.said()["reason"] == "SourceUnavailable"
    assert len(web.asked) == 3


def test_a_digest_that_is_none_is_ours(pod: Pod) -> None:
    assert pod.fetch("http://h/p", "", sha256="abc").returncode == 3
