"""Projects behind https with an authority of its own, behind a real sshd, with submodules, and at every kind of ref."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import Builds
from tests.cluster.test_bad_input import message, verdict
from tests.install import install
from tests.lab import git, services
from tests.lab.shell import run
from tests.lab.sshserver import SHORT_PORT
from tests.lab.state import GIT_SSH_PORT, Lab, locked

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.source.failure import Deadline
from sentinel.source.git import GitCredentials, Resolved, resolve

SCRIPT = """\
box: {box}
build:
  steps:
    - script:
        name: look
        code: |
          echo "branch=[$WERCKER_GIT_BRANCH] tag=[$WERCKER_GIT_TAG] commit=$WERCKER_GIT_COMMIT"
          cat lib/*.txt || true
"""


@pytest.fixture(scope="session")
def servers(lab: Lab) -> Lab:
    """A lab with all of its git servers; one that an older checkout brought up may lack some."""
    with locked():
        services.start(lab.gateway)
    return lab


@dataclass(frozen=True)
class Project:
    """A repository on all of the lab's git servers. `path` is the one that each url ends in."""

    lab: Lab
    name: str
    commit: str
    private: bool

    @property
    def path(self) -> str:
        return f"{'private' if self.private else 'public'}/{self.name}.git"

    @property
    def bare(self) -> Path:
        return git.path(self.lab, self.name, private=self.private)


def publish(
    lab: Lab,
    files: Mapping[str, str],
    *,
    private: bool = False,
    links: Mapping[str, str] | None = None,
) -> Project:
    name = f"g{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            (Path(folder) / path).write_text(text)
        git.publish(lab, Path(folder), name, private=private, links=links or {})
    return Project(lab, name, git.commit_of(lab, name, private=private), private)


@pytest.fixture
def hidden(servers: Lab) -> Project:
    """A project that nobody reads without a credential."""
    return publish(
        servers,
        {"wercker.yml": SCRIPT.format(box=f"{servers.registry}/box/debian:12")},
        private=True,
    )


def ssh_secret(*, key: Path | None = None, known_hosts: str | None = None) -> dict[str, str]:
    line = services.SSH.known_host(services.GIT_NAME, GIT_SSH_PORT)
    return {
        "ssh-privatekey": (key or services.SSH.client_key).read_text(),
        "known_hosts": line if known_hosts is None else known_hosts,
    }


# --- ssh, asked from this machine ---


def ask(url: str, secret: Mapping[str, str], tmp_path: Path) -> Resolved:
    return resolve(
        url=url,
        ref="main",
        credentials=GitCredentials.from_secret(secret),
        paths=[],
        cache_dir=tmp_path / "cache",
        deadline=Deadline(60),
    )


def test_ssh_lets_the_key_in_where_the_host_is_known(hidden: Project, tmp_path: Path) -> None:
    found = ask(f"{services.GIT_SSH_URL}/{hidden.path}", ssh_secret(), tmp_path)
    assert (found.commit, found.branch, found.subject) == (hidden.commit, "main", "Publish")


@pytest.mark.parametrize("form", ["short", "bracketed"])
def test_the_short_form_of_an_ssh_url(hidden: Project, tmp_path: Path, form: str) -> None:
    """git@host:path can name no port; where the machine's own sshd has port 22, git's longer form stands for both."""
    name = services.GIT_NAME
    short = form == "short" and services.SSH.serves_short()
    port = SHORT_PORT if short else GIT_SSH_PORT
    host = f"git@{name}" if short else f"[git@{name}:{port}]"
    secret = ssh_secret(known_hosts=services.SSH.known_host(name, port))
    found = ask(f"{host}:{hidden.path}", secret, tmp_path)
    assert found.commit == hidden.commit


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"known_hosts": ""},
            r"the host key of git\.lab:2222 is not in known_hosts: .* Put the server's line into "
            r"`known_hosts` of the Secret .*`ssh-keyscan -p 2222 git\.lab` prints it",
        ),
        (
            {"known_hosts": "other.example ssh-ed25519 AAAA\n"},
            r"the host key of git\.lab:2222 is not in known_hosts",
        ),
        (
            {"known_hosts": "STRANGE"},
            r"does not match known_hosts: .*SHA256:.* put its line into `known_hosts`",
        ),
        (
            {"ssh-privatekey": "STRANGE"},
            r"Permission denied \(publickey\)\. Correct `ssh-privatekey` in the Secret",
        ),
        (
            {"ssh-privatekey": ""},
            r"Permission denied \(publickey\)\. Name a Secret with `ssh-privatekey`",
        ),
        ({"ssh-privatekey": "no key\n"}, "`ssh-privatekey` of the Secret is not a private key"),
    ],
)
def test_ssh_says_what_to_put_into_the_secret(
    hidden: Project, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    strange = {
        "known_hosts": services.SSH.strange_host(services.GIT_NAME, GIT_SSH_PORT),
        "ssh-privatekey": services.SSH.strange_key.read_text(),
    }
    secret = ssh_secret() | {
        key: strange[key] if value == "STRANGE" else value for key, value in change.items()
    }
    with pytest.raises(UserError, match=words) as caught:
        ask(f"{services.GIT_SSH_URL}/{hidden.path}", secret, tmp_path)
    assert caught.value.reason is Reason.SOURCE_AUTH_FAILED
    assert str(tmp_path) not in caught.value.message


def test_a_repository_that_is_not_behind_ssh(hidden: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.git is not a repository") as caught:
        ask(f"{services.GIT_SSH_URL}/private/nothing.git", ssh_secret(), tmp_path)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


# --- Builds ---


def test_a_build_from_a_private_repository_behind_ssh(builds: Builds, hidden: Project) -> None:
    builds.secret("git", type_="kubernetes.io/ssh-auth", **ssh_secret())
    url = f"{services.GIT_SSH_URL}/{hidden.path}"
    raw = builds.run(url=url, git={"secretRef": {"name": "git"}})
    assert verdict(raw) == ("Succeeded", "Passed"), message(raw)
    assert raw["status"]["source"] == {
        "url": url,
        "commit": hidden.commit,
        "shortCommit": hidden.commit[:7],
        "branch": "main",
        "subject": "Publish",
    }
    assert f"branch=[main] tag=[] commit={hidden.commit}" in builds.log(raw, "look")


def test_a_build_does_not_talk_to_a_host_with_another_key(builds: Builds, hidden: Project) -> None:
    strange = services.SSH.strange_host(services.GIT_NAME, GIT_SSH_PORT)
    builds.secret("git", **ssh_secret(known_hosts=strange))
    url = f"{services.GIT_SSH_URL}/{hidden.path}"
    raw = builds.run(url=url, git={"secretRef": {"name": "git"}})
    assert verdict(raw) == ("Failed", "SourceAuthFailed")
    assert "the host key of git.lab:2222 does not match known_hosts" in message(raw)
    assert builds.pods("b") == []


def test_a_build_trusts_the_authority_in_its_secret(builds: Builds, hidden: Project) -> None:
    login = {"username": builds.lab.git_user, "password": builds.lab.git_password}
    builds.secret("git", **login, **{"ca.crt": services.authority()})
    url = f"{services.GIT_TLS_URL}/{hidden.path}"
    raw = builds.run(url=url, git={"secretRef": {"name": "git"}})
    assert verdict(raw) == ("Succeeded", "Passed"), message(raw)
    assert f"commit={hidden.commit}" in builds.log(raw, "look")


def test_a_build_trusts_no_authority_that_is_not_configured(
    builds: Builds, hidden: Project
) -> None:
    raw = builds.run(url=f"{services.GIT_TLS_URL}/{hidden.path}")
    assert verdict(raw) == ("Failed", "SourceAuthFailed")
    assert "the certificate of git.lab:3443 is not trusted" in message(raw)
    assert "`ca.crt` of the Secret" in message(raw)


@pytest.fixture
def with_submodules(servers: Lab) -> Project:
    """A project whose main has no lib; pull request 7 and tag v1.0 bring it, as a submodule with a submodule in it."""
    deep = publish(servers, {"deep.txt": "from the deep\n"})
    lib = publish(
        servers,
        {"lib.txt": "from the lib\n", ".gitmodules": _module("deep", f"../{deep.name}.git")},
        links={"deep": deep.commit},
    )
    # Its commit is not the tip of anything when the build begins.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "newer.txt").write_text("newer\n")
        git.publish(servers, Path(folder), lib.name)
    yml = SCRIPT.format(box=f"{servers.registry}/box/debian:12").replace(
        "lib/*.txt", "lib/*.txt lib/deep/*.txt"
    )
    modules = _module("lib", f"{services.GIT_TLS_URL}/{lib.path}")
    return publish(servers, {"wercker.yml": yml, ".gitmodules": modules}, links={"lib": lib.commit})


def _module(path: str, url: str) -> str:
    return f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'


@pytest.mark.parametrize(
    ("ref", "source"),
    [
        ("pull/7/head", {}),
        ("refs/pull/7/head", {}),
        ("v1.0", {"tag": "v1.0"}),
        ("commit", {}),
    ],
)
def test_a_build_with_submodules_at_a_ref_that_is_not_a_branch(
    builds: Builds, with_submodules: Project, ref: str, source: dict[str, str]
) -> None:
    project = with_submodules
    run("git", "-C", project.bare, "update-ref", "refs/pull/7/head", project.commit)
    tag = ("tag", "-a", "v1.0", "-m", "annotated", project.commit)
    run("git", "-C", project.bare, *tag, env=git.IDENTITY)
    builds.secret("git", **{"ca.crt": services.authority()})
    url = f"{services.GIT_TLS_URL}/{project.path}"
    raw = builds.run(
        url=url,
        ref=project.commit if ref == "commit" else ref,
        git={"secretRef": {"name": "git"}, "submodules": True},
    )
    assert verdict(raw) == ("Succeeded", "Passed"), message(raw)
    assert raw["status"]["source"] == {
        "url": url,
        "commit": project.commit,
        "shortCommit": project.commit[:7],
        "subject": "Publish",
        **source,
    }
    log = builds.log(raw, "look")
    assert f"branch=[] tag=[{source.get('tag', '')}] commit={project.commit}" in log
    assert "from the lib\nfrom the deep\n" in log


def test_a_submodule_that_would_run_a_command_fails_the_build(builds: Builds, servers: Lab) -> None:
    project = publish(
        servers,
        {
            "wercker.yml": SCRIPT.format(box=f"{servers.registry}/box/debian:12"),
            ".gitmodules": _module("lib", "ext::sh -c id"),
        },
        links={"lib": "1" * 40},
    )
    raw = builds.run(url=f"{servers.git_url}/{project.path}", git={"submodules": True})
    assert verdict(raw) == ("Failed", "SourceInvalid")
    assert "submodule 'lib'" in message(raw)
    assert "ext::sh" in message(raw)


CLEAN = """\
box: {box}
build:
  steps:
    - script:
        name: look
        code: |
          if git diff-index --quiet HEAD --; then echo quiet; else echo dirty; fi
          echo "branch=[$WERCKER_GIT_BRANCH] tag=[$WERCKER_GIT_TAG] status=[$(git status --porcelain)]"
"""


@pytest.mark.parametrize("user", [{}, {"runAsUser": 1000, "runAsGroup": 1000}])
def test_the_checkout_in_the_box_is_clean_and_its_branch_may_have_a_plus(
    builds: Builds, servers: Lab, user: dict[str, int]
) -> None:
    project = publish(
        servers, {"wercker.yml": CLEAN.format(box=f"{servers.registry}/box/debian:12")}
    )
    run("git", "-C", project.bare, "branch", "-m", "main", "main+next")
    raw = builds.run(
        url=f"{servers.git_url}/{project.path}",
        pod={"box": {"securityContext": user}} if user else {},
        image={"commit": "never"},
    )
    assert verdict(raw) == ("Succeeded", "Passed"), message(raw)
    assert "quiet\nbranch=[main+next] tag=[] status=[]\n" in builds.log(raw, "look")


@pytest.mark.parametrize(
    "url",
    [
        "http://kubernetes.default.svc/x.git",
        "http://169.254.169.254/x.git",
        "git://localhost/x.git",
        "ssh://git@10.96.0.10/x.git",
    ],
)
def test_a_build_does_not_reach_the_cluster_through_the_operator(builds: Builds, url: str) -> None:
    raw = builds.run(url=url)
    assert verdict(raw) == ("Failed", "SourceNotFound")
    assert "which builds may not reach" in message(raw)
    assert builds.pods("b") == []


@pytest.fixture
def trusting(builds: Builds, tmp_path: Path) -> Builds:
    """An operator that trusts the lab's authority."""
    file = tmp_path / "ca.pem"
    file.write_text(services.authority())
    install(builds.lab, quiet=True, files={"source.ca": file})
    return builds


def test_every_build_trusts_the_authority_in_the_operators_settings(
    trusting: Builds, servers: Lab
) -> None:
    box = f"{servers.registry}/box/debian:12"
    project = publish(servers, {"wercker.yml": SCRIPT.format(box=box)})
    raw: dict[str, Any] = trusting.run(url=f"{services.GIT_TLS_URL}/{project.path}")
    assert verdict(raw) == ("Succeeded", "Passed"), message(raw)
    assert f"commit={project.commit}" in trusting.log(raw, "look")
