"""Whom git trusts and what lets it in: asked of real servers, which note what they were sent."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from tests.lab.tls import Certificates
from tests.unit.source.gitserver import PASSWORD, TOKEN, USER, GitServer
from tests.unit.source.pod import Pod

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.source.access import KEYS, GitCredentials
from sentinel.source.failure import Deadline
from sentinel.source.git import Resolved, resolve
from sentinel.source.gitcommand import write_ca_file


def ask(url: str, tmp_path: Path, **options: Any) -> Resolved:
    options = {"ref": "main", "credentials": None, "paths": ["wercker.yml"]} | options
    return resolve(url=url, cache_dir=tmp_path / "cache", deadline=Deadline(150), **options)


@pytest.fixture
def secure(commits: dict[str, Any], certificates: Certificates) -> Iterator[GitServer]:
    """A server with a certificate of an authority that no system knows."""
    server = GitServer(commits["root"], tls=certificates)
    yield server
    server.stop()


def as_secret(credentials: GitCredentials) -> dict[str, str]:
    """A Secret's keys with these values."""
    return dict(zip(KEYS, astuple(credentials), strict=True))


def test_a_secret_is_read_and_given_on_key_by_key() -> None:
    data = {key: f"value of {key}" for key in KEYS}
    assert as_secret(GitCredentials.from_secret(data | {"other": "x"})) == data


# --- Certificates ---


@pytest.mark.parametrize("by", ["secret", "operator"])
def test_an_authority_of_ones_own_is_trusted_when_it_is_given(
    secure: GitServer, commits: dict[str, Any], certificates: Certificates, tmp_path: Path, by: str
) -> None:
    text = certificates.authority.read_text()
    found = ask(
        f"{secure.url}/open/project.git",
        tmp_path,
        credentials=GitCredentials(ca=text.replace("\n", "\r\n")) if by == "secret" else None,
        ca=text if by == "operator" else "",
    )
    assert found.commit == commits["second"]


def test_an_authority_that_nobody_gave_is_not_trusted_and_asked_once(
    secure: GitServer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"is not trusted: git: .*certificate") as caught:
        ask(f"{secure.url}/open/project.git", tmp_path)
    assert caught.value.reason is Reason.SOURCE_AUTH_FAILED
    assert (
        "put that authority's certificate (PEM) into `ca.crt` of the Secret" in caught.value.message
    )
    assert (secure.requests, secure.connections) == ([], 1)


def test_a_trusted_authority_does_not_vouch_for_another_name(
    secure: GitServer, certificates: Certificates, tmp_path: Path
) -> None:
    url = secure.url.replace("localhost", "127.0.0.1")
    with pytest.raises(UserError, match="is not trusted") as caught:
        ask(
            f"{url}/private/project.git",
            tmp_path,
            ca=certificates.authority.read_text(),
            credentials=GitCredentials(username=USER, password=PASSWORD),
        )
    assert caught.value.reason is Reason.SOURCE_AUTH_FAILED
    assert secure.requests == []


def test_an_invalid_ca_is_reported_before_any_request(secure: GitServer, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"secretRef: `ca\.crt` .* holds no certificate in PEM"
    ) as caught:
        ask(f"{secure.url}/open/project.git", tmp_path, credentials=GitCredentials(ca="hello"))
    assert caught.value.reason is Reason.SOURCE_AUTH_FAILED
    assert secure.connections == 0


