"""Where connections go: to checked addresses only, at every hop, for every client; and what is reported of them."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.archives import Made, tar
from tests.unit.source.gitserver import GitServer
from tests.unit.source.pod import Pod
from tests.unit.source.webserver import WebServer, body, redirect

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.network import Policy
from sentinel.settings import StepSettings
from sentinel.source import archive, http
from sentinel.source.access import GitCredentials
from sentinel.source.address import parse_address
from sentinel.source.archive import inspect
from sentinel.source.failure import Deadline
from sentinel.source.git import Resolved, resolve
from sentinel.source.gitcommand import environment
from sentinel.steps import WantedStep, step_source

TWO = Policy.make(allowed=["127.0.0.2/32"])
"""Of the tests' servers only those on 127.0.0.2 may be reached."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Name servers that know these names with these addresses, one answer after the other; the last one stays."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        known = answers.get(str(host))
        if known is None:
            return real(host, port, *args, **more)
        address = known.pop(0) if len(known) > 1 else known[0]
        return real(address, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


def ask(url: str, tmp_path: Path, policy: Policy, **more: Any) -> Resolved:
    options = {"credentials": None, "ref": "main", "paths": ["wercker.yml"]} | more
    return resolve(
        url=url,
        cache_dir=tmp_path / "cache",
        policy=policy,
        deadline=Deadline(150),
        **options,
    )


def test_git_is_not_run_for_an_address_that_is_refused(
    server: GitServer, tmp_path: Path, named: dict[str, list[str]]
) -> None:
    named["git.example"] = ["127.0.0.1"]
    port = server.server_address[1]
    for host in ("127.0.0.1", "git.example", "localhost", "127.1", "2130706433"):
        with pytest.raises(
            UserError, match="loopback address, which builds may not reach"
        ) as caught:
            ask(f"http://{host}:{port}/open/project.git", tmp_path, TWO)
        assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    for url in ("ssh://git@git.example/p.git", "git://git.example/p.git", "git@git.example:p.git"):
        with pytest.raises(UserError, match="loopback address"):
            ask(url, tmp_path, TWO)
    assert server.connections == 0


def test_git_connects_to_the_address_that_was_checked(
    other: GitServer,
    server: GitServer,
    commits: dict[str, Any],
    tmp_path: Path,
    named: dict[str, list[str]],
) -> None:
    """A name server that answers differently the second time changes nothing, and git asks none."""
    named["git.example"] = ["127.0.0.2", "127.0.0.1"]
    url = f"http://git.example:{other.server_address[1]}/open/project.git"
    found = ask(url, tmp_path, TWO)
    assert (found.commit, server.connections) == (commits["second"], 0)
    assert other.requests


def test_a_redirect_of_git_leads_to_no_refused_address(
    other: GitServer, server: GitServer, commits: dict[str, Any], tmp_path: Path, pod: Pod
) -> None:
    other.redirect_to = f"{server.url}/open"
    url = f"{other.url}/moved/project.git"
    with pytest.raises(UserError, match="loopback address") as caught:
        ask(url, tmp_path, TWO)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    done = pod.fetch(url, commits["second"], network=TWO.to_json())
    assert (done.returncode, pod.said()["reason"]) == (1, "SourceNotFound")
    assert server.connections == 0


def test_a_redirect_of_git_to_another_allowed_server_is_followed(
    other: GitServer, server: GitServer, commits: dict[str, Any], tmp_path: Path, pod: Pod
) -> None:
    server.redirect_to = f"{other.url}/open"
    url = f"{server.url}/moved/project.git"
    both = Policy.make(allowed=["127.0.0.0/30"])
    for ref in ("main", ""):
        assert (ask(url, tmp_path, both, ref=ref)).commit == commits["second"]
    done = pod.fetch(url, commits["second"], network=both.to_json())
    assert done.returncode == 0, done.stderr
    assert pod.git("remote", "get-url", "origin") == url


def test_ssh_gets_the_address_and_the_name_of_the_host_key() -> None:
    for url, alias in (
        ("git@git.example:p.git", "git.example"),
        ("ssh://git@git.example:2222/p.git", "[git.example]:2222"),
    ):
        env = environment(address=parse_address(url), pinned=["192.0.2.7"], inherited={})
        assert "-o 'HostName=192.0.2.7'" in env["GIT_SSH_COMMAND"]
        assert f"-o 'HostKeyAlias={alias}'" in env["GIT_SSH_COMMAND"]


def test_the_git_protocol_goes_to_the_address_and_names_the_host() -> None:
    address = parse_address("git://git.example/o/p.git")
    env = environment(address=address, pinned=["2001:db8::7"], inherited={})
    settings = {
        env[f"GIT_CONFIG_KEY_{i}"]: env[f"GIT_CONFIG_VALUE_{i}"]
        for i in range(int(env["GIT_CONFIG_COUNT"]))
    }
    assert settings["url.git://[2001:db8::7]:9418/o/p.git.insteadOf"] == address.url
    assert env["GIT_OVERRIDE_VIRTUAL_HOST"] == "git.example"


def test_behind_a_proxy_literals_are_still_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="link-local address"):
        ask("http://169.254.169.254/p.git", tmp_path, TWO)
    with pytest.raises(SentinelError, match="link-local address"):
        look("http://169.254.169.254/p.tar", tmp_path, TWO)
    # The proxy resolves names itself.
    with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1 port 1"):
        ask("http://git.example/p.git", tmp_path, TWO)


