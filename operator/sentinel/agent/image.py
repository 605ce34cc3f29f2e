"""The new image: the base image's config with one layer more. Pure: bytes and values in, bytes out.

Nothing comes from the container's own config, which holds the pod's variables and the idle command
(images.md). Not here: the layer's content, pushing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sentinel.agent.failures import CommitFailure
from sentinel.agent.layer import PackedLayer
from sentinel.agent.runtimes.base import BaseImage
from sentinel.api.imagecommit import ImageConfig
from sentinel.api.reasons import CommitReason
from sentinel.clock import rfc3339
from sentinel.image.manifest import (
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_LAYER,
    Descriptor,
    Manifest,
    digest_of,
)

MAX_LAYERS = 100
"""Overlay and Docker give up near 127; images built on top need some."""

_OF_THE_MAKER = ("container", "container_config", "docker_version", "id", "parent", "throwaway")
"""What old Docker wrote into configs about the container it committed."""


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """Config and manifest of an image, ready to be pushed. `layers` are all of it, the base's first."""

    config: bytes = field(repr=False)
    config_descriptor: Descriptor
    manifest: bytes = field(repr=False)
    media_type: str
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest)


def check_layers(base: Manifest) -> None:
    """Refuse a base image that has no room for a layer more. Raises CommitFailure(Unsupported)."""
    if len(base.layers) >= MAX_LAYERS:
        raise CommitFailure(
            CommitReason.UNSUPPORTED,
            f"the base image has {len(base.layers)} layers; an image can be built on {MAX_LAYERS - 1} at most. Use "
            "a box image with fewer layers",
        )


def scratch_base(base: BaseImage) -> BaseImage:
    """An image of nothing, for the same processor and in the same family as this one."""
    known = json.loads(base.config)
    kept = {name: known[name] for name in ("architecture", "variant") if known.get(name)}
    return BaseImage(
        config=_encode({"architecture": "amd64", **kept, "os": "linux"}),
        manifest=replace(base.manifest, layers=()),
    )


def build_image(
    *,
    base_config: bytes,
    base: Manifest,
    layer: PackedLayer,
    overlay: ImageConfig,
    created: datetime,
    created_by: str,
) -> NewImage:
    """Put a layer on a base image. Media types follow the base's family, OCI's or Docker's.

    Raises CommitFailure(Unsupported) when the base's config and manifest disagree.
    """
    config = json.loads(base_config)
    rootfs = config.get("rootfs") or {}
    diff_ids = list(rootfs.get("diff_ids") or [])
    if len(diff_ids) != len(base.layers):
        raise CommitFailure(
            CommitReason.UNSUPPORTED,
            f"the base image's config has {len(diff_ids)} layers and its manifest {len(base.layers)}",
        )
    moment = rfc3339(created)
    added = {"created": moment, "created_by": created_by, "author": overlay.author or "sentinel"}
    if overlay.message:
        added["comment"] = overlay.message
    history: list[Any] = [*(config.get("history") or []), added]
    content = _encode(
        {name: value for name, value in config.items() if name not in _OF_THE_MAKER}
        | {
            "created": moment,
            **({"author": overlay.author} if overlay.author else {}),
            "config": _run_config(config.get("config") or {}, overlay),
            "rootfs": {"type": "layers", "diff_ids": [*diff_ids, layer.diff_id]},
            "history": history,
        }
    )
    config_descriptor = Descriptor(
        media_type=base.config.media_type, digest=digest_of(content), size=len(content)
    )
    layers = (*base.layers, _layer_descriptor(layer, family=base.media_type))
    manifest = _encode(
        {
            "schemaVersion": 2,
            "mediaType": base.media_type,
            "config": config_descriptor.as_json(),
            "layers": [each.as_json() for each in layers],
        }
    )
    return NewImage(
        config=content,
        config_descriptor=config_descriptor,
        manifest=manifest,
        media_type=base.media_type,
        layers=layers,
    )


def _run_config(base: dict[str, Any], overlay: ImageConfig) -> dict[str, Any]:
    """How the image is run: the base image's way, with the overlay's fields over it (Docker's rules for a commit).

    Labels, ports and volumes are added, variables replace those of the same name, the rest replaces what was there. An
    entrypoint without cmd takes the base image's cmd away.
    """
    changed: dict[str, Any] = {}
    labels: dict[str, str]
    if labels := dict(base.get("Labels") or {}) | overlay.labels:
        changed["Labels"] = labels
    for key, added in (("ExposedPorts", overlay.ports), ("Volumes", overlay.volumes)):
        if added:
            changed[key] = dict(base.get(key) or {}) | {name: {} for name in added}
    if overlay.env:
        changed["Env"] = _merged(base.get("Env") or [], overlay.env)
    if overlay.entrypoint:
        changed["Entrypoint"] = overlay.entrypoint
        changed["Cmd"] = overlay.cmd or None
    elif overlay.cmd:
        changed["Cmd"] = overlay.cmd
    for key, text in (
        ("WorkingDir", overlay.working_dir),
        ("User", overlay.user),
        ("StopSignal", overlay.stop_signal),
    ):
        if text:
            changed[key] = text
    return base | changed


def _merged(base: Sequence[str], added: Sequence[str]) -> list[str]:
    """Variables in the base's order, later ones of the same name in their place."""
    found = {each.partition("=")[0]: each for each in base}
    return list((found | {each.partition("=")[0]: each for each in added}).values())


def _layer_descriptor(layer: PackedLayer, *, family: str) -> Descriptor:
    if family == DOCKER_MANIFEST:
        media_type = f"{DOCKER_LAYER}.gzip" if layer.compression == "gzip" else DOCKER_LAYER
    else:
        media_type = f"{OCI_LAYER}+gzip" if layer.compression == "gzip" else OCI_LAYER
    return Descriptor(media_type=media_type, digest=layer.digest, size=layer.size)


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
