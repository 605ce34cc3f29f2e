"""Copying an image from one repository to another, byte for byte: its digest stays what it was.

Layers that the target has are left alone, those of another repository on the same registry are mounted; the others go
through, part by part. Not here: whose credentials are used, and who may push where.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence

from sentinel.errors import SentinelError
from sentinel.image import manifest as images
from sentinel.image.manifest import Descriptor
from sentinel.image.reference import Reference
from sentinel.registry.client import RegistryClient

log = logging.getLogger(__name__)

_ONE_IMAGE = "it is an index of several images, and only one is expected"


async def copy_image(
    source: Reference,
    target: Reference,
    *,
    tags: Sequence[str],
    reader: RegistryClient,
    client: RegistryClient,
) -> None:
    """Have the image `source`, which is pinned by digest, in `target` under each of `tags`.

    `reader` may pull from `source`, `client` push to `target`. Raises UserError, InfrastructureError.
    """
    content, media_type = await reader.get_manifest_bytes(source)
    parsed = images.parse_json_object(content, what=str(source))
    if images.media_type_of(parsed, header=media_type) in images.INDEXES:
        raise images.unusable(str(source), _ONE_IMAGE)
    manifest = images.parse_manifest(content, header=media_type, what=str(source))
    for blob in (*manifest.layers, manifest.config):
        await _copy_blob(blob, source, target, reader=reader, client=client)
    for tag in tags:
        await client.put_manifest(target.tagged(tag), content, media_type=manifest.media_type)


async def _copy_blob(
    blob: Descriptor,
    source: Reference,
    target: Reference,
    *,
    reader: RegistryClient,
    client: RegistryClient,
) -> None:
    if await client.has_blob(target, blob.digest):
        return
    if source.registry == target.registry:
        try:
            if await client.mount_blob(target, blob.digest, source=source):
                return
        except SentinelError as error:
            # The login for pushing may not be allowed to read the source; then the layer is copied.
            log.info("mounting %s from %s failed: %s", blob.digest, source.name, error)

    def opened() -> AsyncIterator[bytes]:
        return reader.stream_blob(source, blob.digest)

    await client.put_blob(target, digest=blob.digest, size=blob.size, body=opened)