def look(url: str, tmp_path: Path, policy: Policy, **more: Any) -> archive.Inspected:
    options = {"sha256": "", "credentials": None, "paths": ()} | more
    return inspect(
        url=url,
        cache_dir=tmp_path / "cache",
        policy=policy,
        deadline=Deadline(150),
        **options,
    )


def test_an_archive_comes_from_no_refused_address(
    web: WebServer, tmp_path: Path, named: dict[str, list[str]]
) -> None:
    named["files.example"] = ["127.0.0.1"]
    web.answers["/a"] = body(tar(Made(name="a")))
    for host in ("127.0.0.1", "files.example"):
        with pytest.raises(UserError, match="builds may not reach") as caught:
            look(f"http://{host}:{web.port}/a", tmp_path, TWO)
        assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert web.asked == []


def test_a_redirect_of_an_archive_leads_to_no_refused_address(
    web: WebServer, tmp_path: Path, named: dict[str, list[str]]
) -> None:
    """The first answer for the name is allowed; the redirect's is another."""
    named["files.example"] = ["127.0.0.1"]
    named["metadata.example"] = ["169.254.169.254"]
    web.answers["/a"] = redirect("http://metadata.example/latest?x=1")
    with pytest.raises(UserError, match="link-local address") as caught:
        look(f"http://files.example:{web.port}/a", tmp_path, Policy.make(allowed=["127.0.0.1"]))
    assert len(web.asked) == 1
    assert "x=1" not in caught.value.message


async def test_a_step_by_url_comes_from_no_refused_address_though_the_registry_may(
    web: WebServer, tmp_path: Path
) -> None:
    chosen = StepSettings(registry="http://10.96.0.77:1", allow_url=True)
    policy = Policy.make(denied=["10.96.0.0/12"])
    steps = step_source(chosen, cache_dir=tmp_path, pause=0.001, policy=policy)
    url = f"{web.url}/step.tgz"
    with pytest.raises(UserError, match="builds may not reach") as caught:
        await steps.find(WantedStep(owner="o", name="n", url=url))
    assert caught.value.reason is Reason.STEP_INVALID
    for url in ("http://10.96.0.78/x", "http://10.96.0.1/x"):
        with pytest.raises(UserError, match="an address of the cluster itself"):
            await steps.find(WantedStep(owner="o", name="n", url=url))
    assert web.asked == []


