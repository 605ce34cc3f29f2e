"""The steps' archives in the pod: only the bytes that were planned with are unpacked, wherever they come from."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.errors import SentinelError
from sentinel.source.delivery import place_steps
from sentinel.source.failure import Deadline


def packed(name: str = "run.sh", kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.mode, entry.type, entry.size = 0o755, kind, 5 if kind == tarfile.REGTYPE else 0
        tar.addfile(entry, io.BytesIO(b"true\n"))
    return buffer.getvalue()


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    (tmp_path / "archives").mkdir()
    (tmp_path / "wercker").mkdir()
    return tmp_path


def place(beside: Path, *steps: tuple[str, str]) -> None:
    place_steps(
        steps,
        archives=str(beside / "archives"),
        dest=str(beside / "wercker"),
        deadline=Deadline(150),
    )


@pytest.fixture
def stored() -> Iterator[str]:
    """The URL of an archive in an object store."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = packed() if self.path.startswith("/there") else b""
            self.send_response(200 if data else 403)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_archive_serves_every_step_that_is_the_same(beside: Path) -> None:
    digest = digest_of(packed())
    (beside / "archives" / digest).write_bytes(packed())

    place(beside, ("greet-1", digest), ("greet-2", digest))

    for step in ("greet-1", "greet-2"):
        script = beside / "wercker" / step / "run.sh"
        assert (script.read_text(), script.stat().st_mode & 0o777) == ("true\n", 0o755)


def test_one_that_is_elsewhere_is_fetched_and_not_left(beside: Path, stored: str) -> None:
    digest = digest_of(packed())
    (beside / "archives" / f"{digest}.url").write_text(f"{stored}/there?signed\n")

    place(beside, ("greet-1", digest))

    assert sorted(path.name for path in (beside / "wercker").iterdir()) == ["greet-1"]


@pytest.mark.parametrize(
    ("content", "reason", "message"),
    [
        (
            b"other",
            "Internal",
            "step s has sha256 d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53",
        ),
        (packed("../out"), "StepInvalid", r"step s: entry '\.\./out'"),
        (packed("x", tarfile.FIFOTYPE), "StepInvalid", "step s: entry 'x' is a FIFO"),
        (None, "Internal", "the archive of step s did not come with the pod"),
    ],
)
def test_what_is_wrong_with_an_archive_is_reported(
    beside: Path, content: bytes | None, reason: str, message: str
) -> None:
    digest = "0" * 64 if content in (b"other", None) else digest_of(content or b"")
    if content is not None:
        (beside / "archives" / digest).write_bytes(content)

    with pytest.raises(SentinelError, match=message) as caught:
        place(beside, ("s", digest))

    assert caught.value.reason == reason
    assert not (beside / "out").exists()


def test_a_store_that_does_not_give_it_is_not_the_user_s_fault(beside: Path, stored: str) -> None:
    digest = digest_of(packed())
    (beside / "archives" / f"{digest}.url").write_text(f"{stored}/gone?signed")

    with pytest.raises(SentinelError, match=r"the object store did not give .* step s") as caught:
        place(beside, ("s", digest))

    assert caught.value.reason == "SourceUnavailable"
    assert "signed" not in caught.value.message.replace("signed address", "")
