"""Hostile and odd upper directories: nothing is followed, blocked on or read beyond its limit."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from threading import Event

import pytest
from tests.unit.agent.trees import NO_LIMIT, PLENTY, names, needs_root, write

from sentinel.agent.excluded import excluded_places
from sentinel.agent.failures import CommitFailure
from sentinel.agent.layer import DEVICES, RESERVED, SOCKETS, LeftOut, write_layer
from sentinel.agent.residue import mount_residue
from sentinel.agent.tally import MAX_PATH, ChangeLimits, Tally, shown
from sentinel.agent.upperdir import MAX_DEPTH, UpperDir, opened
from sentinel.api.reasons import CommitReason


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    path = tmp_path / "upper"
    path.mkdir()
    return path


def looked_at(upper: Path, *, limits: ChangeLimits = PLENTY, stop: Event | None = None) -> UpperDir:
    return UpperDir(upper, limits=limits, stop=stop or Event())


def test_a_huge_sparse_file_is_too_big_without_being_read(upper: Path) -> None:
    with (upper / "sparse").open("wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(
        CommitFailure, match=r"more than 1 GiB .*/sparse', a file of 40 GiB"
    ) as caught:
        looked_at(upper, limits=ChangeLimits(apparent_bytes=1 << 30, entries=10)).measure()
    assert caught.value.why is CommitReason.TOO_BIG


def test_too_many_files_are_too_big(upper: Path) -> None:
    for index in range(20):
        (upper / str(index)).touch()
    with pytest.raises(CommitFailure, match="more than 10 files") as caught:
        looked_at(upper, limits=ChangeLimits(apparent_bytes=1, entries=10)).measure()
    assert caught.value.why is CommitReason.TOO_BIG


def test_endless_directories_are_too_big(upper: Path) -> None:
    path = upper
    for _ in range(MAX_DEPTH + 5):
        path = path / "d"
    path.mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CommitFailure, match="more than 256 deep") as caught:
        looked_at(upper).measure()
    assert caught.value.why is CommitReason.TOO_BIG
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_hard_links_count_once(upper: Path) -> None:
    (upper / "one").write_bytes(bytes(1000))
    for index in range(50):
        os.link(upper / "one", upper / f"link{index}")
    size = looked_at(upper).measure()
    assert (size.apparent_bytes, size.entries) == (1000, 51)


def test_links_out_of_the_tree_are_kept_and_not_followed(upper: Path, tmp_path: Path) -> None:
    (upper / "shadow").symlink_to("/etc/shadow")
    (upper / "up").symlink_to("../../..")
    (upper / "loop").symlink_to("loop")
    _, members = write(upper, tmp_path / "layer.tar")
    assert [(member.name, member.linkname) for member in members] == [
        ("loop", "loop"),
        ("shadow", "/etc/shadow"),
        ("up", "../../.."),
    ]


def test_fifos_are_entries_and_sockets_are_not(upper: Path, tmp_path: Path) -> None:
    os.mkfifo(upper / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(upper / "socket"))
        layer, members = write(upper, tmp_path / "layer.tar")
    assert [(member.name, member.isfifo()) for member in members] == [("fifo", True)]
    assert layer.dropped == (LeftOut(what=SOCKETS, count=1, first="socket"),)


@needs_root
def test_devices_are_dropped_and_whiteouts_are_not_devices(upper: Path, tmp_path: Path) -> None:
    os.mknod(upper / "null", 0o020666, os.makedev(1, 3))
    os.mknod(upper / "disk", 0o060666, os.makedev(8, 0))
    os.mknod(upper / "gone", 0o020000, os.makedev(0, 0))
    layer, members = write(upper, tmp_path / "layer.tar")
    assert names(members) == [".wh.gone"]
    assert layer.dropped == (LeftOut(what=DEVICES, count=2, first="disk"),)


def test_names_that_would_delete_files_of_the_base_are_dropped(upper: Path, tmp_path: Path) -> None:
    (upper / ".wh.etc").touch()
    (upper / ".wh..wh..opq/below").mkdir(parents=True)
    (upper / "kept").touch()
    layer, members = write(upper, tmp_path / "layer.tar")
    assert names(members) == ["kept"]
    assert layer.dropped == (LeftOut(what=RESERVED, count=2, first=".wh..wh..opq"),)
    assert "of the base image: 2, the first at '/.wh..wh..opq'" in str(layer.dropped[0])


@needs_root
@pytest.mark.parametrize("mark", ["redirect", "metacopy"])
def test_overlay_features_that_keep_content_elsewhere_are_refused(
    upper: Path, tmp_path: Path, mark: str
) -> None:
    target = upper / "moved"
    target.mkdir() if mark == "redirect" else target.touch()
    os.setxattr(target, f"trusted.overlay.{mark}", b"/elsewhere")
    with pytest.raises(CommitFailure, match=f"/moved.*trusted.overlay.{mark}") as caught:
        write(upper, tmp_path / "layer.tar")
    assert caught.value.why is CommitReason.UNSUPPORTED


def test_excluded_paths_are_left_out_with_all_below(upper: Path, tmp_path: Path) -> None:
    for name in ("home/ci/.netrc", "home/ci/.npmrc", "cache/a/b", "cached"):
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        (upper / name).write_text("secret")
    rules = ["/home/ci/.netrc", "/cache/", "/cache/a", "/", "/nothing", "/*", "~/.npmrc"]
    excluded = excluded_places(rules, layers=[upper])
    _, members = write(upper, tmp_path / "layer.tar", excluded=excluded)
    assert names(members) == ["cached", "home", "home/ci", "home/ci/.npmrc"]
    looked = UpperDir(upper, limits=PLENTY, excluded=excluded, stop=Event())
    looked.measure()
    assert looked.excluded == {
        "/home/ci/.netrc": 1,
        "/cache/": 3,
        "/cache/a": 2,
        "/nothing": 0,
        "/*": 0,
        "~/.npmrc": 0,
    }


def test_excluded_paths_are_normalised_and_followed_to_where_they_really_are(
    upper: Path, tmp_path: Path
) -> None:
    (tmp_path / "lower/run").mkdir(parents=True)
    (tmp_path / "lower/var").mkdir()
    (tmp_path / "lower/var/run").symlink_to("/run")
    for name in ("run/token", "opt/c/token", "opt/d"):
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        (upper / name).write_text("secret")
    rules = ["/var/run/token", "/opt//c", "/opt/../opt/d"]
    excluded = excluded_places(rules, layers=[upper, tmp_path / "lower"])
    _, members = write(upper, tmp_path / "layer.tar", excluded=excluded)
    assert names(members) == ["opt", "run"]
    assert set(excluded.values()) == set(rules)


def test_what_is_excluded_counts_against_no_limit(upper: Path) -> None:
    (upper / "cache").mkdir()
    for index in range(20):
        (upper / "cache" / str(index)).touch()
    looked = UpperDir(
        upper,
        limits=ChangeLimits(apparent_bytes=1, entries=10),
        excluded={"cache": "/cache"},
        stop=Event(),
    )
    assert looked.measure().entries == 0
    assert looked.excluded == {"/cache": 10}, "counting ends at the limit"


def test_paths_too_long_to_unpack_are_too_big(upper: Path) -> None:
    """e5: a path of many long directories made each of its entries cost tens of kilobytes in the tar."""
    folder = os.open(upper, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    with pytest.raises(CommitFailure, match=f"paths longer than {MAX_PATH} bytes") as caught:
        looked_at(upper).measure()
    assert caught.value.why is CommitReason.TOO_BIG


def test_names_count_against_one_budget_whatever_directory_they_are_in(
    upper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """e5: the names of every directory on the way were held, each directory's up to the limit for all."""
    path = upper
    for _ in range(5):
        for index in range(50):
            (path / f"z{index}{'n' * 200}").touch()
        path = path / "0"
        path.mkdir()
    budget = 40_000
    monkeypatch.setattr("sentinel.agent.upperdir.Tally", lambda limits: Tally(limits, names=budget))
    with pytest.raises(CommitFailure, match="too many long names") as caught:
        looked_at(upper).measure()
    assert caught.value.why is CommitReason.TOO_BIG
    budget = 80_000
    looked_at(upper).measure()