# --- What a server sends stays out of messages ---


def test_no_page_of_a_server_is_quoted(web: WebServer, tmp_path: Path) -> None:
    page = b"internal page: token=abcdef"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(404, "Not abcdef")
        handler.send_header("Content-Type", "text/plain; charset=utf-8")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    web.answers["/p/info/refs?service=git-upload-pack"] = answer
    web.answers["/a"] = answer
    loopback = Policy.make(allowed=["127.0.0.0/8"])
    with pytest.raises(UserError) as caught:
        ask(f"{web.url}/p", tmp_path, loopback)
    assert "abcdef" not in caught.value.message
    with pytest.raises(UserError) as caught:
        look(f"{web.url}/a", tmp_path, loopback)
    assert "abcdef" not in caught.value.message
    web.answers["/a"] = body(page)
    for sha256 in ("0" * 64, ""):
        with pytest.raises(UserError) as caught:
            look(f"{web.url}/a", tmp_path, loopback, sha256=sha256)
        assert "abcdef" not in caught.value.message
        assert hashlib.sha256(page).hexdigest() not in caught.value.message


def test_an_archive_s_login_is_not_sent_by_plain_http_unless_a_setting_allows_it(
    web: WebServer, tmp_path: Path
) -> None:
    web.answers["/a"] = body(tar(Made(name="a")))
    given = GitCredentials(token="t0ken")
    loopback = Policy.make(allowed=["127.0.0.0/8"])
    with pytest.raises(UserError, match=r"network\.plainHttp") as caught:
        look(f"{web.url}/a", tmp_path, loopback, credentials=given)
    assert caught.value.reason is Reason.INVALID_SPEC
    with pytest.raises(UserError, match=r"spec\.source\.archive\.url holds a user name"):
        look(web.url.replace("://", "://t0ken@") + "/a", tmp_path, loopback)
    assert web.asked == []
    allowed = Policy.make(allowed=["127.0.0.0/8"], plain_http=[f"127.0.0.1:{web.port}"])
    look(f"{web.url}/a", tmp_path, allowed, credentials=given)
    assert web.asked == [("/a", "Bearer t0ken")]


def test_an_ssh_key_is_not_a_login_for_plain_http(
    server: GitServer, commits: dict[str, Any], tmp_path: Path
) -> None:
    found = ask(
        f"{server.url}/open/project.git",
        tmp_path,
        Policy.make(allowed=["127.0.0.0/8"]),
        credentials=GitCredentials(known_hosts="git.example ssh-ed25519 AAAA"),
    )
    assert found.commit == commits["second"]


# --- Servers that trickle ---


def _serve(trickle: Callable[[socket.socket], None]) -> str:
    """The URL of a server that reads a request and then does that until the client hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            connection.recv(4096)
            try:
                trickle(connection)
                while connection.send(b"x"):
                    time.sleep(0.05)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/a"


TRICKLES = {
    "head": b"HTTP/1.1 200 OK\r\n",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("kind", TRICKLES)
def test_a_server_that_trickles_ends_with_the_deadline(kind: str) -> None:
    url = _serve(lambda connection: connection.sendall(TRICKLES[kind]))
    with pytest.raises(http.HttpError, match="did not finish in time"):
        http.Client().get(url, io.BytesIO(), limit=1 << 20, deadline=Deadline(0.5))


@pytest.mark.parametrize("kind", TRICKLES)
def test_a_server_that_is_slower_than_the_minimum_is_cut_off(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SILENCE", 0.5)
    url = _serve(lambda connection: connection.sendall(TRICKLES[kind]))
    # A busy machine may make it wholly silent.
    with pytest.raises(http.HttpError, match=r"sends less than 64 KiB|sent nothing for"):
        http.Client().get(url, io.BytesIO(), limit=1 << 20, deadline=Deadline(150))
