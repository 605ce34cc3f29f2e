"""An image from scratch: which directory of a box is its root, and what of it is in the layer."""

from __future__ import annotations

import asyncio
import os
import tarfile
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.agent.trees import NO_LIMIT, apply, needs_root, overlay, tree

from sentinel.agent.changes import measured
from sentinel.agent.failures import CommitFailure
from sentinel.agent.layer import DEVICES, RESERVED, LeftOut, PlainLayer, write_layer
from sentinel.agent.runtimes.base import Box
from sentinel.agent.threads import Threads
from sentinel.api.imagecommit import ImageCommitSpec
from sentinel.api.reasons import CommitReason
from sentinel.clock import SystemClock

OUTPUT, SOURCE = "/pipeline/output", "/pipeline/source"


def box_of(upper: Path, *lowers: Path, mounts: tuple[str, ...] = ("/proc", "/etc/hosts")) -> Box:
    return Box(
        id="c",
        image="",
        upper=upper,
        lowers=lowers,
        mounts=frozenset(mounts),
    )


def spec(*directories: str, **more: Any) -> ImageCommitSpec:
    return ImageCommitSpec.model_validate(
        {
            "nodeName": "n",
            "podName": "p",
            "podUid": "u",
            "containerId": "containerd://c",
            "repository": "r/x",
            "tags": ["t"],
            "deadline": "2026-11-27T01:00:00Z",
            "scratchFrom": list(directories or (OUTPUT, SOURCE)),
            **more,
        }
    )


async def layer(
    box: Box, target: Path, *directories: str, **more: Any
) -> tuple[PlainLayer, list[tarfile.TarInfo]]:
    """The layer of an image from scratch, and its members."""
    tools = cast(Any, SimpleNamespace(walks=asyncio.Lock(), threads=Threads(SystemClock())))
    upper, size, _ = await measured(spec(*directories, **more), box, tools)
    written = write_layer(upper, target, most=NO_LIMIT, stop=Event())
    assert written.size <= size.tar_bytes
    with tarfile.open(target, "r:") as tar:
        return written, tar.getmembers()


async def names(box: Box, target: Path, *directories: str, **more: Any) -> list[str]:
    _, members = await layer(box, target, *directories, **more)
    return [member.name for member in members]


async def refusal(box: Box, target: Path, *directories: str, **more: Any) -> str:
    with pytest.raises(CommitFailure) as caught:
        await layer(box, target, *directories, **more)
    assert caught.value.why is CommitReason.UNSUPPORTED
    return caught.value.message.removeprefix("no image from scratch: ")


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """What a box wrote: a program and a page in the output, the source, and a secret beside them."""
    top = tmp_path / "upper"
    output = top / "pipeline/output"
    (output / "www").mkdir(parents=True)
    (output / "app").write_bytes(b"ELF")
    (output / "www/index.html").write_bytes(b"<p>")
    os.link(output / "app", output / "www/again")
    (output / "link").symlink_to("www/index.html")
    os.mkfifo(output / "fifo")
    (output / ".wh.odd").touch()
    (top / "pipeline/source").mkdir()
    (top / "pipeline/source/main.c").touch()
    (top / "root").mkdir()
    (top / "root/secret").touch()
    for path, mode in {
        "app": 0o755,
        "www/index.html": 0o640,
        "www": 0o750,
        "fifo": 0o600,
    }.items():
        (output / path).chmod(mode)
        os.utime(output / path, (1_600_000_000, 1_600_000_000))
    os.utime(output / "link", (1_600_000_001, 1_600_000_001), follow_symlinks=False)
    return top


async def test_the_output_is_the_root_of_the_layer_and_nothing_else_is_in_it(
    upper: Path, tmp_path: Path
) -> None:
    written, members = await layer(box_of(upper), tmp_path / "layer.tar")

    owner = (os.geteuid(), os.getegid())
    assert [
        (each.name, each.type, each.mode, (each.uid, each.gid), each.mtime, each.size)
        for each in members
    ] == [
        ("app", tarfile.REGTYPE, 0o755, owner, 1_600_000_000, 3),
        ("fifo", tarfile.FIFOTYPE, 0o600, owner, 1_600_000_000, 0),
        ("link", tarfile.SYMTYPE, 0o777, owner, 1_600_000_001, 0),
        ("www", tarfile.DIRTYPE, 0o750, owner, 1_600_000_000, 0),
        ("www/again", tarfile.LNKTYPE, 0o755, owner, 1_600_000_000, 0),
        ("www/index.html", tarfile.REGTYPE, 0o640, owner, 1_600_000_000, 3),
    ]
    assert [each.linkname for each in members if each.linkname] == ["www/index.html", "app"]
    assert written.dropped == (LeftOut(what=RESERVED, count=1, first="pipeline/output/.wh.odd"),)


