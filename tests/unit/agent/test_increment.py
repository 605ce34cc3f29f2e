"""Layers of what changed since the last commit: laid on top of each other they give what the box saw."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.agent.test_layer import CHANGES, do, make_base
from tests.unit.agent.trees import NO_LIMIT, PLENTY, apply, names, needs_root, overlay, tree

from sentinel.agent.boxindex import IndexReader, IndexWriter, young_since
from sentinel.agent.increment import Increment
from sentinel.agent.layer import PlainLayer, write_layer
from sentinel.agent.upperdir import UpperDir, UpperEntry


@dataclass
class Commits:
    """Commits of one box, each on the one before, and the image that they make."""

    upper: Path
    image: Path
    folder: Path
    most: int = 1 << 20
    index: Path | None = None
    layers: list[PlainLayer] = field(default_factory=list)

    def commit(self, **options: object) -> list[str]:
        """One more commit; the names in its layer, which is laid over the image."""
        number = len(self.layers)
        given = {"limits": PLENTY, "stop": Event()} | options
        upper = UpperDir(self.upper, **given)  # type: ignore[arg-type]
        path = self.folder / f"{number}.tar"
        writer = IndexWriter(self.folder / f"{number}.index", most=self.most)
        since = self.index.open("rb") if self.index else None
        layer = write_layer(upper, path, most=NO_LIMIT, stop=Event(), since=since, index=writer)
        writer.close()
        if since:
            since.close()
        self.index = writer.path if writer.complete else None
        self.layers.append(layer)
        if not layer.incremental:
            shutil.rmtree(self.image)
            shutil.copytree(self.image.with_name("pristine"), self.image, symlinks=True)
        apply(path, self.image)
        with tarfile.open(path, "r:", errors="surrogateescape") as tar:
            return names(tar.getmembers())


def commits(root: Path, upper: Path) -> Commits:
    """Of a box over `make_base`."""
    for name in ("pristine", "image"):
        make_base(root / name)
    (root / "layers").mkdir()
    return Commits(upper, root / "image", root / "layers")


@needs_root
def test_a_layer_has_what_one_step_changed(tmp_path: Path) -> None:
    with overlay(tmp_path, base=make_base(tmp_path / "base")) as box:
        top, made = box.merged, commits(tmp_path, box.upper)
        (top / "big").write_bytes(random.Random(1).randbytes(3_000_000))
        (top / "src/deep").mkdir(parents=True)
        (top / "src/deep/one").write_text("one")
        (top / "src/deep/two").write_text("two")
        (top / "src/same").write_text("same")
        (top / "etc/passwd").write_text("changed")
        made.commit()
        (top / "src/deep/two").write_text("2")
        (top / "src/deep/one").unlink()
        (top / "etc/app.d/a").unlink()
        found = made.commit()
        assert found == [
            "etc",
            "etc/app.d",
            "etc/app.d/.wh.a",
            "src",
            "src/deep",
            "src/deep/.wh.one",
            "src/deep/two",
        ]
        assert made.layers[1].size < 20_000
        assert tree(made.image) == tree(top)
        assert made.commit() == []
        assert tree(made.image) == tree(top)
    assert [layer.incremental for layer in made.layers] == [False, True, True]


ROUNDS = st.lists(CHANGES, min_size=2, max_size=4)


@needs_root
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rounds=ROUNDS)
def test_layers_on_top_of_each_other_are_what_the_box_saw(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, int, int]]]
) -> None:
    """Property: after each commit the image is the merged view, for any changes."""
    root = tmp_path_factory.mktemp("box")
    with overlay(root, base=make_base(root / "base")) as box:
        made = commits(root, box.upper)
        for changes in rounds:
            for change in changes:
                do(box.merged, *change)
            made.commit()
            assert tree(made.image) == tree(box.merged)


def _replaced_by_a_file(top: Path) -> None:
    shutil.rmtree(top / "d")
    (top / "d").write_text("a file")


def _file_replaced_by_a_directory(top: Path) -> None:
    (top / "f").unlink()
    (top / "f").mkdir()
    (top / "f/x").write_text("x")


def _base_directory_made_again(top: Path) -> None:
    shutil.rmtree(top / "old")
    (top / "old").mkdir()
    (top / "old/new").write_text("new")


def _moved_back_into_a_new_directory(top: Path) -> None:
    (top / "d/sub").rename(top / "aside")
    shutil.rmtree(top / "d")
    (top / "d").mkdir()
    (top / "aside").rename(top / "d/sub")


def _moved_back_into_a_directory_of_the_base(top: Path) -> None:
    (top / "old/mine").rename(top / "aside")
    shutil.rmtree(top / "old")
    (top / "old").mkdir()
    (top / "aside").rename(top / "old/mine")


def _only_a_link_is_added(top: Path) -> None:
    os.link(top / "d/a", top / "d/again")


def _half_of_the_links_move(top: Path) -> None:
    (top / "d").rename(top / "e")


def _modes_and_owners(top: Path) -> None:
    (top / "d").chmod(0o700)
    os.chown(top / "d/a", 12, 34)


def _renamed_over(top: Path) -> None:
    (top / "d/a").rename(top / "f")


def _unchanged_content_written_again(top: Path) -> None:
    (top / "d/a").write_text((top / "d/a").read_text())


def _type_is_changed(top: Path) -> None:
    (top / "f").unlink()
    (top / "f").symlink_to("d/a")
    (top / "link").unlink()
    os.mkfifo(top / "link")


def _whiteout_becomes_a_directory(top: Path) -> None:
    (top / "gone").mkdir()
    (top / "gone/again").write_text("again")


CASES: list[Callable[[Path], None]] = [
    _replaced_by_a_file,
    _file_replaced_by_a_directory,
    _base_directory_made_again,
    _moved_back_into_a_new_directory,
    _moved_back_into_a_directory_of_the_base,
    _only_a_link_is_added,
    _half_of_the_links_move,
    _modes_and_owners,
    _renamed_over,
    _unchanged_content_written_again,
    _type_is_changed,
    _whiteout_becomes_a_directory,
]


@needs_root
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.strip("_"))
def test_changes_that_are_easily_wrong(tmp_path: Path, case: Callable[[Path], None]) -> None:
    bases = [make_base(tmp_path / "base")]
    with overlay(tmp_path, base=bases[0]) as box:
        top, made = box.merged, commits(tmp_path, box.upper)
        (top / "d/sub/deep").mkdir(parents=True)
        for name in ("d/a", "d/b", "d/sub/deep/c", "f"):
            (top / name).write_text(name)
        (top / "link").symlink_to("f")
        (top / "old/mine").mkdir()
        (top / "old/mine/m").write_text("m")
        os.link(top / "d/b", top / "other-name-of-b")
        shutil.rmtree(top / "empty")
        (top / "empty").mkdir()
        (top / "usr/lib/x.so").unlink()
        shutil.rmtree(top / "etc/app.d")
        (top / "gone").mkdir()
        (top / "gone").rmdir()
        made.commit()
        assert tree(made.image) == tree(top)
        case(top)
        made.commit()
        assert tree(made.image) == tree(top)
        (top / "d2").write_text("and one more")
        made.commit()
        assert tree(made.image) == tree(top)


@needs_root
def test_a_file_that_is_written_through_a_mapping_is_noticed(tmp_path: Path) -> None:
    """The kernel gives a page that is written again no new time until it was on disk."""
    with overlay(tmp_path, base=make_base(tmp_path / "base")) as box:
        made = commits(tmp_path, box.upper)
        (box.merged / "db").write_bytes(bytes(4096))
        with (box.merged / "db").open("r+b") as file, mmap.mmap(file.fileno(), 4096) as mapped:
            mapped[:5] = b"first"
            made.commit()
            mapped[:6] = b"second"
            made.commit()
            assert (made.image / "db").read_bytes()[:6] == b"second"
            assert made.commit() == []


@needs_root
def test_in_memory_a_mapping_gives_no_new_time_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.agent.layer.young_since", lambda now: int((now + 60) * 1e9))
    place = tmp_path / "memory"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        with overlay(place, base=make_base(tmp_path / "base")) as box:
            made = commits(tmp_path, box.upper)
            (box.merged / "db").write_bytes(bytes(4096))
            with (box.merged / "db").open("r+b") as file, mmap.mmap(file.fileno(), 4096) as mapped:
                mapped[:5] = b"first"
                made.commit()
                mapped[:6] = b"second"
                assert made.commit() == ["db"]
        assert (made.image / "db").read_bytes()[:6] == b"second"
    finally:
        subprocess.run(["umount", str(place)], check=True)


@needs_root
def test_a_young_file_with_several_names_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with overlay(tmp_path, base=make_base(tmp_path / "base")) as box:
        made = commits(tmp_path, box.upper)
        (box.merged / "file").write_text("file")
        for number in range(5):
            (box.merged / f"link{number}").hardlink_to(box.merged / "file")
        made.commit()
        read: list[str] = []
        really = Increment._read

        def counted(self: Increment, entry: UpperEntry) -> bytes:
            read.append(entry.path)
            return really(self, entry)

        monkeypatch.setattr(Increment, "_read", counted)
        assert made.commit() == []
        assert read == ["file"]


@needs_root
@pytest.mark.parametrize("seconds", [13_000_000_000, -1])
def test_a_file_may_have_any_time(tmp_path: Path, seconds: int) -> None:
    """2381, which is more nanoseconds than 63 bits hold, and before 1970."""
    with overlay(tmp_path, base=make_base(tmp_path / "base")) as box:
        made = commits(tmp_path, box.upper)
        (box.merged / "file").write_text("file")
        os.utime(box.merged / "file", ns=(0, seconds * 1_000_000_000))
        made.commit()
        assert made.commit() == []
        assert made.layers[1].incremental


@pytest.mark.parametrize(
    ("expire", "writeback", "young"),
    [("3000", "500", 880), ("60000", "500", -815), ("3000", "0", 0), ("", "500", 0)],
)
def test_which_files_are_young_follows_from_when_the_kernel_writes_to_disk(
    tmp_path: Path, expire: str, writeback: str, young: int
) -> None:
    (tmp_path / "dirty_expire_centisecs").write_text(f"{expire}\n")
    (tmp_path / "dirty_writeback_centisecs").write_text(f"{writeback}\n")
    assert young_since(1000.0, kernel=tmp_path) == young * 1_000_000_000
    assert young_since(1000.0, kernel=tmp_path / "nothing") == 0


@needs_root
def test_an_old_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.agent.layer.young_since", lambda now: int((now + 60) * 1e9))
    monkeypatch.setattr("sentinel.agent.layer.is_in_memory", lambda place: False)
    with overlay(tmp_path, base=make_base(tmp_path / "base")) as box:
        made = commits(tmp_path, box.upper)
        (box.merged / "file").write_text("file")
        made.commit()
        assert made.index is not None
        with made.index.open("rb") as file:
            reader = IndexReader(file)
            assert reader.current is not None
            assert (reader.current.path, reader.current.content) == ("file", b"")


@needs_root
def test_what_is_left_out_now_and_was_not_before_gives_a_whole_layer(tmp_path: Path) -> None:
    with overlay(tmp_path, base=make_base(tmp_path / "base")) as box:
        made = commits(tmp_path, box.upper)
        (box.merged / "etc/passwd").write_text("changed")
        made.commit()
        made.commit(excluded={"etc/passwd": "/etc/passwd"})
    assert [layer.incremental for layer in made.layers] == [False, False]
    assert (made.image / "etc/passwd").read_bytes() == b"base 0\n"


@needs_root
def test_an_index_that_is_too_large_is_given_up(tmp_path: Path) -> None:
    with overlay(tmp_path, base=make_base(tmp_path / "base")) as box:
        made = commits(tmp_path, box.upper)
        made.most = 200
        for number in range(10):
            (box.merged / f"f{number}").write_text("x")
        made.commit()
        assert made.index is None
        assert (made.folder / "0.index").stat().st_size <= 200
        made.commit()
    assert [layer.incremental for layer in made.layers] == [False, False]
