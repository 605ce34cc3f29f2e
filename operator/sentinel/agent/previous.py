"""The image that an earlier commit made of a box, as far as the next one can go on top of it.

Not here: which index is of which box (`indexes.py`), and what a layer on top of that image holds (`increment.py`).
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import IO

from sentinel.agent.image import MAX_LAYERS
from sentinel.agent.indexes import Indexes
from sentinel.agent.push import Pusher
from sentinel.agent.runtimes.base import BaseImage, Box
from sentinel.api.imagecommit import ImageCommitSpec


@dataclass(frozen=True, kw_only=True)
class Previous:
    """The image of the box's last commit, and the index of what the box was then."""

    image: BaseImage
    index: IO[bytes]


async def find_previous(
    stack: AsyncExitStack, box: Box, spec: ImageCommitSpec, *, pusher: Pusher, indexes: Indexes
) -> Previous | None:
    """What the layer can go on top of besides the box's own image; its index is open as long as `stack`.

    None where this agent does not know what the box was at its last commit, or where the image is gone or has no room
    for a layer more.
    """
    index = indexes.open(box.id, spec.previous)
    if index is None:
        return None
    stack.callback(index.close)
    image = await pusher.read_pushed(spec.previous)
    if image is None or len(image.manifest.layers) >= MAX_LAYERS:
        return None
    return Previous(image=image, index=index)
