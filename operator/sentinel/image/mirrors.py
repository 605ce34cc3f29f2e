"""Mirrors of registries (`images.mirrors`): where images are looked up and pulled instead. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sentinel.image.reference import Reference


def mirrored(reference: Reference, mirrors: Mapping[str, str]) -> Reference:
    """The same image on the mirror of its registry, or itself where there is none.

    `mirrors` has a registry's host → host/path of its mirror. A mirror has the same content, so a digest stays.
    """
    place = mirrors.get(reference.registry, "")
    if not place:
        return reference
    host, _, path = place.partition("/")
    below = f"{path}/{reference.repository}" if path else reference.repository
    return replace(reference, registry=host, repository=below)
