"""Reading a pushed image back: what an agent reports is compared with what the registry has.

An agent runs on a node that builds share, so the operator accepts no digest that it has not read. Not here: when
this is done, and whose credentials are used (`engine/readback.py`).
"""

from __future__ import annotations

from sentinel.image.reference import Reference, is_digest
from sentinel.registry.client import RegistryClient


class NotAsReported(Exception):
    """The registry has no such image, or another one than was asked for. The message says which."""


async def check_pushed(
    target: Reference,
    *,
    digest: str,
    layer: str,
    base: Reference | None,
    architecture: str,
    client: RegistryClient,
    reader: RegistryClient,
) -> None:
    """Check that `target` has an image `digest` of the layers of `base`, if there is one, and `layer` on top.

    `client` may pull from `target`, `reader` from `base`; `architecture` is the node's, which chose the base's image.
    Raises NotAsReported, and the clients' errors, ImageNotFound among them.
    """
    if not is_digest(digest):
        raise NotAsReported(f"{digest[:100]!r} is not a digest")
    pushed = await client.get_image_manifest(target.pinned(digest))
    if pushed.digest != digest:
        raise NotAsReported(f"{digest} is an index, not an image")
    found = [each.digest for each in pushed.layers]
    if base is None:
        if found != [layer]:
            raise NotAsReported(f"{target.name}@{digest} has other layers than the one of the box")
        return
    beneath = await reader.get_image_manifest(base, platform=("linux", architecture))
    if found != [*(each.digest for each in beneath.layers), layer]:
        raise NotAsReported(
            f"the layers of {target.name}@{digest} are not those of {base} with the box's layer on top"
        )
