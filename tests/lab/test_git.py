"""The lab's git server and what is published on it, spoken to with git itself."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import git
from tests.lab.gitserver import Handler, Server
from tests.lab.state import Lab


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a git command ended."""

    status: int
    error: str


def run_git(*args: str, cwd: Path | None = None) -> Said:
    """Run git without anybody to ask for a password."""
    env = {**os.environ, **git.IDENTITY, "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", *args], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    return Said(status=done.returncode, error=done.stderr.strip())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab of which only the git server is there."""
    root = tmp_path / "served"
    for name in ("public", "private"):
        (root / name).mkdir(parents=True)

    class Ours(Handler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    Ours.root, Ours.user, Ours.password = str(root), "builder", "secret"
    server = Server(("127.0.0.1", 0), Ours)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Lab(
        cluster="none",
        kubeconfig="",
        registry="",
        s3_endpoint="",
        s3_bucket="",
        s3_access_key="",
        s3_secret_key="",
        git_url=f"http://127.0.0.1:{server.server_address[1]}",
        git_user="builder",
        git_password="secret",
        git_root=str(root),
        docker_host="",
        audit_log="",
        bin="",
        gateway="127.0.0.1",
    )
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small project; one of its files is one that git would leave out."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "wercker.yml").write_text("box: debian\n")
    (project / ".gitignore").write_text("*.o\n")
    (project / "kept.o").write_text("not left out\n")
    return project


def with_login(lab: Lab, url: str) -> str:
    return url.replace("http://", f"http://{lab.git_user}:{lab.git_password}@")


def test_a_published_folder_is_cloned_without_a_password(lab: Lab, folder: Path) -> None:
    url = git.publish(lab, folder, "hello")
    clone = folder.parent / "clone"
    assert run_git("clone", "--quiet", url, str(clone)) == Said(status=0, error="")
    cloned = {path.name: path.read_text() for path in clone.iterdir() if path.is_file()}
    assert cloned == {path.name: path.read_text() for path in folder.iterdir()}


def test_the_same_folder_gives_the_same_commit(lab: Lab, folder: Path) -> None:
    git.publish(lab, folder, "one")
    git.publish(lab, folder, "two", private=True)
    git.publish(lab, folder, "two", private=True)
    assert git.commit_of(lab, "one") == git.commit_of(lab, "two", private=True)


def test_publishing_again_adds_a_commit_with_exactly_the_new_content(
    lab: Lab, folder: Path
) -> None:
    url = git.publish(lab, folder, "grows")
    first = git.commit_of(lab, "grows")
    (folder / "kept.o").unlink()
    (folder / "new").write_text("new\n")
    git.publish(lab, folder, "grows")
    assert git.commit_of(lab, "grows", "main~1") == first
    clone = folder.parent / "clone"
    run_git("clone", "--quiet", url, str(clone))
    assert sorted(path.name for path in clone.iterdir()) == [
        ".git",
        ".gitignore",
        "new",
        "wercker.yml",
    ]


def test_a_commit_is_fetched_by_its_name_alone(lab: Lab, folder: Path) -> None:
    url = git.publish(lab, folder, "named")
    commit = git.commit_of(lab, "named")
    (folder / "more").write_text("more\n")
    git.publish(lab, folder, "named")
    clone = folder.parent / "clone"
    run_git("init", "--quiet", str(clone))
    fetched = run_git("fetch", "--quiet", "--depth=1", url, commit, cwd=clone)
    assert fetched == Said(status=0, error="")


def test_a_private_repository_wants_its_password(lab: Lab, folder: Path) -> None:
    url = git.publish(lab, folder, "hidden", private=True)
    assert run_git("ls-remote", url).status == 128
    assert run_git("ls-remote", with_login(lab, url).replace("secret", "wrong")).status == 128
    assert run_git("ls-remote", with_login(lab, url)) == Said(status=0, error="")


def test_pushing_wants_the_password_even_in_public(lab: Lab, folder: Path) -> None:
    url = git.publish(lab, folder, "open")
    clone = folder.parent / "clone"
    run_git("clone", "--quiet", url, str(clone))
    run_git("commit", "--quiet", "--allow-empty", "--message", "More", cwd=clone)
    assert run_git("push", "--quiet", url, "HEAD:main", cwd=clone).status == 128
    pushed = run_git("push", "--quiet", with_login(lab, url), "HEAD:main", cwd=clone)
    assert pushed == Said(status=0, error="")


def test_a_repository_that_does_not_exist_is_not_found(lab: Lab) -> None:
    said = run_git("ls-remote", f"{lab.git_url}/public/nothing.git")
    assert said == Said(
        status=128,
        error=f"fatal: repository '{lab.git_url}/public/nothing.git/' not found",
    )
