"""Repositories that mean harm: nothing of theirs runs, nothing is written outside, nothing fills the node."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.gitserver import GitServer, Maker
from tests.unit.source.pod import Pod

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.source import fetch
from sentinel.source import git as source_git
from sentinel.source.failure import Deadline
from sentinel.source.git import resolve


def fetched(
    pod: Pod, server: GitServer, maker: Maker, commit: str, **more: Any
) -> subprocess.CompletedProcess[str]:
    return pod.fetch(f"{server.url}/open/{maker.bare.name}", commit, **more)


def test_no_hook_and_no_filter_of_a_repository_runs(
    pod: Pod, server: GitServer, maker: Maker
) -> None:
    """Hooks in the tree, by every name a checkout could look under, and attributes that name filters and drivers."""
    owned = pod.path / "owned"
    hook = ("100755", "post-checkout", maker.blob(f"#!/bin/sh\ntouch {owned}\n"))
    hooks = maker.tree(hook)
    config = f'[filter "evil"]\n\tsmudge = touch {owned}\n\trequired = true\n[core]\n\thooksPath = hooks\n'
    tree = maker.tree(
        (
            "100644",
            ".gitattributes",
            maker.blob("* filter=evil diff=evil merge=evil\n*.bin filter=lfs\n"),
        ),
        ("100644", ".gitconfig", maker.blob(config)),
        ("40000", ".githooks", hooks),
        ("100644", "config", maker.blob(config)),
        ("100644", "data.bin", maker.blob("pointer\n")),
        ("40000", "hooks", hooks),
        ("100755", "post-checkout", hook[2]),
    )
    done = fetched(pod, server, maker, maker.commit(tree))
    assert (done.returncode, done.stderr) == (0, "")
    assert not owned.exists()
    assert (pod.dest / "data.bin").read_text() == "pointer\n"
    assert not (pod.dest / ".git" / "hooks").exists()


def test_links_stay_what_they_are_and_are_not_written_through(
    pod: Pod, server: GitServer, maker: Maker, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    tree = maker.tree(
        ("120000", "absolute", maker.blob(str(outside))),
        ("120000", "out", maker.blob("../../outside")),
    )
    done = fetched(pod, server, maker, maker.commit(tree))
    assert (done.returncode, done.stderr) == (0, "")
    assert (pod.dest / "absolute").readlink() == outside
    assert str((pod.dest / "out").readlink()) == "../../outside"
    # A second try in the same place, as after a restart of the container, removes the links, not what they name.
    (outside / "kept").touch()
    assert fetched(pod, server, maker, maker.commit(tree)).returncode == 0
    assert [path.name for path in outside.iterdir()] == ["kept"]


@pytest.mark.parametrize("link_first", [True, False])
def test_a_name_that_is_a_link_and_a_directory_leads_nowhere(
    pod: Pod, server: GitServer, maker: Maker, tmp_path: Path, link_first: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entries = [
        ("120000", "a", maker.blob(str(outside))),
        ("40000", "a", maker.tree(("100644", "file", maker.blob("written outside\n")))),
    ]
    commit = maker.commit(maker.tree(*(entries if link_first else reversed(entries))))
    fetched(pod, server, maker, commit)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "name", [".git", ".GIT", ".Git", "git~1", "..", ".", "../x", "a/../../x", ".git "]
)
def test_a_name_that_would_reach_gits_own_files_is_refused(
    pod: Pod, server: GitServer, maker: Maker, name: str
) -> None:
    owned = pod.path / "owned"
    config = maker.blob(f"[core]\n\tfsmonitor = touch {owned}\n\thooksPath = .\n")
    tree = maker.tree(("40000", name, maker.tree(("100644", "config", config))))
    done = fetched(pod, server, maker, maker.commit(tree))
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceInvalid"), done.stderr
    assert "a file name that git refuses to check out" in pod.said()["message"]
    assert not owned.exists()
    assert "fsmonitor" not in (pod.dest / ".git" / "config").read_text()
    assert not (pod.dest.parent / "config").exists()


def test_odd_names_arrive_as_they_are(pod: Pod, server: GitServer, maker: Maker) -> None:
    names = sorted(["--help", "-rf", "line\nbreak", "esc\x1b[31m", "qu'ote\"", "sp ace"])
    tree = maker.tree(*(("100644", name, maker.blob("x")) for name in names))
    done = fetched(pod, server, maker, maker.commit(tree))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in pod.dest.iterdir()) == sorted([".git", *names])


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch OWNED",
        "--upload-pack=/OWNED",
        "ext::sh",
        "ext::sh -c 'touch% OWNED'",
        "fd::3",
        "ssh://-oProxyCommand=OWNED/x",
        "git@-oProxyCommand=OWNED:x",
        "-oProxyCommand=OWNED@h:x",
        "git@h:-x",
        "file:///etc",
        "/etc",
        "https://a b/x",
        "https://h\nx/y",
        "https://good\\@evil/x",
        "https://good#evil/x",
    ],
)
def test_a_url_that_would_run_something_is_refused(pod: Pod, tmp_path: Path, url: str) -> None:
    url = url.replace("OWNED", str(pod.path / "owned"))
    with pytest.raises(UserError) as caught:
        resolve(
            url=url,
            ref="main",
            credentials=None,
            paths=[],
            cache_dir=tmp_path / "cache",
            deadline=Deadline(150),
        )
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    done = pod.fetch(url, "1" * 40)
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceNotFound")
    assert not (pod.path / "owned").exists()
    assert not pod.dest.exists() or list(pod.dest.iterdir()) == []


@pytest.mark.parametrize("ref", ["--upload-pack=touch${IFS}owned", "-x", "+refs/heads/main"])
def test_a_ref_that_looks_like_an_option_is_only_a_name(
    server: GitServer, pod: Pod, tmp_path: Path, ref: str
) -> None:
    url = f"{server.url}/open/project.git"
    with pytest.raises(UserError, match="has no branch, tag or commit"):
        resolve(
            url=url,
            ref=ref,
            credentials=None,
            paths=[],
            cache_dir=tmp_path / "cache",
            deadline=Deadline(150),
        )
    done = pod.fetch(url, "1" * 40, ref=ref, branch="")
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceNotFound")
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.parametrize("ref", ["a:b", "main^", "a\nb", "a b"])
def test_a_ref_that_would_be_a_refspec_is_refused(
    server: GitServer, tmp_path: Path, ref: str
) -> None:
    with pytest.raises(UserError, match="cannot be the name of a branch") as caught:
        resolve(
            url=f"{server.url}/open/project.git",
            ref=ref,
            credentials=None,
            paths=[],
            cache_dir=tmp_path / "cache",
            deadline=Deadline(150),
        )
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert server.requests == []


def bomb(maker: Maker, levels: int) -> str:
    """A commit of ten to the power of `levels` files of one block, in a few hundred bytes."""
    tree = maker.tree(("100644", "f", maker.blob("x" * 4096)))
    for _ in range(levels):
        tree = maker.tree(*(("40000", f"d{number}", tree) for number in range(10)))
    return maker.commit(tree)


def test_a_checkout_that_takes_too_much_disk_is_stopped(
    pod: Pod, server: GitServer, maker: Maker
) -> None:
    done = fetched(pod, server, maker, bomb(maker, 5), maxBytes=32 * 1024**2)
    assert (done.returncode, pod.said()) == (
        1,
        {
            "reason": "SourceInvalid",
            "message": f"{server.url}/open/{maker.bare.name}: the checkout takes more than 32 MiB of disk, the "
            "operator's source.maxGiB",
        },
    )


def test_a_checkout_that_takes_too_much_memory_is_stopped(
    pod: Pod, server: GitServer, maker: Maker
) -> None:
    """With a bound that a test can reach; the fetcher's own stands as long as the container has none that is lower."""
    pod.bound = ("prlimit", f"--data={32 * 1024**2}")
    done = fetched(pod, server, maker, bomb(maker, 7))
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceInvalid"), done.stderr
    assert (
        "needs more memory than a checkout may have: git: fatal: Out of memory"
        in pod.said()["message"]
    )


