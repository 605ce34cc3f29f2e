"""What repositories look like in the field: odd names of refs, no commits, a HEAD that leads nowhere, copies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.unit.source.gitserver import GitServer, Maker, git
from tests.unit.source.pod import Pod

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.source.failure import Deadline
from sentinel.source.git import Resolved, resolve

BRANCHES = (
    "debian/1.0+dfsg",
    "main+next",
    "feature/ünï-✓",
    "fix/it's-$(touch${IFS}x)",
    "+x",
    "--upload-pack=id",
)


def _resolve(server: GitServer, maker: Maker, ref: str, cache: Path) -> Resolved:
    url = f"{server.url}/open/{maker.bare.name}"
    return resolve(
        url=url, ref=ref, credentials=None, paths=(), cache_dir=cache, deadline=Deadline(150)
    )


@pytest.mark.parametrize("ref", BRANCHES)
@pytest.mark.parametrize("kind", ["heads", "tags"])
def test_every_name_that_git_accepts_is_built(
    server: GitServer, maker: Maker, pod: Pod, tmp_path: Path, ref: str, kind: str
) -> None:
    commit = maker.files({"which": ref})
    maker.files({"which": "main"})
    git("update-ref", f"refs/{kind}/{ref}", commit, cwd=maker.bare)
    found = _resolve(server, maker, ref, tmp_path)
    name = {"branch": ref, "tag": ""} if kind == "heads" else {"branch": "", "tag": ref}
    assert (found.commit, found.branch, found.tag) == (commit, name["branch"], name["tag"])

    server.old = True  # the commit is then found by the ref
    url = f"{server.url}/open/{maker.bare.name}"
    done = pod.fetch(url, commit, ref=ref, **name)
    assert done.returncode == 0, done.stderr
    assert (pod.dest / "which").read_text() == ref
    assert pod.git("branch", "--show-current") == name["branch"]
    assert pod.git("tag", "--points-at", "HEAD") == name["tag"]
    assert pod.git("status", "--porcelain") == ""


@pytest.mark.parametrize("branch", ["main+next", "--upload-pack=id"])
def test_the_default_branch_may_have_any_name(
    server: GitServer, maker: Maker, tmp_path: Path, branch: str
) -> None:
    commit = maker.files({"which": "head"})
    git("update-ref", f"refs/heads/{branch}", commit, cwd=maker.bare)
    git("symbolic-ref", "HEAD", f"refs/heads/{branch}", cwd=maker.bare)
    found = _resolve(server, maker, "", tmp_path)
    assert (found.commit, found.branch) == (commit, branch)


def test_an_empty_repository_has_nothing_to_build(
    server: GitServer, maker: Maker, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="has no branches or tags") as caught:
        _resolve(server, maker, "", tmp_path)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


def test_a_head_that_leads_nowhere_names_the_branches(
    server: GitServer, maker: Maker, tmp_path: Path
) -> None:
    commit = maker.files({"which": "trunk"})
    git("branch", "-m", "main", "trunk", cwd=maker.bare)
    git("symbolic-ref", "HEAD", "refs/heads/master", cwd=maker.bare)
    with pytest.raises(UserError, match="trunk") as caught:
        _resolve(server, maker, "", tmp_path)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert (_resolve(server, maker, "trunk", tmp_path)).commit == commit


def test_a_copy_of_the_checkout_is_clean_before_the_index_is_refreshed(
    server: GitServer, maker: Maker, pod: Pod, tmp_path: Path
) -> None:
    blob = maker.blob("x")
    tree = maker.tree(("100644", "a", blob), ("120000", "link", blob), ("100755", "tool", blob))
    commit = maker.commit(tree)
    done = pod.fetch(f"{server.url}/open/{maker.bare.name}", commit)
    assert done.returncode == 0, done.stderr
    copy = tmp_path / "copy"
    # As boxkit copies: other inodes and change times, the same modification times.
    subprocess.run(["cp", "-r", "--preserve=timestamps,mode", pod.dest, copy], check=True)
    git("diff-index", "--quiet", "HEAD", "--", cwd=copy)