async def test_the_source_is_the_root_where_the_output_is_empty(
    upper: Path, tmp_path: Path
) -> None:
    (upper / "pipeline/output").rename(upper / "elsewhere")
    assert await names(box_of(upper), tmp_path / "a.tar") == ["main.c"]
    (upper / "pipeline/output").mkdir()
    assert await names(box_of(upper), tmp_path / "b.tar") == ["main.c"]
    # A place of a mount in it was made by the runtime.
    (upper / "pipeline/output/cache").mkdir()
    box = box_of(upper, mounts=("/pipeline/output/cache",))
    assert await names(box, tmp_path / "c.tar") == ["main.c"]


async def test_exclude_paths_hold_in_it(upper: Path, tmp_path: Path) -> None:
    box = box_of(upper)
    rules = ["/pipeline/output/www", "/root", "/pipeline/output/app"]
    assert await names(box, tmp_path / "a.tar", excludePaths=rules) == ["fifo", "link"]
    assert await refusal(box, tmp_path / "b.tar", excludePaths=["/pipeline"]) == (
        "/pipeline/output is left out of images by /pipeline of image.excludePaths"
    )


async def test_nothing_to_push_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    assert await refusal(box_of(tmp_path / "upper"), tmp_path / "layer.tar") == (
        "nothing is in /pipeline/output or /pipeline/source"
    )


@pytest.mark.parametrize("mount", ["/pipeline", "/pipeline/output", "/pipeline/output/"])
async def test_a_volume_is_not_part_of_the_box(upper: Path, tmp_path: Path, mount: str) -> None:
    said = await refusal(box_of(upper, mounts=(mount,)), tmp_path / "layer.tar")
    assert said.startswith(f"/pipeline/output lies in the volume mounted at {mount}, and volumes")


@pytest.mark.parametrize("path", ["pipeline", "pipeline/output"])
async def test_links_are_not_followed(upper: Path, tmp_path: Path, path: str) -> None:
    (upper / path).rename(upper / "aside")
    (upper / path).symlink_to("/root")
    said = await refusal(box_of(upper), tmp_path / "layer.tar")
    assert said == "/pipeline/output is a link, or reached through one"


async def test_links_of_the_image_are_not_followed_either(upper: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    (image / "go").symlink_to("root")
    said = await refusal(box_of(upper, image), tmp_path / "layer.tar", "/go/src")
    assert said == "/go/src is a link, or reached through one"


async def test_a_file_is_not_an_output(upper: Path, tmp_path: Path) -> None:
    said = await refusal(box_of(upper), tmp_path / "layer.tar", "/pipeline/output/app")
    assert said == "/pipeline/output/app is not a directory"


@pytest.mark.parametrize("path", ["/", "/a/../../b", "/..", "/a/.", "a", "//a", "/a/", "/a//b"])
def test_only_plain_absolute_paths_can_be_asked_for(path: str) -> None:
    with pytest.raises(ValueError, match="should match pattern"):
        spec(path)


@pytest.mark.parametrize("path", ["/a", "/.a", "/..a/...", "/go/src/example.com/a-b"])
def test_names_with_dots_are_names(path: str) -> None:
    assert spec(path).scratch_from == [path]


@needs_root
async def test_only_what_steps_wrote_is_read(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "pipeline/output/old").mkdir(parents=True)
    (base / "pipeline/source").mkdir()
    with overlay(tmp_path, base=base) as box:
        (box.merged / "pipeline/output/new").touch()
        found = box_of(box.upper, box.lower)
        assert (await refusal(found, tmp_path / "a.tar")).startswith(
            "files of /pipeline/output are in the box's own image, and only what steps wrote is read"
        )
        # A directory that was removed and made again hides the image's.
        (box.merged / "pipeline/output/old").rmdir()
        (box.merged / "pipeline/output/new").unlink()
        (box.merged / "pipeline/output").rmdir()
        (box.merged / "pipeline/output/d").mkdir(parents=True)
        (box.merged / "pipeline/output/d/file").write_text("new")
        os.mknod(box.merged / "pipeline/output/null", 0o20666, os.makedev(1, 3))
        expected = tree(box.merged / "pipeline/output")
        del expected["null"]
        written, members = await layer(found, tmp_path / "b.tar")
    assert [each.name for each in members] == ["d", "d/file"]
    assert [each.what for each in written.dropped] == [DEVICES]
    (tmp_path / "image").mkdir()
    apply(tmp_path / "b.tar", tmp_path / "image")
    assert tree(tmp_path / "image") == expected


@needs_root
async def test_what_a_layer_of_the_image_hides_is_not_in_the_image(tmp_path: Path) -> None:
    """A box that continues an image with an earlier output, which was removed there."""
    first = tmp_path / "first"
    (first / "pipeline/output/old").mkdir(parents=True)
    with overlay(tmp_path / "second", base=first) as second:
        (second.merged / "pipeline/output/old").rmdir()
        (second.merged / "pipeline/output").rmdir()
        (second.merged / "pipeline").rmdir()
        (second.merged / "pipeline").mkdir()
    upper = tmp_path / "upper"
    (upper / "pipeline/output").mkdir(parents=True)
    (upper / "pipeline/output/app").touch()
    assert await names(box_of(upper, second.upper, first), tmp_path / "layer.tar") == ["app"]
    assert "are in the box's own image" in await refusal(
        box_of(upper, first), tmp_path / "layer.tar"
    )
