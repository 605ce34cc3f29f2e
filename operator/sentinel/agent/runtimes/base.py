"""The seam between a commit and a node's container runtime.

A runtime finds the box, freezes it, and gives the places of its changed files and its base image. It never makes, tags
or pushes an image: that is the same for all runtimes and lives in `layer.py`, `image.py` and `push.py`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sentinel.agent.failures import CommitFailure, CommitRefused
from sentinel.api.reasons import CommitReason
from sentinel.image.manifest import Manifest
from sentinel.image.reference import Reference

CONFIG_LIMIT = 8 * 1024 * 1024
MANIFEST_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The container that the API server knows. `container_id` is with its scheme, as in the pod's status."""

    namespace: str
    pod_name: str
    pod_uid: str
    container_name: str
    container_id: str


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """The config and the manifest of the image that a box was started from, for its platform."""

    config: bytes = field(repr=False)
    manifest: Manifest

    @property
    def diff_ids(self) -> frozenset[str]:
        """The digests of the layers as they are unpacked: of what the box's file system stands on."""
        rootfs = json.loads(self.config).get("rootfs")
        found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        return frozenset(map(str, found)) if isinstance(found, list) else frozenset()


@dataclass(frozen=True, kw_only=True)
class Box:
    """A container as the runtime knows it.

    `image` is the digest of the config of the image it was started from, on whose layers its file system stands, and
    `platform` that image's (os, architecture). `base` is that image where the node keeps it, None where it has to be
    read from its registry. `upper` is the overlay's upper directory as this process reaches it, `lowers` the
    directories below. `mounts` are the absolute paths in the container at which something is mounted.
    """

    id: str
    image: str
    platform: tuple[str, str] = ("linux", "amd64")
    base: BaseImage | None = None
    upper: Path
    lowers: tuple[Path, ...] = ()
    mounts: frozenset[str] = frozenset()


@dataclass
class Freeze:
    """How long the container stood still so far, in seconds; 0 if it had ended before."""

    seconds: float = 0.0


class Runtime(Protocol):
    """What a commit needs of a runtime. All methods raise CommitFailure with a reason and the runtime's words."""

    async def version(self) -> str:
        """The runtime's name and version, for the log, after checking that the agent can commit from it."""

    async def locate(self, who: Identity) -> Box:
        """Find the container, check that the runtime's own labels agree, and that its base image is the right one.

        Raises CommitRefused(NotOwned), CommitFailure(PodGone, Unsupported, RuntimeError).
        """

    def frozen(self, box: Box, *, commit: str) -> AbstractAsyncContextManager[Freeze]:
        """Freeze the container for the time of the block, and thaw it whatever happens.

        What is frozen is written down in the runtime under the commit's uid before, so that `recover` can thaw it
        after a crash. A container that has ended is left as it is.
        """

    async def has_blob(self, digest: str, *, base: Reference | None) -> bool:
        """Whether the node holds a layer that belongs to the repository of `base`; many discard unpacked layers.

        A manifest can name any digest, so a node's copy proves nothing unless it was pulled from that repository.
        Without a base, for images imported by hand, it must not have been pulled from any.
        """

    def read_blob(self, digest: str) -> AsyncIterator[bytes]:
        """A blob of the node, part by part."""

    async def recover(self) -> tuple[str, ...]:
        """Thaw what a dead predecessor left frozen; gives the ids of the containers."""

    async def close(self) -> None:
        """Let go of the runtime."""


def check_labels(labels: Mapping[str, str], who: Identity, *, kind: tuple[str, str]) -> None:
    """A container's labels must name the API server's pod: they come from the kubelet, not from the user.

    `kind` is the label with which this runtime tells boxes from sandboxes, and its value. Raises CommitRefused.
    """
    expected = {
        "io.kubernetes.pod.uid": who.pod_uid,
        "io.kubernetes.pod.namespace": who.namespace,
        "io.kubernetes.pod.name": who.pod_name,
        "io.kubernetes.container.name": who.container_name,
        kind[0]: kind[1],
    }
    for label, value in expected.items():
        if labels.get(label) != value:
            raise CommitRefused(
                CommitReason.NOT_OWNED,
                f"container {who.container_id} is not box of pod {who.namespace}/{who.pod_name}: its label {label} "
                f"is {labels.get(label, '')!r}, not {value!r}",
            )


def reached(path: str, *, state: Path, root: str, setting: str) -> Path:
    """A path of the runtime's, as this process reaches it: below `state`, with `root` before it.

    Raises CommitFailure for what lies elsewhere, which is not ours to read; `setting` is what sets `state`.
    """
    if not Path(path).is_relative_to(state) or ".." in Path(path).parts:
        raise CommitFailure(
            CommitReason.UNSUPPORTED,
            f"the box's files lie at {path}, not under {state}: set {setting} and mount it",
        )
    return Path(f"{root}{path}")
