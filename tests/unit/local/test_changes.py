"""Files that change while a build runs."""

from __future__ import annotations

import os
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from sentinel.local.changes import Changes, send
from sentinel.local.project import read_project


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_files_count_once_nothing_changes_any_more(tmp_path: Path) -> None:
    write(tmp_path / "wercker.yml", "box: x\n")
    write(tmp_path / "old", "1")
    write(tmp_path / "ignored.o", "1")
    write(tmp_path / ".werckerignore", "*.o\n")
    changes = Changes(project=read_project(tmp_path), ignore_file=".werckerignore")
    assert changes.settled() == []
    write(tmp_path / "new/file", "1")
    write(tmp_path / "ignored.o", "22")
    assert changes.settled() == []
    write(tmp_path / "old", "22")
    assert changes.settled() == []
    assert sorted(changes.settled()) == ["new/file", "old"]
    assert changes.settled() == []
    (tmp_path / "old").unlink()
    assert changes.settled() == []
    assert changes.settled() == ["old"]


def test_what_is_sent_has_its_directories(tmp_path: Path) -> None:
    write(tmp_path / "new/file", "text")
    sent: dict[str, bytes] = {}

    class Api:
        def put_archive(self, box: str, target: str, file: Any) -> None:
            sent[f"{box}:{target}"] = file.read()

    docker = cast(Any, type("D", (), {"api": Api()}))
    send(docker, "box", root=tmp_path, names=["new/file", "gone"], target="/pipeline/source")
    with tarfile.open(fileobj=BytesIO(sent["box:/pipeline/source"])) as tar:
        assert [os.path.normpath(each.name) for each in tar] == ["new", "new/file"]
