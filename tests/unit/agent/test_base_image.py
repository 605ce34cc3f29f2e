"""The image that a box was started from, read from its registry where the node does not keep it (Docker Engine)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.registry import server

from sentinel.agent.failures import CommitFailure, RuntimeFailure
from sentinel.agent.push import Pusher
from sentinel.agent.runtimes.base import BaseImage, Box
from sentinel.api.reasons import CommitReason
from sentinel.errors import SentinelError, UserError
from sentinel.image.manifest import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    digest_of,
    parse_manifest,
)
from sentinel.image.reference import Reference, parse_reference
from sentinel.registry import Patience, RegistryClient
from sentinel.registry.client import bytes_body


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[tuple[RegistryClient, Reference]]:
    with server.registry(tmp_path) as host:
        async with RegistryClient(
            insecure=[host], patience=Patience(tries=2, pause=0.01)
        ) as opened:
            yield opened, parse_reference(f"{host}/team/box:1")


async def push(
    client: RegistryClient, name: Reference, config: dict[str, Any], *, docker: bool = False
) -> dict[str, Any]:
    """Push an image without layers; the descriptor of its manifest."""
    content = json.dumps(config).encode()
    digest = digest_of(content)
    await client.put_blob(name, digest=digest, size=len(content), body=bytes_body(content))
    kind = DOCKER_MANIFEST if docker else OCI_MANIFEST
    described = {
        "mediaType": DOCKER_CONFIG if docker else OCI_CONFIG,
        "digest": digest,
        "size": len(content),
    }
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": []}
    written = json.dumps(manifest).encode()
    pinned = name.pinned(digest_of(written))
    await client.put_manifest(pinned, written, media_type=kind)
    await client.put_manifest(name, written, media_type=kind)
    return {"mediaType": kind, "digest": digest_of(written), "size": len(written)}


def pusher(client: RegistryClient, base: Reference | None) -> Pusher:
    target = parse_reference("registry.example.com/team/app")
    return Pusher(client=client, reader=client, runtime=cast(Any, None), target=target, base=base)


def box(config: dict[str, Any], *, platform: tuple[str, str] = ("linux", "arm")) -> Box:
    image = digest_of(json.dumps(config).encode())
    return Box(id="c", image=image, platform=platform, upper=Path("/upper"))


V6 = {"os": "linux", "architecture": "arm", "variant": "v6"}
V7 = {"os": "linux", "architecture": "arm", "variant": "v7"}


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
async def test_an_image_is_read_with_its_config(
    client: tuple[RegistryClient, Reference], docker: bool
) -> None:
    registry, name = client
    described = await push(registry, name, V7, docker=docker)
    for base in (name, name.pinned(described["digest"])):
        found = await pusher(registry, base).read_base(box(V7))
        assert json.loads(found.config) == V7
        assert (found.manifest.digest, found.manifest.media_type) == (
            described["digest"],
            described["mediaType"],
        )


async def test_of_an_index_it_is_the_very_variant_of_the_box(
    client: tuple[RegistryClient, Reference],
) -> None:
    registry, name = client
    entries = [{**await push(registry, name, config), "platform": config} for config in (V6, V7)]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    await registry.put_manifest(name, json.dumps(index).encode(), media_type=OCI_INDEX)
    for config, entry in ((V6, entries[0]), (V7, entries[1])):
        found = await pusher(registry, name).read_base(box(config))
        assert found.manifest.digest == entry["digest"]
    with pytest.raises(UserError, match="is not available for linux/s390x"):
        await pusher(registry, name).read_base(box(V7, platform=("linux", "s390x")))


async def test_an_image_that_was_pushed_again_under_its_name_is_not_taken(
    client: tuple[RegistryClient, Reference],
) -> None:
    registry, name = client
    await push(registry, name, V7 | {"created": "2026-01-01T00:00:00Z"})
    with pytest.raises(CommitFailure, match="is not the one that its registry has") as caught:
        await pusher(registry, name).read_base(box(V7))
    assert caught.value.why is CommitReason.UNSUPPORTED


async def test_an_image_without_a_registry_cannot_be_committed(
    client: tuple[RegistryClient, Reference],
) -> None:
    with pytest.raises(CommitFailure, match="its name is not one of a registry") as caught:
        await pusher(client[0], None).read_base(box(V7))
    assert caught.value.why is CommitReason.UNSUPPORTED


class NodeWithLoadedLayer:
    """A node onto which an image was loaded: its content store has the layer, and does not know a repository of it."""

    def __init__(self, layer: bytes) -> None:
        self._layer = layer

    async def has_blob(self, digest: str, *, base: Reference | None) -> bool:
        return base is None and digest == digest_of(self._layer)

    async def read_blob(self, digest: str) -> AsyncIterator[bytes]:
        assert digest == digest_of(self._layer)
        yield self._layer


def base_of(config: dict[str, Any], layer: bytes) -> BaseImage:
    """An image of that one layer."""
    described = {"mediaType": OCI_LAYER, "digest": digest_of(layer), "size": len(layer)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": "sha256:" + "0" * 64, "size": 1},
        "layers": [described],
    }
    return BaseImage(
        config=json.dumps(config).encode(),
        manifest=parse_manifest(json.dumps(manifest).encode(), header=OCI_MANIFEST, what="base"),
    )


class CollectingNode:
    """A node that has a layer of the base image's repository, and drops it before it can be read."""

    def __init__(self) -> None:
        self.has = True

    async def has_blob(self, digest: str, *, base: Reference | None) -> bool:
        return self.has

    async def read_blob(self, digest: str) -> AsyncIterator[bytes]:
        self.has = False
        raise RuntimeFailure(f"reading {digest} failed: NOT_FOUND")
        yield b""


async def test_a_layer_that_the_node_drops_meanwhile_is_copied_from_the_registry(
    client: tuple[RegistryClient, Reference],
) -> None:
    registry, name = client
    layer = b"a layer that is packed"
    digest = digest_of(layer)
    await registry.put_blob(name, digest=digest, size=len(layer), body=bytes_body(layer))
    target = parse_reference(f"{name.registry}/team/app")
    node = CollectingNode()
    push_to = Pusher(
        client=registry,
        reader=registry,
        runtime=cast(Any, node),
        target=target,
        # By another name, so that the layer cannot be mounted.
        base=parse_reference(str(name).replace("127.0.0.1", "localhost")),
    )
    await push_to.push_base(base_of(V7, layer))
    assert not node.has
    assert await registry.has_blob(target, digest)


@pytest.mark.parametrize("stands_on_it", [True, False])
async def test_a_loaded_layer_is_read_from_the_node_where_the_box_stands_on_it(
    client: tuple[RegistryClient, Reference], stands_on_it: bool
) -> None:
    registry, name = client
    layer = b"a tar that is not packed"
    digest = digest_of(layer)
    config = {**V7, "rootfs": {"type": "layers", "diff_ids": [digest if stands_on_it else "other"]}}
    target = parse_reference(f"{name.registry}/team/app")
    push_to = Pusher(
        client=registry,
        reader=registry,
        runtime=cast(Any, NodeWithLoadedLayer(layer)),
        target=target,
        base=name,
    )
    base = base_of(config, layer)
    if stands_on_it:
        await push_to.push_base(base)
    else:
        with pytest.raises(SentinelError, match="blob unknown"):
            await push_to.push_base(base)
    assert await registry.has_blob(target, digest) is stands_on_it
