"""Pushing an image: the base's layers from wherever they are nearest, then layer, config, manifest, and tags last.

Not here: what is in the image (`image.py`), HTTP (`registry/`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sentinel.agent.failures import CommitFailure
from sentinel.agent.image import NewImage
from sentinel.agent.layer import PackedLayer
from sentinel.agent.runtimes.base import BaseImage, Box, Runtime
from sentinel.api.imagecommit import PushedTag
from sentinel.api.reasons import CommitReason, Reason
from sentinel.errors import SentinelError, UserError
from sentinel.image import manifest as images
from sentinel.image.manifest import Descriptor, Manifest
from sentinel.image.reference import Reference
from sentinel.registry import RegistryClient
from sentinel.registry.client import bytes_body, file_body

log = logging.getLogger(__name__)

_VARIANTS = 16
"""Manifests of one index that are read at most: more variants of a processor do not exist."""


@dataclass(frozen=True, kw_only=True)
class Pusher:
    """Pushes to one repository.

    `client` logs in there; `reader` reads `base`, the repository that the box's image came from, if it is known.
    Methods raise the registry client's errors.
    """

    client: RegistryClient
    reader: RegistryClient
    runtime: Runtime
    target: Reference
    base: Reference | None

    async def read_base(self, box: Box) -> BaseImage:
        """The image that a box was started from, out of its registry, where the node does not keep it.

        Found by the digest of its config, so it is the right one whatever the registry has under its name now.
        Raises CommitFailure(Unsupported) when it is not there.
        """
        base = self.base
        if base is None:
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                "the node keeps no manifest of the box's image, and its name is not one of a registry: use a box "
                "image that is in a registry",
            )
        async for manifest in self._manifests(base, platform=box.platform):
            if manifest.config.digest == box.image:
                config = await self.reader.get_blob(
                    base, manifest.config, limit=images.CONFIG_LIMIT
                )
                return BaseImage(config=config, manifest=manifest)
        raise CommitFailure(
            CommitReason.UNSUPPORTED,
            f"the image that the box was started from ({box.image}) is not the one that its registry has as {base}",
        )

    async def _manifests(
        self, base: Reference, *, platform: tuple[str, str]
    ) -> AsyncIterator[Manifest]:
        """The manifests that a name stands for: of an index those for the platform, variants included."""
        content, header = await self.reader.get_manifest_bytes(base)
        parsed = images.parse_json_object(content, what=str(base))
        if images.media_type_of(parsed, header=header) not in images.INDEXES:
            yield images.parse_manifest(content, header=header, what=str(base))
            return
        for entry in images.choose_platform(parsed, platform=platform, what=str(base))[:_VARIANTS]:
            yield await self.reader.get_image_manifest(base.pinned(entry.digest))

    async def read_pushed(self, digest: str) -> BaseImage | None:
        """An image that was pushed here before, None if it is gone."""
        try:
            manifest = await self.client.get_image_manifest(self.target.pinned(digest))
            config = await self.client.get_blob(
                self.target, manifest.config, limit=images.CONFIG_LIMIT
            )
        except UserError as error:
            if error.reason is not Reason.IMAGE_NOT_FOUND:
                raise
            log.info("%s of %s is gone: %s", digest, self.target.name, error)
            return None
        return BaseImage(config=config, manifest=manifest)

    async def push_base(self, image: BaseImage) -> None:
        """Bring the base image's layers into the repository; those that are there cost one HEAD each.

        Raises CommitFailure(Unsupported) when a layer is neither on the node nor in a registry we know.
        """
        unpacked = image.diff_ids
        for layer in dict.fromkeys(image.manifest.layers):
            if layer.urls or await self.client.has_blob(self.target, layer.digest):
                continue
            if await self._mount(layer):
                continue
            await self._copy(layer, loaded=layer.digest in unpacked)

    async def push_image(self, image: NewImage, layer: PackedLayer, *, tag: str) -> str:
        """Upload what is new and write the manifest at the build's own tag; gives its digest."""
        if not await self.client.has_blob(self.target, layer.digest):
            await self.client.put_blob(
                self.target, digest=layer.digest, size=layer.size, body=file_body(layer.path)
            )
        config = image.config_descriptor
        await self.client.put_blob(
            self.target, digest=config.digest, size=config.size, body=bytes_body(image.config)
        )
        return await self.client.put_manifest(
            self.target.tagged(tag), image.manifest, media_type=image.media_type
        )

    async def move_tag(self, image: NewImage, tag: str) -> PushedTag:
        """Point a tag at the image. Registries may forbid moving one: that is reported, and fails nothing else."""
        try:
            await self.client.put_manifest(
                self.target.tagged(tag), image.manifest, media_type=image.media_type
            )
        except SentinelError as error:
            return PushedTag(name=tag, pushed=False, message=error.message[:512])
        return PushedTag(name=tag, pushed=True)

    async def _mount(self, layer: Descriptor) -> bool:
        if self.base is None or self.base.registry != self.target.registry:
            return False
        try:
            return await self.client.mount_blob(self.target, layer.digest, source=self.base)
        except SentinelError as error:
            # The login for pushing may not be allowed to read the source; then the layer is copied.
            log.info("mounting %s from %s failed: %s", layer.digest, self.base.name, error)
            return False

    async def _copy(self, layer: Descriptor, *, loaded: bool) -> None:
        """`loaded`: the layer is not packed, as in images that were loaded onto the node (`docker save`).

        Their manifest is on the node beside the one that was pulled, with the same config, and no registry has these
        blobs. Each is byte for byte what the box's file system stands on, so the build can read it anyway.
        """

        async def on_node() -> bool:
            if await self.runtime.has_blob(layer.digest, base=self.base):
                return True
            return loaded and await self.runtime.has_blob(layer.digest, base=None)

        base = self.base
        if base is None and not await on_node():
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                f"layer {layer.digest} of the box's image cannot be read from the node (which may discard unpacked "
                "layers), and there is no registry to copy it from: use a box image that is in a registry",
            )

        async def opened() -> AsyncIterator[bytes]:
            # Asked at every try: a node drops the layers that it has unpacked when it collects garbage.
            if base is None or await on_node():
                content = self.runtime.read_blob(layer.digest)
            else:
                content = self.reader.stream_blob(base, layer.digest)
            async for part in content:
                yield part

        await self.client.put_blob(self.target, digest=layer.digest, size=layer.size, body=opened)