def test_the_systems_own_authorities_stay_trusted(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.pem"
    system.write_text("-----BEGIN CERTIFICATE-----\nsystem\n")
    monkeypatch.delenv("GIT_SSL_CAINFO", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    text = certificates.authority.read_text()
    path = write_ca_file(str(tmp_path), text, "")
    assert Path(path).read_text() == f"-----BEGIN CERTIFICATE-----\nsystem\n{text}"
    assert write_ca_file(str(tmp_path), "", " \n") == ""


@pytest.mark.parametrize("by", ["secret", "operator"])
def test_the_pod_trusts_the_same(
    pod: Pod, secure: GitServer, commits: dict[str, Any], certificates: Certificates, by: str
) -> None:
    text = certificates.authority.read_text()
    more = {"ca": text} if by == "operator" else {"secretDir": pod.secret({"ca.crt": text})}
    done = pod.fetch(f"{secure.url}/open/project.git", commits["second"], **more)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_pod_does_not_trust_others_and_asks_once(
    pod: Pod, secure: GitServer, commits: dict[str, Any]
) -> None:
    done = pod.fetch(f"{secure.url}/open/project.git", commits["second"])
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceAuthFailed")
    assert (secure.requests, secure.connections) == ([], 1)


# --- Passwords and tokens ---


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def test_a_password_alone_goes_with_a_name_that_servers_ignore(
    server: GitServer, tmp_path: Path
) -> None:
    with pytest.raises(UserError):  # our test server does not ignore it
        ask(
            f"{server.url}/private/project.git",
            tmp_path,
            credentials=GitCredentials(password=PASSWORD),
        )
    assert {sent for _, sent in server.requests} == {"", basic("git", PASSWORD)}


def test_a_token_is_a_bearer_token(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    url = f"{server.url}/bearer/project.git"
    found = ask(url, tmp_path, credentials=GitCredentials(token=TOKEN + "\n"))
    assert found.commit == commits["second"]
    assert {sent for _, sent in server.requests} == {f"Bearer {TOKEN}"}


def test_the_pod_uses_the_token_and_leaves_no_trace_of_it(
    pod: Pod, server: GitServer, commits: dict[str, Any]
) -> None:
    done = pod.fetch(
        f"{server.url}/bearer/project.git",
        commits["second"],
        secretDir=pod.secret({"token": TOKEN + "\n"}),
    )
    assert done.returncode == 0, done.stderr
    for path in pod.path.joinpath("mnt").rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes()


def test_a_token_that_no_header_can_hold_is_refused(server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`token` of the Secret is not valid") as caught:
        ask(
            f"{server.url}/bearer/project.git",
            tmp_path,
            credentials=GitCredentials(token="secret\r\nX-Other: 1"),
        )
    assert caught.value.reason is Reason.SOURCE_AUTH_FAILED
    assert "secret\r" not in caught.value.message
    assert server.requests == []


# --- Redirects to another host ---


@pytest.mark.parametrize(
    "credentials", [GitCredentials(username=USER, password=PASSWORD), GitCredentials(token=TOKEN)]
)
@pytest.mark.parametrize("kind", ["private", "bearer", "open"])
def test_no_credential_follows_a_redirect(
    server: GitServer, other: GitServer, tmp_path: Path, credentials: GitCredentials, kind: str
) -> None:
    server.redirect_to = f"{other.url}/{kind}"
    url = f"{server.url}/moved/project.git"
    if kind == "open" and credentials.password:
        ask(url, tmp_path, credentials=credentials)
    else:
        with pytest.raises(UserError):
            ask(url, tmp_path, credentials=credentials)
    assert [sent for _, sent in other.requests if sent] == []
    assert bool(other.requests) == bool(credentials.password), "a token follows no redirect at all"


def test_no_credential_of_the_pods_follows_a_redirect(
    pod: Pod, server: GitServer, other: GitServer, commits: dict[str, Any]
) -> None:
    server.redirect_to = f"{other.url}/private"
    url = f"{server.url}/moved/project.git"
    secret = pod.secret({"username": USER, "password": PASSWORD})
    done = pod.fetch(url, commits["second"], secretDir=secret)
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceAuthFailed")
    assert {sent for _, sent in other.requests} == {""}


def test_a_token_on_a_server_that_moved_says_where_to_look(
    server: GitServer, other: GitServer, tmp_path: Path
) -> None:
    server.redirect_to = f"{other.url}/open"
    with pytest.raises(UserError, match="Give the URL that it leads to") as caught:
        ask(f"{server.url}/moved/project.git", tmp_path, credentials=GitCredentials(token=TOKEN))
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert len(server.requests) == 1


@pytest.mark.parametrize("target", ["file:///etc", "ftp://127.0.0.1:1", "ext::sh -c id %S "])
def test_a_redirect_to_another_protocol_leads_nowhere(
    server: GitServer, tmp_path: Path, target: str
) -> None:
    server.redirect_to = target
    with pytest.raises(UserError) as caught:
        ask(f"{server.url}/moved/project.git", tmp_path)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert len(server.requests) == 2, "git's own, and one to see where it leads"


# --- How often ---


@pytest.mark.parametrize(
    ("path", "credentials", "times"),
    [
        ("open/nothing.git", None, 1),
        ("private/project.git", None, 1),
        ("private/project.git", GitCredentials(username=USER, password="wrong-one"), 2),
        ("bearer/project.git", GitCredentials(token="wrong-one"), 1),
        ("forbidden/project.git", GitCredentials(username=USER, password=PASSWORD), 1),
    ],
)
def test_a_server_that_says_no_is_not_asked_again(
    server: GitServer,
    commits: dict[str, Any],
    pod: Pod,
    path: str,
    credentials: GitCredentials | None,
    times: int,
) -> None:
    """Twice where git first asks without the password, as it does unless it knows that one is wanted."""
    url = f"{server.url}/{path}"
    with pytest.raises(UserError) as caught:
        ask(url, pod.path, credentials=credentials)
    assert len(server.requests) == times
    server.requests.clear()
    secret = pod.secret(as_secret(credentials)) if credentials else ""
    done = pod.fetch(url, commits["second"], secretDir=secret)
    assert (done.returncode, pod.said()["reason"]) == (1, caught.value.reason)
    assert len(server.requests) == times
