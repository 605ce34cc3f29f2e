"""The agent's whole way of an image from scratch: a real overlay, a real registry, no node."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.agent.trees import needs_root, overlay, tar_of
from tests.unit.fakeapi import FakeApi
from tests.unit.registry import server

from sentinel.agent.commit import run_commit
from sentinel.agent.runtimes.base import BaseImage, Box, Freeze
from sentinel.agent.spool import Spool
from sentinel.agent.threads import Threads
from sentinel.agent.tools import Tools
from sentinel.api import API_VERSION
from sentinel.api.imagecommit import ACTIVE_LABEL
from sentinel.clock import SystemClock, rfc3339
from sentinel.image.manifest import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, Manifest
from sentinel.image.reference import parse_reference
from sentinel.registry import RegistryClient
from sentinel.settings import ImageSettings, NetworkSettings, Settings

OWNER = {"apiVersion": API_VERSION, "kind": "Build", "name": "b", "uid": "u", "controller": True}
BASE = Manifest(
    content=b"",
    media_type=OCI_MANIFEST,
    digest="sha256:" + "e" * 64,
    config=Descriptor(media_type=OCI_CONFIG, digest="sha256:" + "c" * 64, size=1),
    layers=(Descriptor(media_type=OCI_LAYER, digest="sha256:" + "a" * 64, size=9),),
)
"""The box's image, whose layer is nowhere: nobody may want it."""
BASE_CONFIG = {
    "architecture": "arm64",
    "os": "linux",
    "config": {"Env": ["TOKEN=of-the-box"], "Cmd": ["sh"], "User": "1000"},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "d" * 64]},
}


def api_of(commit: dict[str, Any]) -> FakeApi:
    """An API server with the objects of one commit."""
    pod = {
        "metadata": {"name": "p", "uid": "pod-uid", "ownerReferences": [OWNER]},
        "spec": {"nodeName": "n", "containers": [{"name": "box"}]},
        "status": {"containerStatuses": [{"name": "box", "containerID": "containerd://c"}]},
    }
    build = {"metadata": {"name": "b", "uid": "u"}, "spec": {}}
    return FakeApi(imagecommits=[commit], pods=[pod], builds=[build])


class Node:
    """A runtime with one box. It has no layer to read."""

    def __init__(self, box: Box) -> None:
        self.box = box

    async def locate(self, _: Any) -> Box:
        return self.box

    @asynccontextmanager
    async def frozen(self, box: Box, *, commit: str) -> AsyncIterator[Freeze]:
        assert (box.id, commit) == ("c", "commit-uid")
        yield Freeze()


def commit_to(repository: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "c",
            "namespace": "ns",
            "uid": "commit-uid",
            "resourceVersion": "1",
            "ownerReferences": [OWNER],
            "labels": {ACTIVE_LABEL: "scratch"},
        },
        "spec": {
            "nodeName": "n",
            "podName": "p",
            "podUid": "pod-uid",
            "containerName": "box",
            "containerId": "containerd://c",
            "repository": repository,
            "tags": ["one", "two"],
            "step": 2,
            "scratchFrom": ["/pipeline/output", "/pipeline/source"],
            "config": {"entrypoint": ["/app"], "env": ["A=1"], "ports": ["80/tcp"]},
            "baseImage": f"{repository}@{BASE.digest}",
            "deadline": rfc3339(datetime.now(UTC) + timedelta(minutes=5)),
            **spec,
        },
        "status": {},
    }


@needs_root
@pytest.mark.parametrize("scratch_from", [True, False], ids=["scratch", "dropped-by-the-crd"])
async def test_the_output_of_a_box_becomes_an_image(tmp_path: Path, scratch_from: bool) -> None:
    lower = tmp_path / "image"
    (lower / "etc").mkdir(parents=True)
    (lower / "etc/secret").write_text("of the image")
    with overlay(tmp_path, base=lower) as found, server.registry(tmp_path / "registry") as host:
        output = found.merged / "pipeline/output"
        output.mkdir(parents=True)
        (output / "app").write_bytes(b"ELF")
        (output / "app").chmod(0o755)
        (found.merged / "root").mkdir()
        (found.merged / "root/secret").write_text("of the box")
        box = Box(
            id="c",
            image=BASE.config.digest,
            base=BaseImage(config=json.dumps(BASE_CONFIG).encode(), manifest=BASE),
            upper=found.upper,
            lowers=(found.lower,),
        )
        asked = commit_to(f"{host}/ns/app", **({} if scratch_from else {"scratchFrom": []}))
        (tmp_path / "spool").mkdir()
        tools = Tools(
            threads=Threads(SystemClock()),
            kube=cast(Any, api_of(asked)),
            runtime=cast(Any, Node(box)),
            settings=Settings(
                node_name="n",
                images=ImageSettings(insecure_registries=[host], allowed_repositories=["*"]),
                network=NetworkSettings(allowed=["127.0.0.0/8"]),
            ),
            clock=SystemClock(),
            boot_id="boot",
            spool=Spool(tmp_path / "spool"),
        )

        await run_commit(namespace="ns", name="c", tools=tools)

        status = asked["status"]
        if not scratch_from:
            assert (status["phase"], status["reason"]) == ("Refused", "Unsupported")
            assert not (tmp_path / "registry/data").exists()
            return
        assert status["phase"] == "Succeeded", status
        assert asked["metadata"]["labels"][ACTIVE_LABEL] == "false"
        reference = parse_reference(f"{host}/ns/app:one")
        async with RegistryClient(insecure=[host]) as client:
            manifest = await client.get_image_manifest(reference)
            again = await client.get_image_manifest(reference.tagged("two"))
            config = json.loads(await client.get_blob(reference, manifest.config, limit=1 << 20))
            (layer,) = manifest.layers
            packed = b"".join([part async for part in client.stream_blob(reference, layer.digest)])
    assert manifest.digest == again.digest == status["digest"]
    assert layer.digest == status["layerDigest"]
    assert {key: config[key] for key in ("architecture", "os", "config")} == {
        "architecture": "arm64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/app"],
            "Cmd": None,
            "Env": ["A=1"],
            "ExposedPorts": {"80/tcp": {}},
        },
    }
    with tar_of(gzip.decompress(packed)) as tar:
        assert [(each.name, each.type, each.mode) for each in tar.getmembers()] == [
            ("app", tarfile.REGTYPE, 0o755)
        ]
