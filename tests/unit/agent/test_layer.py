"""Layers of real overlays: laid over the base they give what the box saw, and the same changes the same bytes."""

# Names that are no UTF-8 are bytes, which pathlib does not take.
# ruff: noqa: PTH101, PTH102, PTH123, PTH208

from __future__ import annotations

import gzip
import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.agent.trees import apply, names, needs_root, overlay, tree, write

from sentinel.agent.failures import CommitFailure
from sentinel.agent.layer import PackedLayer, compress_layer, packed_at_most
from sentinel.api.reasons import CommitReason


def make_base(root: Path) -> Path:
    """A base image of a few directories, files and links."""
    for folder in ("etc/app.d", "usr/lib", "old/deep/er", "empty"):
        (root / folder).mkdir(parents=True)
    for index, name in enumerate(("etc/passwd", "etc/app.d/a", "usr/lib/x.so", "old/deep/er/f")):
        (root / name).write_bytes(b"base %d\n" % index)
        os.utime(root / name, (1_600_000_000 + index, 1_600_000_000 + index))
    (root / "usr/link").symlink_to("lib/x.so")
    return root


@needs_root
def test_a_layer_over_its_base_is_what_the_box_saw(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    with overlay(tmp_path, base=base) as box:
        top = box.merged
        (top / "etc/passwd").write_text("changed\n")
        (top / "etc/app.d/a").unlink()
        shutil.rmtree(top / "old")
        (top / "old").mkdir()
        (top / "old/new").write_text("the directory was replaced")
        shutil.rmtree(top / "empty")
        (top / "usr/link").unlink()
        (top / "usr/link").symlink_to("/etc/shadow")
        (top / "pipeline/source").mkdir(parents=True)
        (top / "pipeline/source/main.c").write_bytes(b"int main;\n")
        os.link(top / "pipeline/source/main.c", top / "pipeline/again.c")
        shutil.move(top / "usr/lib", top / "usr/lib64")
        (top / "su").write_bytes(b"x")
        os.chown(top / "su", 12, 3_000_000)
        (top / "su").chmod(0o4755)
        os.mkfifo(top / "fifo")
        os.chmod(top / "etc", 0o700)
        os.mkdir(os.fsencode(top) + b"/not-utf8-\xff\nline")
        (top / ("long-" + "x" * 200)).write_bytes(b"long")
        expected = tree(top)
        layer, members = write(box.upper, tmp_path / "layer.tar")
    apply(tmp_path / "layer.tar", base)
    assert tree(base) == expected
    assert {".wh.empty", "etc/app.d/.wh.a", "old/.wh..wh..opq"} <= set(names(members))
    assert (layer.dropped, layer.setuid) == ((), 1)
    assert layer.diff_id == (
        "sha256:" + hashlib.sha256((tmp_path / "layer.tar").read_bytes()).hexdigest()
    )


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["write", "mkdir", "remove", "rename", "symlink", "hardlink", "chmod"]),
        st.integers(0, 2**16),
        st.integers(0, 2**16),
    ),
    max_size=25,
)


@needs_root
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
def test_the_layer_has_whatever_the_box_changed(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]]
) -> None:
    """Property: apply(base, layer) is the merged view, for any changes."""
    root = tmp_path_factory.mktemp("box")
    base = make_base(root / "base")
    with overlay(root, base=base) as box:
        for change in changes:
            do(box.merged, *change)
        expected = tree(box.merged)
        write(box.upper, root / "layer.tar")
    apply(root / "layer.tar", base)
    assert tree(base) == expected


def do(top: Path, what: str, one: int, two: int) -> None:
    """One change at places that the numbers choose; an impossible one changes nothing."""
    paths = sorted(path for path in top.rglob("*"))
    folders = [path for path in paths if path.is_dir() and not path.is_symlink()] or [top]
    folder, path = folders[one % len(folders)], (paths or [top])[two % max(1, len(paths))]
    fresh = folder / f"n{two % 7}"
    try:
        if what == "write":
            fresh.write_bytes(random.Random(two).randbytes(two % 3000))
        elif what == "mkdir":
            fresh.mkdir()
        elif what == "remove":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif what == "rename":
            path.rename(fresh)
        elif what == "symlink":
            fresh.symlink_to(path)
        elif what == "hardlink":
            os.link(path, fresh, follow_symlinks=False)
        else:
            path.chmod(0o700 + one % 64, follow_symlinks=False)
    except (OSError, NotImplementedError, shutil.Error):
        return


