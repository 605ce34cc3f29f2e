"""`sentinel output`: the stored archive as files, compared with the Build's status first."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.cli import output


def archive(*entries: tuple[str, str | None]) -> bytes:
    """A tar with files (name, text) and links to nowhere good (name, None)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, text in entries:
            member = tarfile.TarInfo(name)
            if text is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            else:
                member.size = len(text)
            tar.addfile(member, io.BytesIO((text or "").encode()))
    return file.getvalue()


def build(cluster: Cluster, data: bytes, **more: Any) -> None:
    stored = {"sizeBytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **more}
    results = {"prefix": "ci/x/", "output": stored}
    cluster.build(status=ended("Succeeded", "Passed", results=results))
    cluster.results = {"output": data}


def test_files_are_written_below_the_directory(
    cluster: Cluster, sentinel: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "PIECE", 4096)
    data = archive(("output/a.txt", "a"), ("output/deep/b.txt", "b" * 5000))
    build(cluster, data)
    done = sentinel("output", "hello", str(tmp_path / "new/here"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "new/here/a.txt").read_text() == "a"
    assert (tmp_path / "new/here/deep/b.txt").read_text() == "b" * 5000
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["here"]
    spans = [span for what, span in cluster.downloads if what == "output"]
    assert spans == [(at, min(at + 4096, len(data))) for at in range(0, len(data), 4096)]

    again = sentinel("output", "hello", str(tmp_path / "new/here"))
    assert again.exit_code == 1
    assert "is not empty" in again.stderr

    printed = sentinel("output", "hello", "-")
    assert (printed.exit_code, printed.stdout_bytes) == (0, data)


def test_bytes_that_the_build_did_not_store_become_no_files(
    cluster: Cluster, sentinel: Sentinel, tmp_path: Path
) -> None:
    build(cluster, archive(("output/a.txt", "a")))
    assert cluster.results is not None
    cluster.results["output"] = archive(("output/a.txt", "b"))
    done = sentinel("output", "hello", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "is not what the build stored" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_reaches_outside_is_not_unpacked(
    cluster: Cluster, sentinel: Sentinel, tmp_path: Path
) -> None:
    build(cluster, archive(("output/link", None), ("output/link/passwd", "x")))
    done = sentinel("output", "hello", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "`sentinel output -n team hello - > output.tar`" in done.stderr
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_builds_without_an_output_say_why(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build("running")
    cluster.build("bare", status=ended("Succeeded", "Passed", results={"prefix": "ci/x/"}))
    cluster.build("storeless", status=ended("Succeeded", "Passed"))
    said = [sentinel("output", name).stderr for name in ("running", "bare", "storeless")]
    assert "`sentinel wait -n team running`" in said[0]
    assert "$WERCKER_OUTPUT_DIR" in said[1]
    assert "without an object store" in said[2]
