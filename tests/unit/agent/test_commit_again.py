"""Several commits of one box: a real overlay and a real registry, no node."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.agent.test_scratch_push import BASE, BASE_CONFIG, Node, api_of, commit_to
from tests.unit.agent.trees import Overlay, needs_root, overlay, tar_of
from tests.unit.fakeapi import FakeApi
from tests.unit.registry import server

from sentinel.agent.app import empty_spool
from sentinel.agent.commit import run_commit
from sentinel.agent.indexes import Indexes
from sentinel.agent.runtimes.base import BaseImage, Box
from sentinel.agent.spool import Spool
from sentinel.agent.threads import Threads
from sentinel.agent.tools import Tools
from sentinel.clock import SystemClock
from sentinel.image.reference import parse_reference
from sentinel.registry import RegistryClient
from sentinel.settings import ImageSettings, NetworkSettings, Settings

SCRATCH = BaseImage(
    config=json.dumps({**BASE_CONFIG, "rootfs": {"type": "layers", "diff_ids": []}}).encode(),
    manifest=replace(BASE, layers=()),
)
"""A box's image without layers: nothing has to be copied."""


@dataclass
class World:
    """A box on a node, and its registry."""

    box: Overlay
    host: str
    folder: Path
    tools: Tools | None = None
    count: int = 0

    def restart(self) -> None:
        """A new process of the agent."""
        spool = self.folder / "spool"
        empty_spool(spool)
        container = Box(
            id="c",
            image=BASE.config.digest,
            base=SCRATCH,
            upper=self.box.upper,
            lowers=(self.box.lower,),
        )
        self.tools = Tools(
            threads=Threads(SystemClock()),
            kube=cast(Any, api_of(commit_to("unused"))),
            runtime=cast(Any, Node(container)),
            settings=Settings(
                node_name="n",
                images=ImageSettings(insecure_registries=[self.host], allowed_repositories=["*"]),
                network=NetworkSettings(allowed=["127.0.0.0/8"]),
            ),
            clock=SystemClock(),
            boot_id="boot",
            spool=Spool(spool),
        )

    async def commit(self, **spec: Any) -> dict[str, Any]:
        """The status of a commit of the box."""
        assert self.tools is not None
        self.count += 1
        given = {"tags": [f"t{self.count}"], "scratchFrom": [], "step": 0, "config": {}, **spec}
        asked = commit_to(f"{self.host}/ns/app", **given)
        asked["metadata"]["labels"] = {}
        cast(FakeApi, self.tools.kube).add("imagecommits", asked)
        await run_commit(namespace="ns", name="c", tools=self.tools)
        assert asked["status"]["phase"] == "Succeeded", asked["status"]
        return dict(asked["status"])

    async def layers(self, digest: str) -> list[list[str]]:
        """The names in each layer of an image."""
        reference = parse_reference(f"{self.host}/ns/app:t1").pinned(digest)
        found = []
        async with RegistryClient(insecure=[self.host]) as client:
            manifest = await client.get_image_manifest(reference)
            config = json.loads(await client.get_blob(reference, manifest.config, limit=1 << 20))
            assert (
                len(config["rootfs"]["diff_ids"]) == len(config["history"]) == len(manifest.layers)
            )
            for layer in manifest.layers:
                packed = [part async for part in client.stream_blob(reference, layer.digest)]
                with tar_of(gzip.decompress(b"".join(packed))) as tar:
                    found.append(tar.getnames())
        return found


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with overlay(tmp_path) as box, server.registry(tmp_path / "registry") as host:
        made = World(box, host, tmp_path)
        made.restart()
        yield made


@needs_root
async def test_each_commit_adds_a_layer_of_what_changed_since(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        top = made.box.merged
        (top / "one").write_text("1")
        first = await made.commit(remember=True)
        (top / "two").write_text("2")
        second = await made.commit(remember=True, previous=first["digest"])
        (top / "one").unlink()
        last = await made.commit(previous=second["digest"])
        assert await made.layers(last["digest"]) == [["one"], ["two"], [".wh.one"]]
    assert [each.get("onto", "") for each in (first, second, last)] == [
        "",
        first["digest"],
        second["digest"],
    ]
    assert "1 change since the last commit" in last["message"]
    # Nothing is kept of a box that is not committed again.
    assert list((tmp_path / "spool").iterdir()) == []


@needs_root
@pytest.mark.parametrize("why", ["restarted", "another image"])
async def test_what_the_agent_does_not_know_is_in_a_layer_on_the_box_s_image(
    tmp_path: Path, why: str
) -> None:
    async with world(tmp_path) as made:
        (made.box.merged / "one").write_text("1")
        first = await made.commit(remember=True)
        (made.box.merged / "two").write_text("2")
        previous = first["digest"]
        if why == "restarted":
            made.restart()
        else:
            previous = "sha256:" + "0" * 64
        second = await made.commit(remember=True, previous=previous)
        assert second.get("onto", "") == ""
        assert await made.layers(second["digest"]) == [["one", "two"]]
        (made.box.merged / "three").write_text("3")
        third = await made.commit(remember=True, previous=second["digest"])
        assert await made.layers(third["digest"]) == [["one", "two"], ["three"]]


@needs_root
async def test_an_image_that_is_gone_is_not_built_on(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        (made.box.merged / "one").write_text("1")
        await made.commit(remember=True)
        assert made.tools is not None
        lost = "sha256:" + "0" * 64
        (kept,) = (tmp_path / "spool").glob("index-*")
        copy = tmp_path / "copy"
        copy.write_bytes(kept.read_bytes())
        made.tools.indexes.keep("c", lost, copy)
        second = await made.commit(previous=lost)
        assert await made.layers(second["digest"]) == [["one"]]


def test_indexes_are_bounded_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, most=16 * 1000)
    indexes = Indexes(spool)
    for number in range(3):
        path = tmp_path / "given"
        path.write_bytes(bytes(400))
        indexes.keep(f"box{number}", "digest", path)
    assert indexes.open("box0", "digest") is None
    assert spool.kept == 800
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 800
    assert indexes.open("box2", "another") is None
    found = indexes.open("box2", "digest")
    assert found is not None
    found.close()
    indexes.forget("box2")
    assert spool.kept == 400


def test_an_index_gives_way_to_a_commit_that_would_not_fit(tmp_path: Path) -> None:
    spool = Spool(tmp_path, most=16 * 1000)
    indexes = Indexes(spool)
    for number in range(2):
        path = tmp_path / "given"
        path.write_bytes(bytes(400))
        indexes.keep(f"box{number}", "digest", path)
    indexes.make_room(15_200)
    assert spool.kept == 800
    indexes.make_room(15_600)
    assert spool.kept == 400
    assert indexes.open("box0", "digest") is None
    assert spool.fits(15_600, owner="team")
