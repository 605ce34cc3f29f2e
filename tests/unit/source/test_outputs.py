"""Outputs of other builds as a source: the very archives that were stored, each in its place, and within bounds."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import InternalError, SentinelError
from sentinel.source.delivery import place_outputs
from sentinel.source.failure import Deadline
from sentinel.source.task import Task


def packed(top: str = "output", **files: bytes) -> bytes:
    """As boxkit packs $WERCKER_OUTPUT_DIR: a tar, below one directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{top}/{name.replace('__', '/')}")
            entry.mode, entry.size, entry.mtime = 0o750, len(data), 1_600_000_000
            tar.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo(f"{top}/link")
        link.type, link.linkname = tarfile.SYMTYPE, "bin"
        tar.addfile(link)
    return buffer.getvalue()


class Stored:
    """An object store: what lies at which path."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        stored = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = stored.objects.get(self.path.partition("?")[0])
                self.send_response(403 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{path}?X-Amz-Signature=s"


@pytest.fixture
def store() -> Iterator[Stored]:
    made = Stored()
    yield made
    made.server.shutdown()
    made.server.server_close()


def task(tmp_path: Path, store: Stored, *archives: tuple[str, bytes], **more: Any) -> Task:
    """Fetch these (directory, archive) as a source."""
    urls = tmp_path / "urls"
    urls.mkdir()
    outputs = []
    for index, (directory, data) in enumerate(archives):
        store.objects[f"/{index}"] = data
        (urls / f"{index}.url").write_text(store.url(f"/{index}"))
        sha256 = hashlib.sha256(data).hexdigest()
        outputs.append(
            {"build": f"b{index}", "directory": directory, "sha256": sha256, "size": len(data)}
        )
    dest = tmp_path / "source"
    dest.mkdir()
    said = {"url": "https://x", "dest": str(dest), "outputsDir": str(urls), "outputs": outputs}
    return Task.parse(json.dumps({**said, **more}))


def failure(of: Task) -> SentinelError:
    with pytest.raises(SentinelError) as caught:
        place_outputs(of, Deadline(150))
    assert list(Path(of.dest).parent.glob("*.archive")) == []
    return caught.value


def test_one_output_is_the_source_with_modes_times_and_links(tmp_path: Path, store: Stored) -> None:
    of = task(tmp_path, store, ("", packed(bin__run=b"#!/bin/sh\n", page=b"x")))
    place_outputs(of, Deadline(150))
    dest = Path(of.dest)
    assert sorted(path.name for path in dest.iterdir()) == ["bin", "link", "page"]
    run = (dest / "link" / "run").stat()
    assert stat.S_IMODE(run.st_mode) & 0o554 == 0o554
    assert int(run.st_mtime) == 1_600_000_000
    assert (dest / "link").is_symlink()


def test_several_outputs_each_have_a_directory(tmp_path: Path, store: Stored) -> None:
    of = task(
        tmp_path, store, ("one", packed(a=b"1", bin=b"")), ("two", packed(a=b"2", bin=b"", top="x"))
    )
    place_outputs(of, Deadline(150))
    assert [Path(of.dest, name, "a").read_text() for name in ("one", "two")] == ["1", "2"]
    assert sorted(path.name for path in Path(of.dest).iterdir()) == ["one", "two"]


def test_other_bytes_than_were_stored_are_refused(tmp_path: Path, store: Stored) -> None:
    of = task(tmp_path, store, ("", packed(a=b"1", bin=b"")))
    store.objects["/0"] = store.objects["/0"].replace(b"1", b"2")
    error = failure(of)
    assert error.reason is Reason.SOURCE_UNAVAILABLE
    assert "the object store did not give the output of Build b0" in error.message
    store.objects["/0"] += bytes(1024)
    assert failure(of).reason is Reason.SOURCE_UNAVAILABLE
    del store.objects["/0"]
    gone = failure(of)
    assert "Signature" not in gone.message


def test_all_outputs_together_are_bounded(tmp_path: Path, store: Stored) -> None:
    of = task(
        tmp_path,
        store,
        ("one", packed(a=bytes(6000), bin=b"")),
        ("two", packed(a=bytes(6000), bin=b"")),
        maxBytes=10_000,
    )
    error = failure(of)
    assert error.reason is Reason.SOURCE_INVALID
    assert error.message.startswith(
        "the output of Build b1 cannot be a source: the archive unpacks to more"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"directory": "../x"},
        {"directory": ".."},
        {"sha256": ""},
        {"sha256": "x" * 64},
        {"size": "y"},
    ],
)
def test_a_task_with_another_kind_of_output_is_ours(wrong: dict[str, Any]) -> None:
    output = {"build": "b", "directory": "d", "sha256": "a" * 64, "size": 1, **wrong}
    with pytest.raises(InternalError):
        Task.parse(json.dumps({"url": "https://x", "outputs": [output]}))
