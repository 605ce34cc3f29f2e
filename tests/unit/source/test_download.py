"""Downloading archives from real servers on the loopback: credentials, redirects, bounds, and whose fault it is."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.webserver import WebServer, body, in_order, redirect, status

from sentinel.errors import SentinelError
from sentinel.source import http as module
from sentinel.source.download import download as _download
from sentinel.source.failure import CalledOff, Deadline
from sentinel.source.http import WebLogin

BODY = b"the archive's bytes" * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()
BASIC = WebLogin(username="somebody\n", password="secret-password\n")
BEARER = WebLogin(token="secret-token\n")


@pytest.fixture
def server() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "archive")


def download(url: str, path: str, *, timeout: float = 150, **more: Any) -> str:
    return _download(url, path, deadline=Deadline(timeout), **more)


def refused(url: str, path: str, **more: Any) -> tuple[str, str]:
    with pytest.raises(SentinelError) as caught:
        download(url, path, **{"login": WebLogin(), **more})
    assert "secret" not in caught.value.message.replace("secretRef", "")
    return str(caught.value.reason), caught.value.message


def test_the_bytes_and_their_digest(server: WebServer, path: str) -> None:
    server.answers["/p%20q/%C3%BC.tar.gz?a=b&c=%2F"] = body(BODY)
    url = f"{server.url}/p%20q/ü.tar.gz?a=b&c=%2F"
    assert download(url, path, login=WebLogin(), sha256=DIGEST) == DIGEST
    assert Path(path).read_bytes() == BODY
    assert server.asked == [("/p%20q/%C3%BC.tar.gz?a=b&c=%2F", None)]


@pytest.mark.parametrize(
    ("login", "sent"),
    [
        (BASIC, "Basic " + base64.b64encode(b"somebody:secret-password").decode()),
        (WebLogin(password="secret"), "Basic " + base64.b64encode(b"git:secret").decode()),
        (BEARER, "Bearer secret-token"),
    ],
)
def test_credentials_are_sent_at_once(
    server: WebServer, path: str, login: WebLogin, sent: str
) -> None:
    server.answers["/a"] = body(BODY)
    download(f"{server.url}/a", path, login=login)
    assert server.asked == [("/a", sent)]


def test_credentials_of_the_url_are_taken_out_of_it(server: WebServer, path: str) -> None:
    server.answers["/a"] = body(BODY)
    download(server.url.replace("://", "://u:secret@") + "/a", path, login=WebLogin())
    assert server.asked == [("/a", "Basic " + base64.b64encode(b"u:secret").decode())]


@pytest.mark.parametrize("login", [BASIC, BEARER])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_credentials_go_to_another_host(
    server: WebServer, other: WebServer, path: str, login: WebLogin, code: int
) -> None:
    server.answers["/a"] = redirect(f"{other.url}/there?signature=secret", code)
    other.answers["/there?signature=secret"] = body(BODY)
    assert download(f"{server.url}/a", path, login=login) == DIGEST
    assert server.asked == [("/a", login.header)]
    assert other.asked == [("/there?signature=secret", None)]


def test_nor_by_way_of_a_third_that_sends_us_back_out(
    server: WebServer, other: WebServer, path: str
) -> None:
    server.answers |= {"/a": redirect("/b"), "/b": redirect(f"{other.url}/c")}
    other.answers |= {"/c": redirect("/d"), "/d": body(BODY)}
    download(f"{server.url}/a", path, login=BEARER)
    assert server.asked == [("/a", BEARER.header), ("/b", BEARER.header)]
    assert other.asked == [("/c", None), ("/d", None)]


def test_the_same_machine_by_another_name_is_another_host(server: WebServer, path: str) -> None:
    server.answers |= {"/a": redirect(f"http://localhost:{server.port}/b"), "/b": body(BODY)}
    download(f"{server.url}/a", path, login=BEARER)
    assert server.asked == [("/a", BEARER.header), ("/b", None)]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://h/x", "data:,x", "gopher://h/"])
def test_no_redirect_leaves_http(server: WebServer, path: str, to: str) -> None:
    server.answers["/a"] = redirect(to)
    reason, message = refused(f"{server.url}/a", path)
    assert reason == "SourceNotFound"
    assert "redirects to" in message
    assert "http" in message


def test_redirects_in_circles_end(server: WebServer, path: str) -> None:
    server.answers["/a"] = redirect("/a")
    reason, _ = refused(f"{server.url}/a", path)
    assert reason == "SourceNotFound"
    assert len(server.asked) <= module.MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "begins with https:// or http://"),
        ("ssh://h/x", "begins with https:// or http://"),
        ("/etc/passwd", "begins with https:// or http://"),
        ("http://", "names no host"),
        ("http://h/a b", "holds spaces"),
        ("ext::sh -c touch% /tmp/x", "begins with https:// or http://"),
    ],
)
def test_other_addresses_are_refused(path: str, url: str, words: str) -> None:
    reason, message = refused(url, path)
    assert reason == "SourceNotFound"
    assert message.startswith("spec.source.archive.url: ")
    assert words in message


def test_files_are_taken_where_that_is_allowed(tmp_path: Path, path: str) -> None:
    (tmp_path / "some file.tar").write_bytes(BODY)
    url = f"file://{tmp_path}/some%20file.tar"
    assert download(url, path, login=WebLogin(), allow_file=True) == DIGEST
    assert refused(f"file://{tmp_path}/none", path, allow_file=True)[0] == "SourceNotFound"


@pytest.mark.parametrize(
    ("code", "login", "reason", "words"),
    [
        (401, WebLogin(), "SourceAuthFailed", "Name a Secret"),
        (403, BEARER, "SourceAuthFailed", "Correct the Secret"),
        (404, WebLogin(), "SourceNotFound", "answers 404 Not Found. Check spec.source.archive.url"),
        (410, WebLogin(), "SourceNotFound", "410"),
        (400, WebLogin(), "SourceNotFound", "400"),
    ],
)
def test_what_the_server_refuses_is_not_tried_again(
    server: WebServer, path: str, code: int, login: WebLogin, reason: str, words: str
) -> None:
    server.answers["/a?signature=secret"] = status(code)
    said, message = refused(f"{server.url}/a?signature=secret", path, login=login)
    assert said == reason
    assert words in message
    assert f"{server.url}/a" in message
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [500, 502, 503, 429])
def test_a_server_in_trouble_is_asked_three_times(server: WebServer, path: str, code: int) -> None:
    server.answers["/a"] = in_order(status(code), status(code), body(BODY))
    assert download(f"{server.url}/a", path, login=WebLogin()) == DIGEST
    server.answers["/a"] = status(code)
    server.asked.clear()
    reason, message = refused(f"{server.url}/a", path)
    assert (reason, len(server.asked)) == ("SourceUnavailable", 3)
    assert str(code) in message


def test_a_connection_that_is_cut_is_tried_again(server: WebServer, path: str) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:5000])

    def cut_chunks(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"100\r\nonly a little")

    server.answers["/a"] = in_order(cut, cut_chunks, body(BODY))
    assert download(f"{server.url}/a", path, login=WebLogin()) == DIGEST
    server.answers["/a"] = cut
    reason, message = refused(f"{server.url}/a", path)
    assert reason == "SourceUnavailable"
    assert f"after 5000 of {len(BODY)} bytes" in message


def test_an_unreachable_server_is_an_infrastructure_error(path: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a"
        assert refused(url, path)[0] == "SourceUnavailable"


def test_a_wrong_digest_names_what_was_asked_for_only(server: WebServer, path: str) -> None:
    server.answers["/a"] = body(BODY)
    reason, message = refused(f"{server.url}/a", path, sha256="0" * 64)
    assert reason == "SourceInvalid"
    assert DIGEST not in message
    assert "0" * 64 in message
    assert len(server.asked) == 1


def test_too_large_ends_at_the_limit_said_or_not(server: WebServer, path: str) -> None:
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(10_000):
                handler.wfile.write(bytes(100_000))
                sent.append(100_000)
        except OSError:
            pass

    def boasting(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()

    server.answers |= {"/endless": endless, "/boasting": boasting}
    for name in server.answers:
        reason, message = refused(f"{server.url}{name}", path, limit=1024 * 1024)
        assert reason == "SourceInvalid"
        assert "larger than 1 MiB" in message
    assert Path(path).stat().st_size <= 1024 * 1024
    assert sum(sent) < 100_000_000


def test_a_slow_server_ends_with_the_time(server: WebServer, path: str) -> None:
    released = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not released.wait(0.05):
                handler.wfile.write(b"x" * 300_000)
        except OSError:
            pass

    server.answers["/a"] = drip
    try:
        reason, message = refused(f"{server.url}/a", path, timeout=1.0)
    finally:
        released.set()
    assert reason == "SourceUnavailable"
    assert "in time" in message


def test_it_stops_when_cancelled(server: WebServer, path: str) -> None:
    server.answers["/a"] = body(BODY)
    deadline = Deadline(150)
    deadline.cancel()
    with pytest.raises(CalledOff):
        _download(f"{server.url}/a", path, login=WebLogin(), deadline=deadline)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate that is its own authority, for 127.0.0.1."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=lab"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    return directory


@pytest.fixture
def tls(certificate: Path) -> Iterator[WebServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server = WebServer(context)
    yield server
    server.close()


def test_an_unknown_authority_is_not_believed(tls: WebServer, path: str) -> None:
    tls.answers["/a"] = body(BODY)
    reason, message = refused(f"{tls.url}/a", path, login=BEARER)
    assert reason == "SourceUnavailable"
    assert "its certificate is not trusted" in message
    assert "ca.crt" in message
    assert tls.asked == []


def test_an_authority_that_is_given_is_believed(
    tls: WebServer, certificate: Path, path: str
) -> None:
    tls.answers["/a"] = body(BODY)
    login, ca_file = WebLogin(token="secret"), str(certificate / "cert.pem")
    assert download(f"{tls.url}/a", path, login=login, ca_file=ca_file) == DIGEST
    wrong = str(certificate / "key.pem")
    assert refused(f"{tls.url}/a", path, ca_file=wrong)[0] == "SourceAuthFailed"


def test_no_redirect_leaves_tls(
    tls: WebServer, server: WebServer, certificate: Path, path: str
) -> None:
    tls.answers["/a"] = redirect(f"{server.url}/b")
    server.answers["/b"] = body(BODY)
    login, ca_file = WebLogin(token="secret"), str(certificate / "cert.pem")
    reason, message = refused(f"{tls.url}/a", path, login=login, ca_file=ca_file)
    assert reason == "SourceNotFound"
    assert "not encrypted" in message
    assert server.asked == []
