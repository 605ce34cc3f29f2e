"""hugo-build, kubectl, gh-pages, git-push, heroku-deploy and s3sync."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.standard.conftest import Bench, HttpStub


async def test_hugo_build_with_the_boxs_hugo(bench: Bench) -> None:
    bench.fake("hugo", out="hugo v0.74.3+extended linux/amd64\n")
    (bench.source / "site/public").mkdir(parents=True)
    (bench.source / "site/public/old").write_text("x")

    ran = await bench.run(
        "hugo-build",
        basedir="site",
        theme="t",
        config="c.toml",
        flags="--buildDrafts -v",
        version="0.74.3",
    )

    site = bench.source / "site"
    assert ran.exit == 0, ran.log
    assert ran.argvs[-1] == (
        *("hugo", f"--source={site}", "--theme=t", "--config=c.toml", "--buildDrafts", "-v"),
    )
    assert sorted(each.name for each in site.iterdir()) == ["content"]
    assert "is used, which is not" not in ran.log


@pytest.mark.parametrize(
    ("options", "branch", "dev"),
    [
        ({"prod_branches": "main"}, "main", False),
        ({"prod_branches": "main release"}, "topic", True),
        ({"dev_branches": "topic"}, "topic", True),
        ({"dev_branches": "topic"}, "main", False),
    ],
)
async def test_hugo_build_for_branches(
    bench: Bench, options: dict[str, str], branch: str, dev: bool
) -> None:
    bench.fake("hugo")
    bench.env["WERCKER_GIT_BRANCH"] = branch

    ran = await bench.run("hugo-build", flags="--prod", dev_flags="--dev", **options)

    assert ran.argvs[-1][-1] == ("--dev" if dev else "--prod")


async def test_hugo_build_with_another_version_warns_and_fails_with_hugo(bench: Bench) -> None:
    bench.fake("hugo", out="hugo v0.100.1 linux\n", code='if [ "$1" != version ]; then exit 4; fi')

    ran = await bench.run("hugo-build", version="0.100")

    assert ran.exit == 4
    assert "the box's Hugo is used, which is not 0.100: hugo v0.100.1 linux" in ran.log


@pytest.mark.parametrize("force", ["true", "false"])
async def test_hugo_build_with_the_operators_hugo(bench: Bench, force: str) -> None:
    if force == "true":
        bench.fake("hugo")
    bench.provide("hugo", "0.74.3", "#!/bin/sh\necho provided\n")

    ran = await bench.run("hugo-build", version="v0.74.3", force_install=force)

    assert (ran.exit, ran.log) == (0, "provided\n")


async def test_hugo_build_without_hugo(bench: Bench) -> None:
    ran = await bench.run("hugo-build", version="0.9")

    assert ran.message.startswith(
        "hugo 0.9 is missing: this box has none, and the operator provides no"
    )


async def test_kubectl_keeps_credentials_out_of_its_arguments(bench: Bench) -> None:
    bench.fake("kubectl", code='[ -z "$KUBECONFIG" ] || /bin/cp "$KUBECONFIG" "$HOME/kubeconfig"')

    ran = await bench.run(
        "kubectl",
        command="apply",
        server="https://api.example.com",
        token='s3"cret',
        certificate_authority="ca.crt",
        file="it's.yaml",
        timeout="60s",
        raw_args="--namespace x",
        raw_global_args="--v=1",
        debug="true",
    )

    assert ran.exit == 0, ran.log
    assert ran.argvs[-1] == (
        *("kubectl", "--v=1", "apply", "--filename=it's.yaml", "--timeout=60s", "--namespace", "x"),
    )
    assert "s3" not in ran.log
    written = json.loads((bench.box.root / "home/kubeconfig").read_text())
    assert written["clusters"][0]["cluster"] == {
        "server": "https://api.example.com",
        "certificate-authority": f"{bench.source}/ca.crt",
    }
    assert written["users"][0]["user"] == {"token": 's3"cret'}
    assert ran.exports == {}


async def test_kubectl_without_tls_warns(bench: Bench) -> None:
    bench.fake("kubectl", code='/bin/cp "$KUBECONFIG" "$HOME/kubeconfig"')

    ran = await bench.run(
        "kubectl",
        command="get pods",
        server="https://api",
        username="u",
        password="p",
        insecure_skip_tls_verify="true",
    )

    written = json.loads((bench.box.root / "home/kubeconfig").read_text())
    assert written["clusters"][0]["cluster"]["insecure-skip-tls-verify"] is True
    assert written["users"][0]["user"] == {"username": "u", "password": "p"}
    assert "insecure-skip-tls-verify is on" in ran.log


async def test_kubectl_evaluates_its_command_as_ever(bench: Bench) -> None:
    bench.fake("kubectl", status=1)

    ran = await bench.run("kubectl", command="delete secret x; echo done")

    assert (ran.exit, ran.argvs[-1]) == (0, ("kubectl", "delete", "secret", "x"))
    assert ran.log.endswith("done\n")


async def test_kubectl_fails_with_kubectl(bench: Bench) -> None:
    bench.fake("kubectl", status=3)

    assert (await bench.run("kubectl", command="apply -f x")).exit == 3


async def test_kubectl_without_a_command(bench: Bench) -> None:
    ran = await bench.run("kubectl")

    assert ran.message.startswith("command is missing")


def git(*args: str, cwd: Path) -> str:
    return subprocess.run(
        ["git", *args], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def remote(bench: Bench) -> Path:
    """A bare repository that the steps take for team/site on GitHub."""
    path = bench.box.root / "github/team/site.git"
    path.mkdir(parents=True)
    git("init", "-q", "--bare", ".", cwd=path)
    bench.env |= {
        "GITHUB_BASE_URL": f"file://{bench.box.root}/github",
        "WERCKER_GIT_DOMAIN": "github.com",
        "WERCKER_GIT_OWNER": "team",
        "WERCKER_GIT_REPOSITORY": "site",
        "WERCKER_GIT_BRANCH": "main",
        "WERCKER_STARTED_BY": "ada",
    }
    return path


def tree(remote: Path, branch: str) -> dict[str, str]:
    names = git("ls-tree", "-r", "--name-only", branch, cwd=remote).splitlines()
    return {name: git("show", f"{branch}:{name}", cwd=remote) for name in names}


async def test_gh_pages(bench: Bench, remote: Path) -> None:
    (bench.source / "public").mkdir()
    (bench.source / "public/index.html").write_text("hello\n")
    git("init", "-q", ".", cwd=bench.source)

    ran = await bench.run(
        "gh-pages", token="s3cret", basedir="public", domain="www.example.com", times=2
    )

    assert ran.exit == 0, ran.log
    assert tree(remote, "gh-pages") == {"CNAME": "www.example.com", "index.html": "hello"}
    assert git("log", "--format=%an %s", "gh-pages", cwd=remote) == "werckerbot deploy from ada"
    assert "s3cret" not in ran.log
    assert (bench.source / ".git").is_dir()


async def test_gh_pages_of_a_users_site_is_on_master(bench: Bench, remote: Path) -> None:
    other = remote.parent / "Team.github.io.git"
    remote.rename(other)

    ran = await bench.run("gh-pages", token="t", repo="team/Team.github.io")

    assert ran.exit == 0, ran.log
    assert tree(other, "master") == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "token is missing"),
        ({"token": "t", "basedir": "no"}, "basedir is no, and there is no such directory"),
        ({"token": "t", "repo": "no/such"}, "cannot push to gh-pages of no/such: "),
    ],
)
async def test_gh_pages_that_cannot_be_pushed(
    bench: Bench, remote: Path, options: dict[str, str], message: str
) -> None:
    ran = await bench.run("gh-pages", **options)

    assert ran.exit == 1
    assert ran.message.startswith(message)


async def test_a_password_for_git_comes_from_a_file_and_no_prompt_waits(bench: Bench) -> None:
    bench.env |= {
        "WERCKER_GIT_DOMAIN": "github.com",
        "WERCKER_GIT_OWNER": "o",
        "WERCKER_GIT_REPOSITORY": "r",
    }
    bench.fake(
        "git",
        code='for word in "$@"; do [ "$word" != push ] || { "$GIT_ASKPASS" Password; "$GIT_ASKPASS" Username; } '
        '>> "$HOME/asked"; done',
    )

    ran = await bench.run("gh-pages", token="s3cret")

    assert (bench.box.root / "home/asked").read_text() == "s3cretx-access-token"
    push = next(call for call in ran.calls if "push" in call.argv)
    assert push.env["GIT_TERMINAL_PROMPT"] == "0"
    assert not [call for call in ran.calls if any("s3cret" in word for word in call.argv)]
    assert push.argv[-2:] == ("https://github.com/o/r.git", "HEAD:refs/heads/gh-pages")


async def test_git_push_keeps_history_and_tags(bench: Bench, remote: Path) -> None:
    (bench.source / "package.json").write_text('{"version": "1.2.3"}')
    (bench.source / "a").write_text("one\n")

    first = await bench.run(
        "git-push", gh_oauth="t", branch="out", between="rm a; echo two > b", times=2
    )

    assert first.exit == 0, first.log
    assert set(tree(remote, "out")) == {"a", "b", "package.json"}
    assert git("rev-list", "--count", "out", cwd=remote) == "2"


async def test_git_push_into_a_directory_and_without_what_is_gone(
    bench: Bench, remote: Path
) -> None:
    (bench.source / "made").mkdir()
    (bench.source / "made/a").write_text("one\n")
    (bench.source / "package.json").write_text('{"version": "1.2.3"}')

    ran = await bench.run(
        "git-push",
        gh_oauth="t",
        basedir="made",
        destdir="docs",
        gh_pages="true",
        gh_pages_domain="x.example.com",
        clean_removed_files="true",
        between="rm made/a; echo two > made/b",
        times=2,
    )

    assert ran.exit == 0, ran.log
    assert tree(remote, "gh-pages") == {"CNAME": "x.example.com", "docs/b": "two"}


async def test_git_push_tags_the_version_and_pushes_nothing_twice(
    bench: Bench, remote: Path
) -> None:
    (bench.source / "package.json").write_text('{"version": "1.2.3"}')

    ran = await bench.run(
        "git-push", gh_oauth="t", tag="node", tag_overwrite="true", discard_history="false", times=2
    )

    assert ran.exit == 0, ran.log
    assert git("tag", cwd=remote) == "1.2.3"
    assert "nothing changed: nothing to push to main" in ran.log


async def test_git_push_without_a_way_to_log_in(bench: Bench, remote: Path) -> None:
    ran = await bench.run("git-push")

    assert ran.message.startswith("gh_oauth or host is missing")


async def test_heroku_deploy(bench: Bench, http: HttpStub) -> None:
    path = bench.box.root / "heroku/shop.git"
    path.mkdir(parents=True)
    git("init", "-q", "--bare", ".", cwd=path)
    bench.env |= {
        "HEROKU_GIT_URL": f"file://{path.parent}",
        "HEROKU_API_URL": http.url,
        "HEROKU_KEY": "s3cret",
        "HEROKU_APP_NAME": "shop",
    }
    (bench.source / "Procfile").write_text("web: ./run\n")

    ran = await bench.run("heroku-deploy", run='rake "db:migrate"', key_name="OLD")

    assert ran.exit == 0, ran.log
    assert tree(path, "master") == {"Procfile": "web: ./run"}
    (request,) = http.requests
    assert (request.method, request.path) == ("POST", "/apps/shop/dynos")
    assert request.headers["Authorization"] == "Bearer s3cret"
    assert json.loads(request.body) == {"command": 'rake "db:migrate"', "attach": False}
    assert "key-name is not used" in ran.log


async def test_heroku_deploy_tries_twice_and_fails(bench: Bench) -> None:
    bench.env |= {"HEROKU_GIT_URL": "file:///nonexistent", "HEROKU_RETRY_SECONDS": "0"}

    ran = await bench.run("heroku-deploy", app_name="shop", key="k")

    assert ran.exit == 1
    assert ran.message.startswith("cannot push to shop: ")
    assert ran.log.count("trying again") == 1


async def test_heroku_deploy_without_a_key(bench: Bench) -> None:
    ran = await bench.run("heroku-deploy", app_name="shop", key_name="OLD")

    assert ran.message.startswith("key is missing: write an API key, or set HEROKU_KEY")


LIST = (
    "<ListBucketResult><IsTruncated>false</IsTruncated>"
    "<Contents><Key>site/same.txt</Key><ETag>&quot;{same}&quot;</ETag><Size>5</Size></Contents>"
    "<Contents><Key>site/gone.txt</Key><ETag>x</ETag><Size>1</Size></Contents></ListBucketResult>"
)
SAME = "5d41402abc4b2a76b9719d911017c592"  # MD5 of "hello"


@pytest.fixture
def bucket(bench: Bench, http: HttpStub) -> HttpStub:
    (bench.source / "out").mkdir()
    (bench.source / "out/same.txt").write_text("hello")
    (bench.source / "out/new page.html").write_text("<p>")
    http.answer(LIST.format(same=SAME), "")
    bench.env["AWS_ENDPOINT_URL"] = http.url
    return http


KEYS = {
    "key_id": "AKID",
    "key_secret": "s3cret",
    "bucket_url": "s3://bucket/site",
    "source_dir": "out",
}


async def test_s3sync(bench: Bench, bucket: HttpStub) -> None:
    ran = await bench.run("s3sync", **KEYS)

    assert ran.exit == 0, ran.log
    assert ran.log == (
        "upload: new page.html\ndelete: gone.txt\n1 uploaded, 1 deleted, 1 unchanged\n"
    )
    listing, put, delete = bucket.requests
    assert listing.path == "/bucket?list-type=2&prefix=site%2F"
    assert (put.method, put.path, put.body) == ("PUT", "/bucket/site/new%20page.html", b"<p>")
    assert put.headers["X-Amz-Acl"] == "public-read"
    assert put.headers["Content-Type"].startswith("text/html")
    assert put.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert (delete.method, delete.path) == ("DELETE", "/bucket/site/gone.txt")


async def test_s3sync_with_options_of_s3cmd(bench: Bench, bucket: HttpStub) -> None:
    ran = await bench.run(
        "s3sync",
        **KEYS,
        delete_removed="false",
        opts="--acl-private --cache-control max-age=60 --add-header=X-A:b --exclude *.txt --verbose",
    )

    assert ran.exit == 0, ran.log
    _, put = bucket.requests
    assert put.headers["Cache-Control"] == "max-age=60"
    assert put.headers["X-A"] == "b"
    assert "X-Amz-Acl" not in put.headers


async def test_s3sync_dry(bench: Bench, bucket: HttpStub) -> None:
    ran = await bench.run("s3sync", **KEYS, opts="--dry-run")

    assert (ran.exit, len(bucket.requests)) == (0, 1)


async def test_s3sync_that_is_refused_fails(bench: Bench, http: HttpStub) -> None:
    bench.env["AWS_ENDPOINT_URL"] = http.url
    (bench.source / "out").mkdir()
    http.answer(
        "<Error><Code>AccessControlListNotSupported</Code><Message>no ACLs</Message></Error>",
        status=400,
    )

    ran = await bench.run("s3sync", **KEYS)

    assert ran.exit == 1
    assert (
        "HTTP 400 Bad Request AccessControlListNotSupported no ACLs. Buckets made since April 2023"
        in ran.message
    )
    assert "s3cret" not in ran.message + ran.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key_id": ""}, "key-id is missing"),
        (
            {"bucket_url": "http://b.s3-website.example.com"},
            "bucket-url is http://b.s3-website.example.com: write s3://",
        ),
        ({"opts": "--encrypt"}, "opts: --encrypt is not supported. There are "),
        ({"source_dir": "no"}, "source-dir is "),
    ],
)
async def test_s3sync_with_wrong_options(
    bench: Bench, options: dict[str, str], message: str
) -> None:
    (bench.source / "out").mkdir()

    ran = await bench.run("s3sync", **{**KEYS, **options})

    assert ran.exit == 1
    assert ran.message.startswith(message)
