"""Images for tests, made from nothing and pushed with our own client."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

from sentinel.image.manifest import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, digest_of
from sentinel.image.reference import Reference
from sentinel.registry import RegistryClient
from sentinel.registry.client import bytes_body


def layer_of(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """A gzip layer that holds the files, and its diff id."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0), digest_of(plain.getvalue())


async def push_image(
    client: RegistryClient,
    reference: Reference,
    *,
    run: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    architecture: str = "amd64",
) -> dict[str, Any]:
    """Push an image of one layer; gives its descriptor."""
    layer, diff_id = layer_of(files or {"hello": b"hello\n"})
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": dict(run or {}),
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
    ).encode()
    for blob in (layer, config):
        await client.put_blob(
            reference, digest=digest_of(blob), size=len(blob), body=bytes_body(blob)
        )
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": digest_of(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": f"{OCI_LAYER}+gzip",
                    "digest": digest_of(layer),
                    "size": len(layer),
                }
            ],
        }
    ).encode()
    digest = await client.put_manifest(reference, manifest, media_type=OCI_MANIFEST)
    return {
        "mediaType": OCI_MANIFEST,
        "digest": digest,
        "size": len(manifest),
        "platform": {"os": "linux", "architecture": architecture},
    }


async def push_index(
    client: RegistryClient, reference: Reference, entries: list[dict[str, Any]]
) -> str:
    """Push an index over images that are there; gives its digest."""
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    return await client.put_manifest(reference, index, media_type=OCI_INDEX)
