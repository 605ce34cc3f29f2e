"""What the operator learns of an archive before there is a pod, and that nothing of it stays."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.archives import FORMATS, Made, pack, tar
from tests.unit.source.webserver import WebServer, body, status

from sentinel.api.reasons import Blame, Reason
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.source import archive
from sentinel.source.access import GitCredentials
from sentinel.source.archive import Inspected, inspect
from sentinel.source.failure import CalledOff, Deadline

NAMES = ("wercker.yml", "ewok.yml", ".wercker.yml")


@pytest.fixture
def server() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


def look(url: str, tmp_path: Path, **more: Any) -> Inspected:
    """What is found; and the operator's disk is as it was."""
    said = {"sha256": "", "credentials": None, "paths": NAMES, **more}
    try:
        return inspect(url=url, cache_dir=tmp_path / "cache", deadline=Deadline(150), **said)
    finally:
        assert list((tmp_path / "cache").iterdir()) == []


def refused(url: str, tmp_path: Path, **more: Any) -> tuple[Reason | None, str]:
    with pytest.raises(SentinelError) as caught:
        look(url, tmp_path, **more)
    assert caught.value.reason is not None
    kind = InfrastructureError if caught.value.reason.blame is Blame.PLATFORM else UserError
    assert isinstance(caught.value, kind)
    return caught.value.reason, caught.value.message


@pytest.mark.parametrize("form", FORMATS)
def test_digest_configuration_and_names_of_the_root(
    server: WebServer, tmp_path: Path, form: str
) -> None:
    data = pack(
        form,
        Made(name="p/wercker.yml", data=b"box: a\n"),
        Made(name="p/.wercker.yml", kind="symlink", target="wercker.yml"),
        Made(name="p/go.mod", data=b"module x\n"),
        Made(name="p/src/large", data=b"x" * 3_000_000),
    )
    server.answers["/a"] = body(data)
    digest = hashlib.sha256(data).hexdigest()
    found = look(f"{server.url}/a", tmp_path, sha256=digest)
    assert found == Inspected(
        digest=digest, files={"wercker.yml": b"box: a\n", ".wercker.yml": b"box: a\n"}
    )
    assert found.root == (".wercker.yml", "go.mod", "src", "wercker.yml")


def test_links_below_the_root_are_not_followed(server: WebServer, tmp_path: Path) -> None:
    data = tar(
        Made(name="wercker.yml", kind="symlink", target="ci/wercker.yml"),
        Made(name="ci/wercker.yml", data=b"box: a\n"),
        Made(name="ewok.yml", kind="dir"),
    )
    server.answers["/a"] = body(data)
    assert (look(f"{server.url}/a", tmp_path)).files == {}


def test_a_configuration_that_is_too_large_is_reported(server: WebServer, tmp_path: Path) -> None:
    server.answers["/a"] = body(tar(Made(name="wercker.yml", data=b"#" * (1024 * 1024 + 1))))
    reason, message = refused(f"{server.url}/a", tmp_path)
    assert reason is Reason.CONFIG_INVALID
    assert "wercker.yml is larger than 1024 KiB" in message


def test_refusals_name_the_archive_and_the_entry(server: WebServer, tmp_path: Path) -> None:
    server.answers["/a?signature=secret"] = body(tar(Made(name="../evil")))
    assert refused(f"{server.url}/a?signature=secret", tmp_path) == (
        Reason.SOURCE_INVALID,
        f"{server.url}/a: entry '../evil' has `..` in its name, which leads outside its directory. "
        "Pack the archive without it",
    )


def test_what_lies_deep_is_looked_through_as_well(server: WebServer, tmp_path: Path) -> None:
    data = tar(Made(name="wercker.yml"), Made(name="a/b/c/bomb", data=bytes(9 << 20)))
    server.answers["/a"] = body(pack("tar.gz", Made(name="a/b/c/bomb", data=bytes(9 << 20))))
    reason, message = refused(f"{server.url}/a", tmp_path)
    assert reason is Reason.SOURCE_INVALID
    assert "'a/b/c/bomb'" in message
    server.answers["/a"] = body(data)
    assert (look(f"{server.url}/a", tmp_path)).root == ("a", "wercker.yml")


def test_failures_are_whose_they_are(server: WebServer, tmp_path: Path) -> None:
    server.answers |= {"/401": status(401), "/503": status(503), "/ok": body(tar(Made(name="a")))}
    secret = GitCredentials(username="u", password="hidden-password")
    url = server.url
    assert (refused(f"{url}/404", tmp_path))[0] is Reason.SOURCE_NOT_FOUND
    reason, message = refused(f"{url}/401", tmp_path, credentials=secret)
    assert reason is Reason.SOURCE_AUTH_FAILED
    assert "hidden-password" not in message
    assert (refused(f"{url}/503", tmp_path))[0] is Reason.SOURCE_UNAVAILABLE
    reason, message = refused(f"{url}/ok", tmp_path, sha256="f" * 64)
    assert reason is Reason.SOURCE_INVALID
    assert "f" * 64 in message
    assert (refused("file:///etc/passwd", tmp_path))[0] is Reason.SOURCE_NOT_FOUND
    bad = GitCredentials(ca="-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    assert (refused("https://127.0.0.1:1/a", tmp_path, credentials=bad))[0] is (
        Reason.SOURCE_AUTH_FAILED
    )


def test_a_cancelled_build_stops_its_download(server: WebServer, tmp_path: Path) -> None:
    begun, ended, let_go = threading.Event(), threading.Event(), threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        begun.set()
        try:
            while not let_go.wait(0.01):
                handler.wfile.write(bytes(300_000))
        except OSError:
            ended.set()

    server.answers["/a"] = endless
    deadline = Deadline(150)
    with ThreadPoolExecutor() as pool:
        work = pool.submit(
            inspect,
            url=f"{server.url}/a",
            sha256="",
            credentials=None,
            paths=(),
            cache_dir=tmp_path,
            deadline=deadline,
        )
        try:
            assert begun.wait(150)
            deadline.cancel()
            with pytest.raises(CalledOff):
                work.result()
            assert ended.wait(150), "the thread reads on"
        finally:
            let_go.set()


def test_the_bounds_that_are_documented() -> None:
    from sentinel.source.download import MAX_ARCHIVE
    from sentinel.source.unpack import ArchiveLimits

    limits = ArchiveLimits()
    text = (Path(__file__).parents[3] / "docs" / "howto" / "sources.md").read_text()
    expected = (
        f"more than {MAX_ARCHIVE >> 20} MiB packed, {limits.bytes >> 30} GiB unpacked, {limits.entries:,} entries, "
        f"{limits.ratio} times its own size (from 8 MiB on), names of more than {limits.name} bytes"
    )
    assert expected in " ".join(text.split())
    assert archive.MAX_FILE == 1024 * 1024
