"""Which files `.werckerignore` leaves out: git's own rules, on a checkout and on an unpacked archive alike."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sentinel.source.ignore import leave_out

FILES = (
    "README.md",
    "build/out.o",
    "build/deep/er/x.o",
    "docs/keep.md",
    "docs/draft.md",
    "node_modules/a/index.js",
    "node_modules/b/x.md",
    "src/a.log",
    "src/keep.log",
    "src/node_modules/c.js",
    "with space.tmp",
    "ä\nnew line.tmp",
)
PATTERNS = """\
# comments count for nothing
/build
node_modules/
*.log
!src/keep.log
docs/*
!docs/keep.md
*.tmp
"""
LEFT = {".werckerignore", "README.md", "docs/keep.md", "src/keep.log"}


def make(root: Path, *, patterns: str = PATTERNS, name: str = ".werckerignore") -> Path:
    for each in FILES:
        (root / each).parent.mkdir(parents=True, exist_ok=True)
        (root / each).write_text(each)
    (root / name).write_text(patterns)
    return root


def left(root: Path) -> set[str]:
    """Files and empty directories, `.git` aside."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.relative_to(root).parts[0] != ".git"
        and (not path.is_dir() or not any(path.iterdir()))
    }


def test_gits_patterns_decide_and_empty_directories_go(tmp_path: Path) -> None:
    assert leave_out(str(make(tmp_path)), ".werckerignore") == 9
    assert left(tmp_path) == LEFT


def test_tracked_files_go_too_and_the_repository_stays(tmp_path: Path) -> None:
    make(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / ".gitignore").write_text("README.md\n")
    subprocess.run([*git, "add", "-A", "-f"], check=True)
    subprocess.run([*git, "commit", "-qm", "all"], check=True)

    leave_out(str(tmp_path), ".werckerignore")

    assert left(tmp_path) == {*LEFT, ".gitignore"}
    subprocess.run([*git, "fsck", "--strict"], check=True, capture_output=True)


def test_another_file_may_be_named(tmp_path: Path) -> None:
    make(tmp_path, patterns="*\n!*.md\n!*/\nnode_modules\n", name="ignore.txt")

    leave_out(str(tmp_path), "ignore.txt")

    assert left(tmp_path) == {"README.md", "docs/keep.md", "docs/draft.md"}


@pytest.mark.parametrize("name", ["", "nowhere", "docs", "../outside", "link"])
def test_a_file_that_does_not_exist_or_is_not_in_the_source_leaves_nothing_out(
    tmp_path: Path, name: str
) -> None:
    root = tmp_path / "source"
    root.mkdir()
    make(root)
    (tmp_path / "outside").write_text("*\n")
    (root / "link").symlink_to("../outside")
    before = left(root)

    assert leave_out(str(root), name) == 0
    assert left(root) == before


def test_a_symbolic_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_text("x")
    (root / "link").symlink_to(tmp_path / "target")
    (root / ".werckerignore").write_text("link\n")

    assert leave_out(str(root), ".werckerignore") == 1
    assert left(root) == {".werckerignore"}
    assert (tmp_path / "target/file").read_text() == "x"
