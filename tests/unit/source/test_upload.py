"""A directory that is sent to the pod: exactly the announced bytes are taken, and not waited for without end."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.archives import Made, pack
from tests.unit.source.pod import OPERATOR, RUN, Pod

from sentinel.api.reasons import Reason
from sentinel.errors import SentinelError
from sentinel.source import upload
from sentinel.source.failure import Deadline
from sentinel.source.task import Task
from sentinel.source.unpack import unpack
from sentinel.source.upload import NotReceived, receive, unpack_upload

ENTRIES = (
    Made(name="app/wercker.yml", data=b"box: busybox\n", mode=0o600),
    Made(name="app/link", kind="symlink", target="wercker.yml"),
)
RUN_RECEIVE = (
    f"import sys, runpy; sys.path.insert(0, {str(OPERATOR)!r}); "
    "runpy.run_module('sentinel.source.receive', run_name='__main__')"
)


def task(tmp_path: Path, data: bytes, **more: Any) -> Task:
    """Wait for exactly `data`."""
    (tmp_path / "source").mkdir(exist_ok=True)
    said = {
        "commit": "",
        "url": "",
        "sha256": hashlib.sha256(data).hexdigest(),
        "upload": len(data),
        "dest": str(tmp_path / "source"),
    }
    return Task.parse(json.dumps(said | more))


@contextmanager
def fetching(of: Task) -> Iterator[list[SentinelError]]:
    """The fetcher waits while the block runs, and is done behind it; its error, if there is one."""
    errors: list[SentinelError] = []

    def work() -> None:
        try:
            unpack_upload(of, Deadline(60))
        except SentinelError as e:
            errors.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield errors
    finally:
        thread.join(70)
        assert not thread.is_alive()


def refused(of: Task, **more: Any) -> SentinelError:
    with pytest.raises(SentinelError) as caught:
        unpack_upload(of, more.pop("deadline", Deadline(60)), **more)
    return caught.value


def beside(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def test_what_arrives_is_the_source_as_it_is_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    data = pack("tar.gz", *ENTRIES)
    of = task(tmp_path, data)
    # Behind the announced bytes nothing is read: the connection stays open.
    stream = io.BytesIO(data + b"more")
    with fetching(of) as errors:
        receive(of, stream)
    assert errors == []
    assert stream.tell() == len(data)
    # One directory alone is no leading one here.
    assert (tmp_path / "source/app/link").read_text() == "box: busybox\n"
    assert (tmp_path / "source/app/wercker.yml").stat().st_mode & 0o777 == 0o644
    assert beside(tmp_path) == ["source"]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"x" * 10, r"the connection ended \d+ bytes before the end"),
        (b"x" * 10_000, "what was sent has sha256 "),
    ],
)
def test_other_bytes_are_not_taken_and_it_can_be_sent_again(
    tmp_path: Path, sent: bytes, why: str
) -> None:
    data = pack("tar.gz", *ENTRIES)
    of = task(tmp_path, data)
    with fetching(of) as errors:
        with pytest.raises(NotReceived, match=why):
            receive(of, io.BytesIO(sent))
        assert beside(tmp_path) == ["source", "source.waiting"]
        receive(of, io.BytesIO(data))
    assert errors == []
    assert beside(tmp_path) == ["source"]


def test_nothing_is_read_that_no_fetcher_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "STARTS_WITHIN", 0.0)
    stream = io.BytesIO(b"x" * 10)
    with pytest.raises(NotReceived, match="does not wait for a directory, or has one already"):
        receive(task(tmp_path, b"x" * 10), stream)
    assert stream.tell() == 0
    assert beside(tmp_path) == ["source"]


def test_a_file_that_another_exec_put_there_counts_only_with_the_digest(tmp_path: Path) -> None:
    data = pack("tar.gz", *ENTRIES)
    of = task(tmp_path, data)
    (tmp_path / "source.upload").write_bytes(b"x" * len(data))
    error = refused(of)
    assert error.reason is Reason.SOURCE_INVALID
    assert "what arrived has sha256" in error.message
    (tmp_path / "source.upload").write_bytes(b"x")
    assert f"not a file of {len(data)} bytes" in refused(of).message
    os.mkfifo(tmp_path / "source.upload")
    assert f"not a file of {len(data)} bytes" in refused(of).message
    (tmp_path / "elsewhere").write_bytes(data)
    (tmp_path / "source.upload").symlink_to("elsewhere")
    assert f"not a file of {len(data)} bytes" in refused(of).message
    (tmp_path / "elsewhere").unlink()
    assert beside(tmp_path) == ["source"]
    assert list((tmp_path / "source").iterdir()) == []


def test_a_file_that_takes_the_archives_place_after_the_check_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pack("tar.gz", *ENTRIES)
    of = task(tmp_path, data)
    archive = tmp_path / "source.upload"
    archive.write_bytes(data)
    (tmp_path / "source.other").write_bytes(pack("tar.gz", Made(name="other", data=b"evil")))

    def replaced(*args: Any, **options: Any) -> Any:
        (tmp_path / "source.other").rename(archive)
        return unpack(*args, **options)

    monkeypatch.setattr(upload, "unpack", replaced)
    unpack_upload(of, Deadline(60))
    assert [path.name for path in (tmp_path / "source").iterdir()] == ["app"]
    assert beside(tmp_path) == ["source"]


def test_a_hostile_archive_is_refused_as_from_anywhere(tmp_path: Path) -> None:
    data = pack("tar.gz", *ENTRIES, Made(name="../../kit/boxkit", data=b"evil"))
    of = task(tmp_path, data)
    with fetching(of) as errors:
        receive(of, io.BytesIO(data))
    (error,) = errors
    assert error.reason is Reason.SOURCE_INVALID
    assert error.message.startswith("the directory: entry '../../kit/boxkit' has `..` in its name")
    assert list((tmp_path / "source").iterdir()) == []


def test_it_is_not_waited_for_without_end(tmp_path: Path) -> None:
    of = task(tmp_path, b"x" * 10)
    nothing = refused(of, quiet=0.0)
    assert nothing.reason is Reason.SOURCE_NOT_FOUND
    assert "no byte of 10 in 0 s: run `sentinel run --cluster` again" in nothing.message
    # Of a client that was killed.
    (tmp_path / "source.upload.1-ab").write_bytes(b"x" * 3)
    some = refused(of, quiet=0.0)
    assert "3 of 10 bytes, and no more in 0 s" in some.message
    assert beside(tmp_path) == ["source"]
    slow = refused(of, deadline=Deadline(0.0))
    assert (slow.reason, "within 0 s: 0 of 10 bytes" in slow.message) == (
        Reason.SOURCE_NOT_FOUND,
        True,
    )


def test_the_two_programs_work_together(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    data = pack("tar.gz", *ENTRIES)
    said = {
        "url": "",
        "sha256": hashlib.sha256(data).hexdigest(),
        "upload": len(data),
        "dest": str(pod.dest),
        "kit": str(pod.kit),
        "terminationLog": str(pod.log),
    }
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SENTINEL_FETCH": json.dumps(said),
    }

    def sent(given: bytes) -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            [sys.executable, "-I", "-c", RUN_RECEIVE],
            check=False,
            input=given,
            capture_output=True,
            env=environment,
            timeout=50,
        )
        return done.returncode, done.stdout, done.stderr

    with subprocess.Popen(
        [sys.executable, "-I", "-c", RUN], env=environment, stdout=subprocess.PIPE
    ) as fetcher:
        try:
            assert fetcher.stdout is not None
            waiting = fetcher.stdout.readline()
            assert waiting == f"waiting for the directory: {len(data)} bytes\n".encode()
            code, out, err = sent(data[:10])
            assert (code, out) == (1, b"ready\n")
            assert err.startswith(b"sentinel receive: the connection ended ")
            assert sent(data) == (0, b"ready\nreceived\n", b"")
            assert fetcher.wait(50) == 0
        finally:
            fetcher.kill()
    assert (pod.dest / "app/wercker.yml").exists()
    environment["SENTINEL_FETCH"] = json.dumps({"url": "https://h/p", "commit": "c" * 40})
    assert sent(b"")[2] == b"sentinel receive: this build's source is not sent to its pod\n"


def test_a_task_says_where_the_source_is_or_that_it_is_sent() -> None:
    with pytest.raises(SentinelError, match="has neither a URL of the source nor an upload"):
        Task.parse(json.dumps({"url": "", "commit": "c" * 40}))
