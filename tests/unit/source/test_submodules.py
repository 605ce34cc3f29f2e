"""Submodules: where their urls lead, who gets credentials, and what a repository may not make us do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.gitserver import PASSWORD, TOKEN, USER, GitServer, Maker, git
from tests.unit.source.pod import Pod

from sentinel.source import checkout
from sentinel.source.submodules import absolute, find

COMMIT = "1" * 40


@pytest.mark.parametrize(
    ("url", "parent", "expected"),
    [
        ("https://h/x.git", "https://h/a/b.git", "https://h/x.git"),
        ("../x.git", "https://h/a/b.git", "https://h/a/x.git"),
        ("../x.git", "https://h/a/b.git/", "https://h/a/x.git"),
        ("../../c/x.git/", "https://h:1/a/b.git", "https://h:1/c/x.git"),
        ("./x.git", "https://h/a/b.git", "https://h/a/b.git/x.git"),
        ("../x", "ssh://git@h:22/a/b.git", "ssh://git@h:22/a/x"),
        ("../x", "git@h:a/b.git", "git@h:a/x"),
        ("../../x", "git@h:a/b.git", "git@h:x"),
        ("../x", "git@h:/srv/b.git", "git@h:/srv/x"),
        ("../x", "[git@h:22]:a/b.git", "[git@h:22]:a/x"),
        ("../.././x", "https://h/a/b.git", "https://h/x"),
    ],
)
def test_a_relative_url_counts_from_the_repository(url: str, parent: str, expected: str) -> None:
    assert absolute(url, parent) == expected


@pytest.mark.parametrize("parent", ["https://h/a/b.git", "git@h:a/b.git"])
def test_a_relative_url_stays_on_the_server(parent: str) -> None:
    with pytest.raises(ValueError, match="leads outside the server"):
        absolute("../../../evil.example.com/x", parent)


def seen(*lines: str, path: str = "lib", name: str = "lib") -> list[tuple[str, str, str]]:
    modules = [f"submodule.{name}.path\n{path}", *(f"submodule.{name}.{line}" for line in lines)]
    found = find(
        modules="\0".join(modules) + "\0",
        tree=f"100644 blob {COMMIT}\tREADME\x00160000 commit {COMMIT}\t{path}\0",
        parent="https://h/a/b.git",
    )
    return [(each.path, each.address.url, each.commit) for each in found]


def test_what_gitmodules_says_of_a_link_is_found() -> None:
    assert seen("url\n../x.git", "branch\nmain") == [("lib", "https://h/a/x.git", COMMIT)]
    assert seen("url\n../x.git", "update\nnone") == []
    assert seen("url\nfirst", "url\n../second") == [("lib", "https://h/a/second", COMMIT)]
    assert seen("url\n../x", path=".github/lib\n2", name='q"uo.te') != []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["url\next::sh -c id"], "is not a URL: it holds spaces"),
        (["url\next::sh"], "is not a repository's URL that may be used here"),
        (["url\nfile:///etc"], "is not a repository's URL that may be used here"),
        (["url\n/etc"], "is not a repository's URL that may be used here"),
        (["url\n--upload-pack=id"], "begins with a dash"),
        (["url\n-u./payload"], "begins with a dash"),
        (["url\nssh://-oProxyCommand=id/x"], "names no host"),
        (["url\n../../../../x"], "leads outside the server"),
        (["url\nhttps://h/a\nb"], "it holds spaces"),
        ([], "the repository's URL is empty"),
        (["url\n../x", "update\n!touch /tmp/owned"], "asks for a command to be run .* not allowed"),
    ],
)
def test_a_submodule_that_plays_tricks_is_refused_by_name(lines: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=f"submodule 'lib'.*{words}"):
        seen(*lines)


@pytest.mark.parametrize(
    "path", ["../lib", "a/../../lib", "/lib", ".git/hooks", "a/.GIT/x", "a/git~1", ".git . /x"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="leads outside the project or into git's own files"):
        seen("url\n../x", path=path)


@pytest.mark.parametrize("name", ["../../x", "a/../b", "a\x01b"])
def test_a_name_that_git_refuses_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="has a name that git re"):
        seen("url\n../x", name=name)


def gitmodules(**modules: str) -> str:
    return "".join(
        f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, url in modules.items()
    )


def test_a_relative_submodule_is_checked_out_shallow_and_known_to_git(
    pod: Pod, server: GitServer, commits: dict[str, Any], maker: Maker
) -> None:
    """Its commit is not the newest of any branch but an old one, as it mostly is."""
    commit = maker.files(
        {".gitmodules": gitmodules(lib="../project.git")}, links={"lib": commits["first"]}
    )
    done = pod.fetch(f"{server.url}/open/{maker.bare.name}", commit, submodules=True)
    assert (done.returncode, done.stderr) == (0, "")
    lib = pod.dest / "lib"
    assert (lib / "wercker.yml").read_text() == "box: debian\n"
    assert git("log", "--format=%H", cwd=lib) == commits["first"]
    assert pod.git("status", "--porcelain") == ""
    assert pod.git("submodule", "status").split()[0] == commits["first"]
    assert pod.git("submodule", "foreach", "--quiet", "echo $name") == "lib"
    assert pod.git("config", "submodule.lib.url") == f"{server.url}/open/project.git"


def test_submodules_of_submodules_come_along(
    pod: Pod, server: GitServer, commits: dict[str, Any], maker: Maker, tmp_path: Path
) -> None:
    inner = Maker(commits["root"] / f"inner-{tmp_path.name}.git")
    below = inner.files(
        {".gitmodules": gitmodules(deep="../project.git")}, links={"deep": commits["second"]}
    )
    commit = maker.files(
        {".gitmodules": gitmodules(lib=f"{server.url}/open/{inner.bare.name}")},
        links={"lib": below},
    )
    done = pod.fetch(f"{server.url}/open/{maker.bare.name}", commit, submodules=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (pod.dest / "lib" / "deep" / "wercker.yml").read_text() == "box: busybox\n"


def test_an_old_server_gives_a_submodule_by_way_of_its_refs(
    pod: Pod, server: GitServer, commits: dict[str, Any], maker: Maker, tmp_path: Path
) -> None:
    inner = Maker(commits["root"] / f"inner-{tmp_path.name}.git")
    before = inner.files({"a": "old\n"})
    tree = inner.tree(("100644", "a", inner.blob("new\n")))
    after = git("commit-tree", tree, "-p", before, "-m", "newer", cwd=inner.bare)
    git("update-ref", "refs/heads/main", after, cwd=inner.bare)
    modules = gitmodules(lib=f"../{inner.bare.name}")
    commit = maker.files({".gitmodules": modules}, links={"lib": before})
    server.old = True
    done = pod.fetch(f"{server.url}/open/{maker.bare.name}", commit, submodules=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (pod.dest / "lib" / "a").read_text() == "old\n"


def test_nothing_is_fetched_of_submodules_unasked(
    pod: Pod, server: GitServer, commits: dict[str, Any], maker: Maker
) -> None:
    commit = maker.files(
        {".gitmodules": gitmodules(lib="../project.git")}, links={"lib": commits["first"]}
    )
    assert pod.fetch(f"{server.url}/open/{maker.bare.name}", commit).returncode == 0
    assert list((pod.dest / "lib").iterdir()) == []
    assert not any("project.git" in path for path, _ in server.requests)


def test_a_chain_without_an_end_is_cut(
    pod: Pod, server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    """A repository cannot contain itself, but as many others as somebody cares to make."""
    below = commits["first"]
    name = "project.git"
    for level in range(checkout.MAX_DEPTH + 2):
        each = Maker(commits["root"] / f"chain-{level}-{tmp_path.name}.git")
        below = each.files({".gitmodules": gitmodules(lib=f"../{name}")}, links={"lib": below})
        name = each.bare.name
    done = pod.fetch(f"{server.url}/open/{name}", below, submodules=True)
    assert done.returncode == 1
    assert f"more than {checkout.MAX_DEPTH} levels" in pod.said()["message"]


@pytest.mark.parametrize("secret", [{"username": USER, "password": PASSWORD}, {"token": TOKEN}])
def test_credentials_open_submodules_on_the_sources_own_server(
    pod: Pod, server: GitServer, commits: dict[str, Any], maker: Maker, secret: dict[str, str]
) -> None:
    kind = "bearer" if "token" in secret else "private"
    commit = maker.files(
        {".gitmodules": gitmodules(lib="../project.git")}, links={"lib": commits["first"]}
    )
    url = f"{server.url}/{kind}/{maker.bare.name}"
    done = pod.fetch(url, commit, submodules=True, secretDir=pod.secret(secret))
    assert (done.returncode, done.stderr) == (0, "")
    assert (pod.dest / "lib" / "wercker.yml").exists()


@pytest.mark.parametrize("secret", [{"username": USER, "password": PASSWORD}, {"token": TOKEN}])
@pytest.mark.parametrize("kind", ["private", "open"])
def test_no_other_server_is_sent_a_credential(
    pod: Pod,
    server: GitServer,
    other: GitServer,
    commits: dict[str, Any],
    maker: Maker,
    secret: dict[str, str],
    kind: str,
) -> None:
    source = "bearer" if "token" in secret else "private"
    commit = maker.files(
        {".gitmodules": gitmodules(lib=f"{other.url}/{kind}/project.git")},
        links={"lib": commits["first"]},
    )
    done = pod.fetch(
        f"{server.url}/{source}/{maker.bare.name}",
        commit,
        submodules=True,
        secretDir=pod.secret(secret),
    )
    assert other.requests != []
    assert [sent for _, sent in other.requests if sent] == []
    if kind == "open":
        assert (done.returncode, done.stderr) == (0, "")
        return
    said = pod.said()
    assert (done.returncode, said["reason"]) == (1, "SourceAuthFailed")
    assert f"submodule 'lib': {other.url}/private/project.git denied access" in said["message"]
    assert "are for the source's own server and are sent to no other" in said["message"]


def test_a_submodule_that_redirects_home_is_sent_nothing_either(
    pod: Pod, server: GitServer, other: GitServer, commits: dict[str, Any], maker: Maker
) -> None:
    other.redirect_to = f"{server.url}/private"
    commit = maker.files(
        {".gitmodules": gitmodules(lib=f"{other.url}/moved/project.git")},
        links={"lib": commits["first"]},
    )
    secret = pod.secret({"username": USER, "password": PASSWORD})
    url = f"{server.url}/private/{maker.bare.name}"
    done = pod.fetch(url, commit, submodules=True, secretDir=secret)
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceAuthFailed")
    assert [sent for _, sent in other.requests if sent] == []
    assert [sent for path, sent in server.requests if "/project.git" in path and sent] == []


@pytest.mark.parametrize(
    ("entry", "reason", "words"),
    [
        ("url = ext::sh -c 'touch OWNED'", "SourceInvalid", "is not a URL"),
        ("url = file://HERE/project.git", "SourceInvalid", "may be used here"),
        ("url = HERE/project.git", "SourceInvalid", "may be used here"),
        ("url = ../project.git\n\tupdate = !touch OWNED", "SourceInvalid", "not allowed"),
        (
            "url = ../nothing.git",
            "SourceNotFound",
            "submodule 'lib': .*nothing.git is not a repository.*Correct its url",
        ),
        (
            "url = ../plain.git",
            "SourceNotFound",
            "submodule 'lib': .*plain.git has no commit '1111",
        ),
        ('url = "unfinished', "SourceInvalid", "git cannot read .gitmodules"),
    ],
)
def test_a_submodule_that_cannot_be_had_ends_the_fetch(
    pod: Pod,
    server: GitServer,
    commits: dict[str, Any],
    maker: Maker,
    entry: str,
    reason: str,
    words: str,
) -> None:
    owned = pod.path / "owned"
    text = f'[submodule "lib"]\n\tpath = lib\n\t{entry}\n'
    text = text.replace("HERE", str(commits["root"])).replace("OWNED", str(owned))
    commit = maker.files({".gitmodules": text}, links={"lib": COMMIT})
    done = pod.fetch(f"{server.url}/open/{maker.bare.name}", commit, submodules=True)
    assert (done.returncode, pod.said()["reason"]) == (1, reason)
    assert re.search(words, pod.said()["message"])
    assert not owned.exists()


def test_gitmodules_that_is_a_link_is_not_followed(
    pod: Pod, server: GitServer, commits: dict[str, Any], maker: Maker, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(gitmodules(lib="../project.git"))
    tree = maker.tree(
        ("120000", ".gitmodules", maker.blob(str(elsewhere))), ("160000", "lib", commits["first"])
    )
    url = f"{server.url}/open/{maker.bare.name}"
    done = pod.fetch(url, maker.commit(tree), submodules=True)
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceInvalid")
    assert not (pod.dest / "lib" / ".git").exists()


def test_attributes_do_not_change_what_is_read_of_gitmodules(
    pod: Pod, server: GitServer, commits: dict[str, Any], maker: Maker
) -> None:
    """The file on the disk would be UTF-16; the commit's own says what counts."""
    commit = maker.files(
        {
            ".gitattributes": ".gitmodules working-tree-encoding=UTF-16\n",
            ".gitmodules": gitmodules(lib="../project.git"),
        },
        links={"lib": commits["first"]},
    )
    done = pod.fetch(f"{server.url}/open/{maker.bare.name}", commit, submodules=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (pod.dest / "lib" / "wercker.yml").read_text() == "box: debian\n"


def test_a_submodule_is_never_written_through_a_link(
    pod: Pod, server: GitServer, commits: dict[str, Any], maker: Maker, tmp_path: Path
) -> None:
    """A tree with one name twice: a link out, and a directory with a submodule in it."""
    outside = tmp_path / "outside"
    (outside / "lib").mkdir(parents=True)
    below = maker.tree(("160000", "lib", commits["first"]))
    text = '[submodule "x"]\n\tpath = a/lib\n\turl = ../project.git\n'
    for link_first in (True, False):
        entries = [("120000", "a", maker.blob(str(outside))), ("40000", "a", below)]
        tree = maker.tree(
            ("100644", ".gitmodules", maker.blob(text)),
            *(entries if link_first else reversed(entries)),
        )
        url = f"{server.url}/open/{maker.bare.name}"
        pod.fetch(url, maker.commit(tree), submodules=True)
        assert list((outside / "lib").iterdir()) == []
