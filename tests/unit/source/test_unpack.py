from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from tests.unit.source.archives import FORMATS, Made, pack, snapshot, tar, zipped

from sentinel.source.unpack import ArchiveLimits, Refused, Unpacked, unpack

PROJECT = (
    Made(name="wercker.yml", data=b"box: busybox\n"),
    Made(name="bin", kind="dir", mode=0o755),
    Made(name="bin/run.sh", data=b"#!/bin/sh\n", mode=0o755),
    Made(name="link.yml", kind="symlink", target="wercker.yml"),
    Made(name="deep/er/er/file", data=b"x" * 100_000),
    Made(name="bin/up", kind="symlink", target="../deep/er"),
    Made(name="missing", kind="symlink", target="bin/not-there-yet"),
    Made(name="grüße & \\ back", data=b"hello"),
)


class World:
    """A directory with something beside `dest` that must not change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outside = path / "outside"
        self.outside.mkdir()
        (self.outside / "precious").write_text("precious")
        self.dest = path / "place" / "dest"
        self.dest.mkdir(parents=True)
        self.before = snapshot(path)

    def unpack(
        self, data: bytes, *, limits: ArchiveLimits | None = None, strip: str = "auto"
    ) -> Unpacked:
        archive = self.path / "archive"
        archive.write_bytes(data)
        try:
            return unpack(
                str(archive), str(self.dest), limits=limits or ArchiveLimits(), strip=strip
            )
        finally:
            archive.unlink()

    def refused(
        self, data: bytes, kind: str, *, limits: ArchiveLimits | None = None, strip: str = "auto"
    ) -> str:
        """The message; and nothing anywhere is new or changed, the empty destination included."""
        with pytest.raises(Refused) as caught:
            self.unpack(data, limits=limits, strip=strip)
        assert caught.value.kind == kind, caught.value.message
        assert snapshot(self.path) == self.before
        assert caught.value.message.isprintable()
        return caught.value.message

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.dest)) for path in self.dest.rglob("*"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_project_as_it_was(world: World, form: str) -> None:
    done = world.unpack(pack(form, *PROJECT))
    assert (done.stripped, done.bytes) == ("", sum(len(each.data) for each in PROJECT))
    assert done.entries == len(PROJECT) + 3, "three directories are only implied"
    for each in PROJECT:
        path = world.dest / each.name
        if each.kind == "symlink":
            assert path.readlink() == Path(each.target)
        elif each.kind == "file":
            assert path.read_bytes() == each.data
            assert stat.S_IMODE(path.stat().st_mode) == each.mode
            assert path.stat().st_mtime == 1_500_000_000
            assert path.stat().st_uid == os.getuid()
    assert (world.dest / "bin" / "up" / "er" / "file").is_file()
    assert stat.S_IMODE((world.dest / "bin").stat().st_mode) == 0o755
    assert not list(world.dest.glob(".unpack*"))


@pytest.mark.parametrize("form", ["--format=gnu", "--format=ustar", "--format=pax", "--format=v7"])
def test_what_gnu_tar_packs_comes_out_the_same(world: World, tmp_path: Path, form: str) -> None:
    project = tmp_path / "outside" / "project"
    long = "d" * (120 if form in ("--format=gnu", "--format=pax") else 20)
    (project / long / "sub").mkdir(parents=True)
    (project / long / "sub" / ("f" * 60)).write_bytes(os.urandom(5000))
    (project / "empty").mkdir(mode=0o700)
    (project / "run").write_bytes(b"x")
    (project / "run").chmod(0o4755)
    os.link(project / "run", project / "same")
    (project / "there").symlink_to(f"{long}/sub")
    data = subprocess.run(
        ["tar", form, "-cf", "-", "-C", str(project), "."], check=True, capture_output=True
    ).stdout
    world.unpack(data)
    was, now = snapshot(project), snapshot(world.dest)
    assert sorted(now) == sorted(was)
    for name in ("there", "empty", long, f"{long}/sub"):
        assert now[name] == was[name]
    assert (world.dest / "run").stat().st_mode & 0o7777 == 0o755, "setuid is dropped"
    assert (world.dest / "run").samefile(world.dest / "same")


def test_git_archives_lose_their_leading_directory(world: World) -> None:
    data = tar(
        Made(name="project-1.0", kind="dir", mode=0o775),
        Made(name="project-1.0/wercker.yml", data=b"box: x\n"),
        Made(name="project-1.0/a/b", data=b"b"),
        Made(name="project-1.0/a/link", kind="symlink", target="../wercker.yml"),
        headers={"comment": "0" * 40},
    )
    done = world.unpack(data)
    assert done.stripped == "project-1.0"
    assert world.names() == ["a", "a/b", "a/link", "wercker.yml"]
    assert (world.dest / "a" / "link").read_text() == "box: x\n"


def test_a_git_archive_without_a_prefix_keeps_its_directories(world: World) -> None:
    data = tar(
        Made(name="wercker.yml", data=b"box: x\n"),
        Made(name="src/a", data=b"a"),
        headers={"comment": "0" * 40},
    )
    assert world.unpack(data).stripped == ""
    assert world.names() == ["src", "src/a", "wercker.yml"]


def test_what_was_packed_from_inside_keeps_its_only_directory(world: World) -> None:
    data = tar(Made(name="./", kind="dir"), Made(name="./src/a", data=b"a"))
    assert world.unpack(data).stripped == ""
    assert world.names() == ["src", "src/a"]


@pytest.mark.parametrize(
    ("strip", "names"), [("none", ["p", "p/a"]), ("one", ["a"]), ("auto", ["a"])]
)
def test_the_leading_directory_can_be_asked_for(world: World, strip: str, names: list[str]) -> None:
    world.unpack(zipped(Made(name="p/a", data=b"a")), strip=strip)
    assert world.names() == names


def test_stripping_what_does_not_exist_is_refused(world: World) -> None:
    data = tar(Made(name="p/a"), Made(name="b"))
    assert "below one directory" in world.refused(data, "broken", strip="one")


OUTSIDE = (
    "../outside/precious",
    "a/../../outside/new",
    "..",
    "a/..",
    "/etc/passwd",
    "//x",
    "./../x",
)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_leave_are_refused(world: World, form: str, name: str) -> None:
    message = world.refused(pack(form, Made(name="fine"), Made(name=name, data=b"evil")), "unsafe")
    assert message.startswith(f"entry {name!r} has ")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\x1b[31mb", "a\x7f", "a\x9bb", "a\u2028b"])
def test_control_characters_in_names_are_refused(world: World, form: str, name: str) -> None:
    message = world.refused(pack(form, Made(name=name)), "unsafe")
    assert ascii(name) in message
    assert "control character" in message


def test_a_nul_in_a_name_is_refused_and_not_cut_off(world: World) -> None:
    name = "harmless.txt\0.sh"
    data = zipped(Made(name="harmless.txtX.sh")).replace(b"txtX.sh", b"txt\0.sh")
    assert ascii(name) in world.refused(data, "unsafe")
    pax = tar(Made(name="harmlessä.txtX.sh")).replace(b"txtX.sh", b"txt\0.sh", 1)
    assert "control character" in world.refused(pax, "unsafe")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "links",
    [
        {"evil": "/etc/passwd"},
        {"evil": "../outside/precious"},
        {"a/evil": "../../outside"},
        {"a/here": ".", "evil": "a/here/../../outside"},
        {"a/b/up": "../..", "evil": "a/b/up/.."},
        {"evil": "missing/../../outside"},
        {"one": "a/two", "a/two": "three", "a/three": "../../outside"},
    ],
)
def test_symbolic_links_that_lead_out_are_refused(
    world: World, form: str, links: dict[str, str]
) -> None:
    entries = [Made(name=name, kind="symlink", target=target) for name, target in links.items()]
    message = world.refused(pack(form, Made(name="b", data=b"b"), *entries), "unsafe")
    assert "symbolic link" in message
    assert any(repr(name) in message for name in links)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("target", ["inside", "../outside", "/tmp", "."])
def test_a_file_below_a_symbolic_link_is_refused(world: World, form: str, target: str) -> None:
    entries = (
        Made(name="inside", kind="dir", mode=0o755),
        Made(name="link", kind="symlink", target=target),
        Made(name="link/file", data=b"evil"),
    )
    message = world.refused(pack(form, *entries), "unsafe")
    assert "'link/file' lies below 'link', which is a symbolic link" in message or target == "/tmp"


def test_a_link_out_of_the_leading_directory_is_refused(world: World) -> None:
    data = tar(
        Made(name="p/wercker.yml"), Made(name="p/link", kind="symlink", target="../p/wercker.yml")
    )
    assert "'p/link'" in world.refused(data, "unsafe")
    world.unpack(data, strip="none")


def test_links_in_circles_and_endless_chains_are_refused(world: World) -> None:
    circle = tar(Made(name="b"), Made(name="a", kind="symlink", target="a/x"))
    assert "in circles" in world.refused(circle, "unsafe")
    chain = [Made(name=f"l{i}", kind="symlink", target=f"l{i + 1}") for i in range(60)]
    assert "'l0'" in world.refused(tar(*chain), "unsafe")


def test_many_links_that_multiply_do_not_take_forever(world: World) -> None:
    long = "/".join(["."] * 500)
    data = tar(
        *(Made(name=f"l{i}", kind="symlink", target=f"{long}/l{i + 1}") for i in range(30)),
        *(Made(name=f"m{i}", kind="symlink", target="l0") for i in range(1500)),
    )
    assert "too many other links" in world.refused(data, "unsafe")


@pytest.mark.parametrize(
    "target",
    ["../outside/precious", "/etc/passwd", "fine/../../outside/precious", "missing", "dir", "."],
)
def test_hard_links_go_to_files_of_the_archive_only(world: World, target: str) -> None:
    data = tar(
        Made(name="dir", kind="dir", mode=0o755),
        Made(name="fine"),
        Made(name="evil", kind="hardlink", target=target),
        # Would be written through it.
        Made(name="evil", data=b"evil"),
    )
    assert "'evil' is a hard link to " in world.refused(data, "unsafe")


def test_a_hard_link_to_a_symbolic_link_is_checked_like_one(world: World) -> None:
    data = tar(
        Made(name="a/b/link", kind="symlink", target="../../x"),
        Made(name="evil", kind="hardlink", target="a/b/link"),
    )
    assert "'evil' is a symbolic link to '../../x'" in world.refused(data, "unsafe", strip="none")


def test_hard_links_count_as_what_a_copy_makes_of_them(world: World) -> None:
    data = tar(
        Made(name="big", data=os.urandom(100_000)),
        *(Made(name=f"copy{i}", kind="hardlink", target="big") for i in range(100)),
    )
    limits = ArchiveLimits(bytes=5_000_000)
    assert "'copy" in world.refused(data, "too-large", limits=limits)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("kind", "word"), [("device", "a device"), ("fifo", "a FIFO")])
def test_devices_and_pipes_are_refused(world: World, form: str, kind: str, word: str) -> None:
    message = world.refused(pack(form, Made(name="odd", kind=kind)), "unsafe")
    assert message.startswith(f"entry 'odd' is {word}")


def test_of_entries_with_one_name_the_last_counts(world: World) -> None:
    world.unpack(
        tar(
            Made(name="a", data=b"first", mode=0o755),
            Made(name="twin", kind="hardlink", target="a"),
            Made(name="a", data=b"second"),
            Made(name="b", kind="symlink", target="a"),
            Made(name="b", data=b"no link any more"),
            Made(name="c", data=b"file"),
            Made(name="c", kind="symlink", target="a"),
            Made(name="d", kind="dir"),
            Made(name="d", data=b"was empty"),
            Made(name="e", data=b"file"),
            Made(name="e", kind="dir", mode=0o750),
            Made(name="e/f", data=b"f"),
            Made(name="a", kind="hardlink", target="a"),
        )
    )
    assert {name: (world.dest / name).read_text() for name in ("a", "twin", "b", "d", "e/f")} == {
        "a": "second",
        "twin": "first",
        "b": "no link any more",
        "d": "was empty",
        "e/f": "f",
    }
    assert (world.dest / "c").readlink() == Path("a")
    assert not (world.dest / "b").is_symlink()
    assert stat.S_IMODE((world.dest / "a").stat().st_mode) == 0o644


@pytest.mark.parametrize("second", [Made(name="d"), Made(name="d", kind="symlink", target="x")])
def test_a_full_directory_is_not_replaced(world: World, second: Made) -> None:
    for below in (Made(name="d/f"), Made(name="d/l", kind="symlink", target="f")):
        assert "directory with entries" in world.refused(tar(below, second), "unsafe")


def _limited(archive: Path, dest: Path, limits: str, file_size: int) -> str:
    """What unpacking says in a process that the kernel lets write files of `file_size` bytes at most."""
    code = (
        "import resource, sys; from sentinel.source.unpack import *\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({file_size}, {file_size}))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))\n"
        f"try: unpack({str(archive)!r}, {str(dest)!r}, limits=ArchiveLimits({limits}))\n"
        "except Refused as e: print(e.kind, e.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=170, check=True
    )
    return done.stdout


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_a_bomb_stops_at_its_limit_whatever_it_declares(tmp_path: Path, form: str) -> None:
    zeros = pack(form, Made(name="ok"), Made(name="bomb", data=bytes(300 << 20)))
    archive, dest = tmp_path / "bomb", tmp_path / "dest"
    archive.write_bytes(zeros)
    limit = (16 << 20) + 1
    said = _limited(archive, dest, "bytes=16 << 20, ratio=10**6", limit)
    assert said.startswith("too-large the archive unpacks to more than 16 MiB; ")
    assert "'bomb'" in said
    # By its ratio: 200 times the packed size, or 8 MiB.
    most = max(8 << 20, 200 * len(zeros)) + 1
    said = _limited(archive, dest, "", most)
    assert said.startswith("too-large the archive unpacks to more than 200 times its own size")
    assert list(dest.iterdir()) == []


def test_a_zstd_bomb_stops_and_its_process_ends(world: World) -> None:
    header = tar(Made(name="bomb", data=b""))[:512]
    size = b"%011o\0" % (4 << 30)
    header = header[:124] + size + header[136:148] + b"        " + header[156:]
    header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    zst = subprocess.run(
        ["zstd", "-qc"], input=header + bytes(64 << 20), check=True, capture_output=True
    ).stdout
    assert "200 times" in world.refused(zst, "too-large")
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    assert not any(
        Path(f"/proc/{pid}/comm").read_text().startswith("zstd") for pid in children.split()
    )


def test_zstd_gets_no_more_memory_than_it_may(world: World) -> None:
    data = os.urandom(1 << 20)
    project = tar(*(Made(name=f"f{i}", data=data) for i in range(80)))
    command = ["zstd", "-qc", "-1", "--long=27", "--single-thread", f"--stream-size={len(project)}"]
    zst = subprocess.run(command, input=project, check=True, capture_output=True).stdout
    assert "64 MiB of memory" in world.refused(zst, "too-large", limits=ArchiveLimits(ratio=1000))


@pytest.mark.parametrize("form", FORMATS)
def test_too_many_entries_are_refused(world: World, form: str) -> None:
    data = pack(form, *(Made(name=f"f{i}") for i in range(101)))
    assert "more than 100 entries" in world.refused(
        data, "too-large", limits=ArchiveLimits(entries=100)
    )
    world.unpack(data, limits=ArchiveLimits(entries=101))


def test_a_zip_with_millions_of_entries_is_refused_before_they_are_read(tmp_path: Path) -> None:
    head = struct.pack(
        "<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0
    )
    count = 2_000_000
    directory = (head + b"x") * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    archive = tmp_path / "many.zip"
    archive.write_bytes(directory + end)
    # zipfile would take a gigabyte for them; the process may have 200 MiB.
    archive.write_bytes(b"PK\3\4" + directory[4:] + end)
    assert "more than 100000 entries" in _limited(archive, tmp_path / "dest", "", 1 << 30)


def test_directories_that_only_names_imply_count_as_entries(world: World) -> None:
    data = tar(*(Made(name=f"{i}/" + "/".join("abcdefgh") + "/f") for i in range(20)))
    assert "entries" in world.refused(data, "too-large", limits=ArchiveLimits(entries=100))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "name",
    ["n" * 256, "/".join(["d" * 50] * 25), "/".join(["d"] * 200)],
    ids=["part", "all", "deep"],
)
def test_names_that_are_too_long_are_refused(world: World, form: str, name: str) -> None:
    message = world.refused(pack(form, Made(name=name)), "too-large")
    assert "horter names" in message
    assert len(message) < 1000


def test_a_header_of_gigabytes_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    for kind in (b"x", b"g", b"L", b"K"):
        header = bytearray(tar(Made(name="a"))[:512])
        header[124:136] = b"%011o\0" % (6 << 30)
        header[156:157] = kind
        header[148:156] = b"        "
        header[148:156] = b"%06o\0 " % sum(header)
        archive = tmp_path / "huge"
        with gzip.open(archive, "wb", compresslevel=1) as file:
            file.write(bytes(header))
            for _ in range(40):
                file.write(bytes(1 << 20))
        said = _limited(archive, tmp_path / "dest", "", 1 << 30)
        assert said.startswith("too-large the archive has a header or name of 6442450944 bytes")


def test_headers_without_end_are_refused(world: World) -> None:
    header = tar(Made(name="ä" * 80))[:1024]
    assert header[156:157] == b"x"
    data = gzip.compress(header * 40_000)
    message = world.refused(data, "too-large", limits=ArchiveLimits(bytes=10 << 20, entries=1000))
    assert "what lies between its entries" in message


def test_sparse_files_are_refused(world: World, tmp_path: Path) -> None:
    holes = tmp_path / "outside" / "holes"
    with holes.open("wb") as file:
        file.truncate(1 << 40)
    for form in ("--format=gnu", "--format=pax"):
        data = subprocess.run(
            ["tar", form, "--sparse", "-cf", "-", "-C", str(holes.parent), "holes"],
            check=True,
            capture_output=True,
        ).stdout
        world.before = snapshot(tmp_path / "place")
        with pytest.raises(Refused, match="sparse file") as caught:
            world.unpack(data)
        assert caught.value.kind == "unsafe"


@pytest.mark.parametrize("form", FORMATS)
def test_wherever_an_archive_is_cut_off_it_is_broken(world: World, form: str) -> None:
    data = pack(form, Made(name="a", data=os.urandom(3000)), Made(name="b/c", data=os.urandom(700)))
    # tar pads its end with zeros, which nobody misses.
    last = len(data.rstrip(b"\0")) if form == "tar" else len(data)
    for size in [0, 1, 100, 511, 512, 513, *range(600, last, 97), last - 1]:
        if size < last:
            world.refused(data[:size], "broken")


@pytest.mark.parametrize("form", ["tar.gz", "tar.zst", "zip"])
def test_damaged_content_is_broken(world: World, form: str) -> None:
    data = bytearray(pack(form, Made(name="a", data=os.urandom(3000))))
    data[1500] ^= 0xFF
    world.refused(bytes(data), "broken")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (
            b"<!DOCTYPE html><html>Please log in</html>" * 100,
            "not an archive: tar, tar.gz, tar.zst and zip are supported. It looks like a web page",
        ),
        (b"BZh91AY&SY" + bytes(1000), "packed with bzip2"),
        (b"\xfd7zXZ\0" + bytes(1000), "packed with xz"),
        (gzip.compress(b"just text" * 1000, mtime=0), "is not a tar archive"),
        (gzip.compress(b"", mtime=0), "cut off"),
    ],
)
def test_what_is_not_an_archive_says_what_it_is(world: World, data: bytes, words: str) -> None:
    assert words in world.refused(data, "broken")


def test_zips_we_cannot_read_say_why(world: World) -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("a", b"a" * 1000)
        assert "deflate" in world.refused(out.getvalue(), "broken")
    secret = bytearray(zipped(Made(name="a", data=b"a")))
    secret[secret.index(b"PK\1\2") + 8] |= 1
    assert "encrypted" in world.refused(bytes(secret), "broken")


def test_a_zip_from_windows_has_directories(world: World) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("src\\main.c", "wercker.yml"):
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system = name, 0
            archive.writestr(info, b"x")
    world.unpack(out.getvalue())
    assert world.names() == ["src", "src/main.c", "wercker.yml"]
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename, info.create_system = "..\\evil", 0
        archive.writestr(info, b"x")
    other = World(world.path / "outside")
    assert "`..`" in other.refused(evil.getvalue(), "unsafe")


def test_an_empty_archive_is_an_empty_directory(world: World) -> None:
    for data in (tar(), zipped(), gzip.compress(tar())):
        assert world.unpack(data).entries == 0


def test_gzip_in_several_members_and_without_an_end_mark_is_read(world: World) -> None:
    data = tar(Made(name="a", data=b"a" * 2000), Made(name="b", data=b"b"))
    whole = data[: 512 + 2048 + 1024]
    world.unpack(gzip.compress(whole[:1000]) + gzip.compress(whole[1000:]) + bytes(100))
    assert world.names() == ["a", "b"]


def test_a_destination_with_something_in_it_is_left_alone(world: World) -> None:
    (world.dest / "here").touch()
    with pytest.raises(FileExistsError):
        world.unpack(tar(Made(name="a")))
    assert world.names() == ["here"]


def test_names_in_any_bytes_are_kept(world: World) -> None:
    name = "caf\udce9"
    world.unpack(tar(Made(name="x"), Made(name=name, data=b"latin"), form=tarfile.GNU_FORMAT))
    assert (world.dest / os.fsdecode(b"caf\xe9")).read_text() == "latin"


def test_files_are_readable_by_all_users_on_request(world: World) -> None:
    archive = world.path / "archive"
    archive.write_bytes(
        tar(Made(name="d", kind="dir", mode=0o700), Made(name="d/f", mode=0o600), Made(name="x"))
    )
    unpack(str(archive), str(world.dest), limits=ArchiveLimits(), readable=True)
    assert stat.S_IMODE((world.dest / "d").stat().st_mode) == 0o755
    assert stat.S_IMODE((world.dest / "d" / "f").stat().st_mode) == 0o644


def test_nothing_but_refusals_comes_of_damaged_headers(world: World) -> None:
    """Every byte of a tar and a zip is changed in turn; all answers are a Refused or a tree inside."""
    entries = (Made(name="ä/b", data=b"x" * 10), Made(name="l", kind="symlink", target="ä/b"))
    for number, data in enumerate((tar(*entries), zipped(*entries))):
        end = len(data.rstrip(b"\0"))
        for at in range(end):
            changed = bytearray(data)
            changed[at] = (0x00, 0xFF, data[at] ^ 0x01)[at % 3]
            if number == 0:
                _mend_checksum(changed, at)
            dest = world.path / "place" / f"{number}-{at}"
            archive = world.path / "archive"
            archive.write_bytes(changed)
            try:
                unpack(str(archive), str(dest), limits=ArchiveLimits(bytes=1 << 20))
            except Refused as refused:
                assert list(dest.iterdir()) == []
                assert refused.message.isprintable()
            # A file system may wait for the disk where a file is truncated and written again.
            archive.unlink()
    assert (world.outside / "precious").read_text() == "precious"
    assert sorted(path.name for path in world.path.iterdir()) == ["outside", "place"]


def _mend_checksum(data: bytearray, at: int) -> None:
    """As somebody would who means it."""
    start = at - at % 512
    if data[start + 257 : start + 262] == b"ustar" and not 148 <= at % 512 < 156:
        data[start + 148 : start + 156] = b"        "
        data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])


def test_a_pax_header_with_nothing_where_a_length_should_be_is_broken(world: World) -> None:
    data = bytearray(tar(Made(name="ä")))
    assert data[512:].startswith(b"11 path=")
    data[512 + 30] = ord("x")
    data[124:136] = b"%011o\0" % 40
    _mend_checksum(data, 124)
    assert "pax header" in world.refused(bytes(data), "broken")


def test_crc_errors_of_zips_are_found(world: World) -> None:
    data = zipped(Made(name="a", data=b"hello"))
    crc = struct.pack("<L", zlib.crc32(b"hello"))
    assert data.count(crc) == 2
    world.refused(data.replace(crc, b"\1\2\3\4"), "broken")