def test_the_fetcher_bounds_its_memory(
    pod: Pod, server: GitServer, commits: dict[str, Any]
) -> None:
    """What boxkit is given is what git is given."""
    pod.boxkit('#!/bin/sh\nulimit -d >"$2/limit"\n')
    assert pod.fetch(f"{server.url}/open/project.git", commits["second"]).returncode == 0
    assert (pod.kit / "limit").read_text() == f"{fetch.MAX_MEMORY // 1024}\n"


def test_the_operators_git_bounds_its_memory(
    server: GitServer, maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wanted tree is one object, which git holds in memory whole: 400 000 entries, and little in the pack."""
    blob = maker.blob("")
    entries = (("100644", f"{number:0100d}", blob) for number in range(400_000))
    maker.commit(maker.tree(*entries))
    monkeypatch.setattr(source_git, "MAX_MEMORY", 32 * 1024**2)
    with pytest.raises(UserError, match="needs more memory than a checkout may have") as caught:
        resolve(
            url=f"{server.url}/open/{maker.bare.name}",
            ref="main",
            credentials=None,
            paths=[],
            cache_dir=tmp_path / "cache",
            deadline=Deadline(150),
        )
    assert caught.value.reason is Reason.SOURCE_INVALID


def test_a_server_that_talks_without_an_end_is_not_listened_to_forever(
    pod: Pod, server: GitServer, maker: Maker
) -> None:
    """Only the end of what git says is kept, and of that a line is quoted."""
    hook = maker.bare / "flood.sh"
    hook.write_text('#!/bin/sh\nyes "remote words" | head -c 3000000 >&2\nexit 1\n')
    hook.chmod(0o755)
    server.config = {"uploadpack.packObjectsHook": str(hook)}
    commit = maker.files({"a": "b"})
    done = fetched(pod, server, maker, commit)
    assert done.returncode == 2
    assert len(pod.said()["message"]) < 1000
