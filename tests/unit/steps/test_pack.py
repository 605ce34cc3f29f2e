"""Packing: the same bytes for the same step, and nothing in it that a step has no business with."""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.steps.servers import entries, sha256

from sentinel.source.unpack import ArchiveLimits, unpack
from sentinel.steps.pack import Packed, StepLimits, Unpackable, fingerprint, pack

LIMITS = StepLimits(packed=100_000, unpacked=50_000, entries=20)


def tree(root: Path, *, backwards: bool = False) -> Path:
    names = ["run.sh", "bin/tool", "lib/deep/text", "a-name"]
    for name in reversed(names) if backwards else names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}\n")
        path.chmod(0o755 if name == "bin/tool" else 0o644)
    for directory in ("", "bin", "lib", "lib/deep"):
        (root / directory).chmod(0o755)
    (root / "link").symlink_to("lib/deep/text")
    (root / ".git").mkdir()
    (root / ".git/config").write_text("[core]")
    return root


def packed(root: Path, target: Path) -> Packed:
    return pack(root, target, limits=LIMITS)


def test_the_same_tree_is_the_same_archive_whenever_and_however_it_was_made(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two", backwards=True)
    os.utime(two / "run.sh", (1, 1))
    first = packed(one, tmp_path / "1.tar.gz")

    assert first == packed(two, tmp_path / "2.tar.gz")
    content = (tmp_path / "1.tar.gz").read_bytes()
    assert first == Packed(digest=sha256(content), size=len(content))
    assert entries(tmp_path / "1.tar.gz") == {
        "a-name": (0o644, b"this is a-name\n"),
        "bin": (0o755, None),
        "bin/tool": (0o755, b"this is bin/tool\n"),
        "lib": (0o755, None),
        "lib/deep": (0o755, None),
        "lib/deep/text": (0o644, b"this is lib/deep/text\n"),
        "link": (0o777, "lib/deep/text"),
        "run.sh": (0o644, b"this is run.sh\n"),
    }
    with tarfile.open(tmp_path / "1.tar.gz") as archive:
        assert {(each.uid, each.gid, each.uname, each.mtime) for each in archive} == {
            (0, 0, "", 315532800)
        }


def test_it_passes_our_own_unpacking_and_packs_to_itself(tmp_path: Path) -> None:
    first = packed(tree(tmp_path / "one"), tmp_path / "1.tar.gz")
    unpack(
        str(tmp_path / "1.tar.gz"), str(tmp_path / "again"), limits=ArchiveLimits(), strip="none"
    )

    assert packed(tmp_path / "again", tmp_path / "2.tar.gz") == first


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=80
).filter(lambda name: name not in (".", "..", ".git"))
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.binary(max_size=200) | st.lists(NAMES | st.just(".."), max_size=4).map("/".join),
    max_size=8,
)


@given(TREES)
@settings(max_examples=150)
def test_whatever_is_packed_is_unpacked_in_the_box_and_is_the_same(
    made: dict[str, bytes | str],
) -> None:
    """A folder with any names, files (bytes) and links (text) is refused, or survives the way into the box."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        root.mkdir()
        for name, content in made.items():
            with contextlib.suppress(OSError):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, bytes):
                    (root / name).write_bytes(content)
                else:
                    (root / name).symlink_to(content)
        archive = Path(directory) / "1.tar.gz"
        try:
            first = packed(root, archive)
        except Unpackable:
            return
        unpack(str(archive), f"{directory}/again", limits=ArchiveLimits(), strip="none")
        assert packed(Path(directory) / "again", Path(directory) / "2.tar.gz") == first


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: (root / "x").symlink_to("/etc/passwd"), "absolute target: x"),
        (lambda root: (root / "x").symlink_to("../outside"), "leads outside it: x"),
        (lambda root: (root / "bin/x").symlink_to("../../outside"), "leads outside it: bin/x"),
        (
            lambda root: (
                (root / "lib/up").symlink_to(".."),
                (root / "x").symlink_to("lib/up/../y"),
            ),
            "leads outside it: x",
        ),
        (lambda root: os.mkfifo(root / "x"), "not a file, directory or link: x"),
        (lambda root: (root / "a\nb").write_text(""), "control characters"),
        (lambda root: (root / "x").write_bytes(b"x" * 50_001), "more than 50000 bytes"),
        (lambda root: [(root / f"f{i}").touch() for i in range(20)], "more than 20 files"),
    ],
)
def test_what_is_refused(tmp_path: Path, make: object, words: str) -> None:
    root = tree(tmp_path / "one")
    assert callable(make)
    make(root)

    with pytest.raises(Unpackable, match=words):
        packed(root, tmp_path / "1.tar.gz")


def test_what_does_not_pack_small_enough_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "one")
    (root / "noise").write_bytes(os.urandom(40_000))

    with pytest.raises(Unpackable, match="even when packed, more than 30000"):
        pack(
            root,
            tmp_path / "1.tar.gz",
            limits=StepLimits(packed=30_000, unpacked=50_000, entries=20),
        )


def test_what_unpacking_in_the_box_would_refuse_is_refused_here(tmp_path: Path) -> None:
    """A sparse file of zeros is small in any archive but the canonical one, and names only get long in a folder."""
    limits = StepLimits(packed=10_000_000, unpacked=100_000_000, entries=1000)
    zeros = tree(tmp_path / "zeros")
    with (zeros / "zeros").open("wb") as file:
        file.truncate(30_000_000)
    deep = tree(tmp_path / "deep")
    (deep / "/".join(["d"] * 129)).mkdir(parents=True)
    long = tree(tmp_path / "long")
    (long / "/".join(["d" * 200] * 6)).mkdir(parents=True)
    odd = tree(tmp_path / "odd")
    (odd / "a\u2028b").touch()
    for root, words in (
        (zeros, "as a decompression bomb does"),
        (deep, "too long"),
        (long, "too long"),
        (odd, "control"),
    ):
        with pytest.raises(Unpackable, match=words):
            pack(root, tmp_path / f"{root.name}.tar.gz", limits=limits)


def test_set_id_bits_are_dropped(tmp_path: Path) -> None:
    root = tree(tmp_path / "one")
    (root / "bin/tool").chmod(0o6755)
    packed(root, tmp_path / "1.tar.gz")

    assert entries(tmp_path / "1.tar.gz")["bin/tool"][0] == 0o755


def test_the_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    root = tree(tmp_path / "one")
    before = fingerprint(root)
    assert fingerprint(root) == before

    (root / "lib/deep/text").chmod(0o600)
    after = fingerprint(root)
    assert after != before
    (root / "lib/deep/more").touch()
    assert fingerprint(root) != after
