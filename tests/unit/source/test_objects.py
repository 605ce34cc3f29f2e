"""Reading objects of a repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from sentinel.source.failure import Deadline
from sentinel.source.objects import Reader, subject


def test_a_commit_with_megabytes_of_message_has_a_subject_and_a_tree(tmp_path: Path) -> None:
    """It was taken for no commit at all."""
    author = {
        f"GIT_{who}_{what}": "t@example.com"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **author}

    def git(*arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode().strip()

    git("init", "-q", "--bare", ".")
    tree = git("mktree")
    message = b"feat: squashed \xf0\x9f\x9a\x80\n\n" + b"* a line\n" * 400_000
    commit = git("commit-tree", tree, stdin=message)

    with Reader(cwd=str(tmp_path), env=environment, deadline=Deadline(150), memory=0) as reader:
        head = reader.read(commit, most=1000, cut=True)
        after = reader.read(f"{commit}^{{tree}}", most=1000)

    assert head is not None
    assert (head.kind, len(head.data)) == ("commit", 1000)
    assert head.size > len(message)
    assert subject(head.data) == "feat: squashed \U0001f680"
    assert after is not None
    assert (after.kind, after.id) == ("tree", tree)
