"""A directory as a source: which files belong to it, and what git knows of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.local.project import files_of, read_project


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "-C", root, *identity, *arguments], check=True, capture_output=True)


def test_without_git_all_files_belong_to_it_but_what_is_ignored_and_ours(tmp_path: Path) -> None:
    root = tmp_path / "hello"
    write(root, "wercker.yml", "src/a.c", "src/a.o", "out/b", ".sentinel/output/x")
    (root / ".werckerignore").write_text("*.o\nout/\n")
    (root / "link").symlink_to("src")
    project = read_project(root)
    assert files_of(project, ignore_file=".werckerignore") == [
        ".werckerignore",
        "link",
        "src/a.c",
        "wercker.yml",
    ]
    assert (project.source.url, project.source.commit) == ("hello", "")
    assert project.source.project.repository == "hello"


def test_in_a_repository_what_git_ignores_is_left_out_and_changes_count(tmp_path: Path) -> None:
    write(tmp_path, "wercker.yml", "kept", "gone", "ignored/x")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    git(tmp_path, "init", "-q", "-b", "topic")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Say hello\n\nat length")
    git(tmp_path, "remote", "add", "origin", "https://me:pw@example.com/owner/name.git")
    (tmp_path / "gone").unlink()
    write(tmp_path, "new", ".sentinel/logs/x")
    project = read_project(tmp_path)
    files = files_of(project, ignore_file="")
    assert [each for each in files if not each.startswith(".git/")] == [
        ".gitignore",
        "kept",
        "new",
        "wercker.yml",
    ]
    assert ".git/HEAD" in files
    source = project.source
    assert (source.branch, source.subject, len(source.commit)) == ("topic", "Say hello", 40)
    assert source.project.owner == "owner"


@pytest.mark.parametrize(
    ("files", "remedy"),
    [((), "sentinel detect --write"), (("wercker.yaml",), "rename it to wercker.yml")],
)
def test_a_directory_without_wercker_yml_says_what_to_do(
    tmp_path: Path, files: tuple[str, ...], remedy: str
) -> None:
    write(tmp_path, *files)
    with pytest.raises(UserError, match=remedy) as caught:
        read_project(tmp_path)
    assert caught.value.reason is Reason.CONFIG_MISSING
