"""What is kept of a box: Docker's tar of a directory, which the box made."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from sentinel.local.results import unpack_directory


def archive(*entries: tuple[str, str, str]) -> bytes:
    """A tar of (kind, name, content or target), below `output` as Docker sends it."""
    kinds = {
        "dir": tarfile.DIRTYPE,
        "link": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "pipe": tarfile.FIFOTYPE,
    }
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for kind, name, content in (("dir", "", ""), *entries):
            info = tarfile.TarInfo(f"output/{name}".rstrip("/"))
            info.type = kinds.get(kind, tarfile.REGTYPE)
            info.mode = 0o755
            if kind == "file":
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content.encode()))
            else:
                info.linkname = content
                tar.addfile(info)
    return data.getvalue()


def test_what_is_unsafe_is_left_out_and_named(tmp_path: Path) -> None:
    target = tmp_path / ".sentinel" / "output"
    data = archive(
        ("file", "page", "hello"),
        ("dir", "sub", ""),
        ("link", "sub/up", "../page"),
        ("hard", "same", "output/page"),
        ("link", "python", "/usr/bin/python3"),
        ("link", "away", "../../../etc/passwd"),
        ("pipe", "pipe", ""),
    )
    left_out = unpack_directory([data[:700], data[700:]], target, limit=1024**2)
    assert sorted(each.name for each in target.rglob("*")) == ["page", "same", "sub", "up"]
    assert (target / "sub" / "up").read_text() == "hello"
    assert (target / "same").stat().st_nlink == 2
    assert len(left_out) == 3
    for name in ("python", "pipe", "away"):
        assert any(name in each for each in left_out), left_out


def test_an_empty_directory_is_not_kept(tmp_path: Path) -> None:
    assert unpack_directory([archive()], tmp_path / "output", limit=1024**2) == []
    assert not (tmp_path / "output").exists()


def test_one_that_is_too_large_leaves_nothing(tmp_path: Path) -> None:
    data = archive(("file", "page", "x" * 4096))
    with pytest.raises(OSError, match="more than"):
        unpack_directory([data], tmp_path / "output", limit=2048)
    assert list(tmp_path.iterdir()) == []