@needs_root
def test_the_same_changes_give_the_same_bytes(tmp_path: Path) -> None:
    layers = []
    for turn in ("one", "two"):
        with overlay(tmp_path / turn) as box:
            files = ["b", "a", "c/d"] if turn == "one" else ["c/d", "a", "b"]
            for name in files:
                (box.merged / name).parent.mkdir(exist_ok=True)
                (box.merged / name).write_text(name)
            for path in (*(box.merged / name for name in files), box.merged / "c"):
                os.utime(path, (1_700_000_000, 1_700_000_000))
            layer, _ = write(box.upper, tmp_path / f"{turn}.tar")
        packed = compress_layer(layer, tmp_path / f"{turn}.gz", compression="gzip", stop=Event())
        layers.append((layer.diff_id, packed.digest))
    assert layers[0] == layers[1]


@needs_root
def test_file_capabilities_are_kept_and_other_attributes_are_not(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    with overlay(tmp_path) as box:
        (box.merged / "ping").write_bytes(b"x")
        os.setxattr(box.merged / "ping", "security.capability", capability)
        os.setxattr(box.merged / "ping", "trusted.secret", b"no")
        layer, members = write(box.upper, tmp_path / "layer.tar")
    headers = members[0].pax_headers
    text = headers["SCHILY.xattr.security.capability"]
    assert text.encode("utf-8", "surrogateescape") == capability
    assert [name for name in headers if "xattr" in name] == ["SCHILY.xattr.security.capability"]
    assert layer.setuid == 1


def test_compression_never_takes_more_than_was_reserved(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/file").write_bytes(random.Random(1).randbytes(3_000_000))
    plain, _ = write(tmp_path / "upper", tmp_path / "layer.tar")
    packed = compress_layer(plain, tmp_path / "layer.gz", compression="gzip", stop=Event())
    assert 3_000_000 < packed.size <= packed_at_most(plain.size)


@needs_root
def test_gnu_tar_unpacks_capabilities_and_odd_names(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    with overlay(tmp_path) as box:
        (box.merged / "ping").write_bytes(b"x")
        os.setxattr(box.merged / "ping", "security.capability", capability)
        odd = os.fsencode(box.merged) + b"/\xfe\xff"
        with open(odd, "wb") as file:
            file.write(b"odd")
        write(box.upper, tmp_path / "layer.tar")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(
        [
            "tar",
            "-xf",
            str(tmp_path / "layer.tar"),
            "-C",
            str(out),
            "--xattrs",
            "--xattrs-include=*",
        ],
        check=True,
        capture_output=True,
    )
    assert os.getxattr(out / "ping", "security.capability") == capability
    assert sorted(os.listdir(os.fsencode(out))) == [b"ping", b"\xfe\xff"]


def test_compression_keeps_the_content_and_names_both_digests(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/file").write_bytes(b"content" * 100_000)
    plain, _ = write(tmp_path / "upper", tmp_path / "layer.tar")
    packed = compress_layer(plain, tmp_path / "layer.gz", compression="gzip", stop=Event())
    content = (tmp_path / "layer.gz").read_bytes()
    assert packed == PackedLayer(
        path=tmp_path / "layer.gz",
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        size=len(content),
        diff_id=plain.diff_id,
        compression="gzip",
    )
    assert gzip.decompress(content) == (tmp_path / "layer.tar").read_bytes()
    assert packed.size < plain.size / 100


def test_without_compression_the_layer_is_the_tar(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    plain, _ = write(tmp_path / "upper", tmp_path / "layer.tar")
    packed = compress_layer(plain, tmp_path / "unused", compression="none", stop=Event())
    assert packed == PackedLayer(
        path=plain.path,
        digest=plain.diff_id,
        size=plain.size,
        diff_id=plain.diff_id,
        compression="none",
    )


def test_a_full_disk_is_reported_as_one(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        (tmp_path / "upper").mkdir()
        (tmp_path / "upper/file").write_bytes(bytes(4_000_000))
        with pytest.raises(CommitFailure, match="no space left") as caught:
            write(tmp_path / "upper", small / "layer.tar")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert caught.value.why is CommitReason.NO_SPACE