def test_names_of_directories_that_were_left_are_not_held(
    upper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in range(20):
        (upper / str(folder)).mkdir()
        for index in range(50):
            (upper / str(folder) / f"{index}{'n' * 200}").touch()
    monkeypatch.setattr("sentinel.agent.upperdir.Tally", lambda limits: Tally(limits, names=20_000))
    assert looked_at(upper).measure().entries == 20 * 51


def test_hard_links_count_against_the_budget_for_names(
    upper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(100):
        (upper / f"a{index}").touch()
        os.link(upper / f"a{index}", upper / f"b{index}")
    monkeypatch.setattr("sentinel.agent.upperdir.Tally", lambda limits: Tally(limits, names=40_000))
    with pytest.raises(CommitFailure, match="hard links"):
        looked_at(upper).measure()


def test_no_more_is_written_than_was_reserved(upper: Path, tmp_path: Path) -> None:
    (upper / "file").write_bytes(bytes(100_000))
    looked = looked_at(upper)
    reserved = looked.measure().tar_bytes
    with (upper / "file").open("ab") as file:
        file.write(bytes(50_000_000))
    with pytest.raises(CommitFailure, match="wrote more while its commit was prepared") as caught:
        write_layer(looked, tmp_path / "layer.tar", most=reserved, stop=Event())
    assert caught.value.why is CommitReason.TOO_BIG
    assert (tmp_path / "layer.tar").stat().st_size <= reserved


def test_a_stopped_walk_ends(upper: Path, tmp_path: Path) -> None:
    (upper / "file").touch()
    stop = Event()
    stop.set()
    with pytest.raises(CommitFailure) as caught:
        looked_at(upper, stop=stop).measure()
    assert caught.value.why is CommitReason.DEADLINE


def test_a_file_that_became_another_is_noticed(upper: Path) -> None:
    (upper / "file").write_text("one")
    entry = next(looked_at(upper).walk())
    (upper / "other").write_text("two")
    (upper / "other").rename(upper / "file")
    parent = os.open(upper, os.O_RDONLY)
    changed = type(entry)(parent, entry.name, entry.path, entry.info)
    with pytest.raises(CommitFailure, match="changed while it was read"), opened(changed):
        raise AssertionError("it was opened")
    os.close(parent)


def test_a_file_that_shrank_is_noticed(upper: Path, tmp_path: Path) -> None:
    (upper / "a").write_bytes(bytes(10_000_000))
    (upper / "b").write_bytes(b"0123456789")

    class Shrinking(UpperDir):
        def walk(self):  # type: ignore[no-untyped-def]
            for entry in super().walk():
                os.truncate(upper / entry.name, 5)
                yield entry

    shrinking = Shrinking(upper, limits=PLENTY, stop=Event())
    with pytest.raises(CommitFailure, match="/a' shrank while it was read") as caught:
        write_layer(shrinking, tmp_path / "layer.tar", most=NO_LIMIT, stop=Event())
    assert caught.value.why is CommitReason.RUNTIME_ERROR


def test_names_are_shown_without_control_characters() -> None:
    assert shown("a\x1b[31m\udcff\n") == r"'/a\x1b[31m\udcff\n'"
    assert len(shown("x" * 1000)) == 120


class TestMountResidue:
    """What a mount leaves behind is dropped; what the box or its image put there is not."""

    MOUNTS = frozenset(
        {
            "/proc",
            "/etc/hosts",
            "/etc/hostname",
            "/mnt/wercker",
            "/run/sentinel/kit",
            "/run/sentinel/session",
            "/var/run/secrets/kubernetes.io/serviceaccount",
            "/data",
        }
    )

    def found(self, upper: Path, lower: Path) -> list[str]:
        return sorted(mount_residue(upper, lowers=[lower], mounts=self.MOUNTS))

    def test_empty_places_go_with_the_directories_made_for_them(
        self, upper: Path, tmp_path: Path
    ) -> None:
        lower = tmp_path / "lower"
        (lower / "etc").mkdir(parents=True)
        (lower / "run").mkdir()
        for folder in ("run/sentinel/kit", "run/sentinel/session", "mnt/wercker", "etc", "proc"):
            (upper / folder).mkdir(parents=True)
        (upper / "etc/hosts").touch()
        (upper / "etc/hostname").touch()
        assert self.found(upper, lower) == [
            "etc",
            "etc/hostname",
            "etc/hosts",
            "mnt",
            "mnt/wercker",
            "proc",
            "run",
            "run/sentinel",
            "run/sentinel/kit",
            "run/sentinel/session",
        ]

    def test_what_holds_something_stays(self, upper: Path, tmp_path: Path) -> None:
        (tmp_path / "lower").mkdir()
        (upper / "mnt/wercker").mkdir(parents=True)
        (upper / "mnt/file").touch()
        (upper / "etc").mkdir()
        (upper / "etc/hosts").write_text("not empty")
        (upper / "data").mkdir()
        (upper / "data/file").touch()
        assert self.found(upper, tmp_path / "lower") == ["mnt/wercker"]

    def test_a_directory_that_the_box_changed_stays(self, upper: Path, tmp_path: Path) -> None:
        (tmp_path / "lower/etc").mkdir(parents=True)
        (upper / "etc").mkdir()
        (upper / "etc").chmod(0o700)
        (upper / "etc/hosts").touch()
        assert self.found(upper, tmp_path / "lower") == ["etc/hosts"]

    def test_places_are_found_behind_the_images_links(self, upper: Path, tmp_path: Path) -> None:
        (tmp_path / "lower/var").mkdir(parents=True)
        (tmp_path / "lower/run").mkdir()
        (tmp_path / "lower/var/run").symlink_to("../run")
        (upper / "run/secrets/kubernetes.io/serviceaccount").mkdir(parents=True)
        assert self.found(upper, tmp_path / "lower") == [
            "run",
            "run/secrets",
            "run/secrets/kubernetes.io",
            "run/secrets/kubernetes.io/serviceaccount",
        ]

    def test_links_in_a_ring_end(self, upper: Path, tmp_path: Path) -> None:
        (tmp_path / "lower").mkdir()
        (upper / "mnt").symlink_to("data")
        (upper / "data").symlink_to("mnt")
        assert self.found(upper, tmp_path / "lower") == []

    def test_links_do_not_lead_out_of_the_tree(self, upper: Path, tmp_path: Path) -> None:
        (tmp_path / "lower").mkdir()
        (tmp_path / "elsewhere/wercker").mkdir(parents=True)
        (upper / "mnt").symlink_to(tmp_path / "elsewhere")
        assert self.found(upper, tmp_path / "lower") == []
