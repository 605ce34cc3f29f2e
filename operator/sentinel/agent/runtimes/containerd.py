"""containerd, as the kubelet uses it through CRI: namespace k8s.io, overlayfs snapshots.

Not here: messages and method names (`containerd_api.py`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc

from sentinel.agent.failures import CommitFailure, RuntimeFailure
from sentinel.agent.runtimes import freezing
from sentinel.agent.runtimes.base import (
    CONFIG_LIMIT,
    MANIFEST_LIMIT,
    BaseImage,
    Box,
    Freeze,
    Identity,
    check_labels,
    reached,
)
from sentinel.agent.runtimes.containerd_api import (
    TASK_PAUSED,
    TASK_PAUSING,
    TASK_RUNNING,
    TASK_UNKNOWN,
    Containerd,
)
from sentinel.agent.runtimes.freezing import COMMIT_LABEL, Note, State
from sentinel.api.reasons import CommitReason
from sentinel.clock import Clock, rfc3339
from sentinel.errors import UserError
from sentinel.image.manifest import INDEXES, Manifest, digest_of, parse_manifest
from sentinel.image.reference import Reference

log = logging.getLogger(__name__)

SCHEME = "containerd://"
_EXPIRE_LABEL = "containerd.io/gc.expire"
_SOURCE = "containerd.io/distribution.source."
"""Before a registry's name: its value lists the repositories from which a blob was pulled, separated by commas."""

_METADATA = "io.cri-containerd.container.metadata"
_LEASE_LIFE = timedelta(days=7)
_INDEX_ENTRIES = 64
_STATES = {
    TASK_RUNNING: State.RUNNING,
    TASK_PAUSING: State.PAUSING,
    TASK_PAUSED: State.PAUSED,
}


class ContainerdRuntime:
    """The Runtime of `base.py` over containerd's socket.

    `root` is put before the socket's and the snapshots' paths: "" on a node, another process's root in tests.
    `state` is where containerd keeps its snapshots, as itself sees it. `instance` is our installation's name.
    """

    def __init__(
        self, *, socket: str, state: str, root: str = "", instance: str = "", clock: Clock
    ) -> None:
        self._api = Containerd(f"{root}{socket}", namespace="k8s.io")
        self._state = Path(state)
        self._root = root
        self._instance = instance
        self._clock = clock

    async def close(self) -> None:
        """Close the channel."""
        await self._api.close()

    async def version(self) -> str:
        """Name and version."""
        try:
            return f"containerd {(await self._api.call('Version')).version}"
        except grpc.aio.AioRpcError as error:
            raise _failure("asking containerd for its version", error) from error

    async def locate(self, who: Identity) -> Box:
        """The container, its labels and base image checked (images.md)."""
        if not who.container_id.startswith(SCHEME):
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                f"container {who.container_id!r} is not containerd's, and this node's agent commits from containerd. "
                "Set agent.docker.enabled in the chart, and label nodes on Docker Engine as its values.yaml describes",
            )
        try:
            container = await self._container(who)
            check_labels(container.labels, who, kind=("io.cri-containerd.kind", "container"))
            spec = _json_object(container.spec.value, what="the container's spec")
            base = await self._base_image(container)
            upper, lowers = await self._directories(container, base.config)
        except grpc.aio.AioRpcError as error:
            raise _failure("reading the container", error) from error
        if (spec.get("linux") or {}).get("uidMappings"):
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                "the box runs in a user namespace, whose files belong to shifted users: leave hostUsers as it is",
            )
        mounts = frozenset(str(mount["destination"]) for mount in spec.get("mounts") or ())
        return Box(
            id=container.id,
            image=base.manifest.config.digest,
            base=base,
            upper=upper,
            lowers=lowers,
            mounts=mounts,
        )

    async def _container(self, who: Identity) -> Any:
        try:
            key = who.container_id.removeprefix(SCHEME)
            return (await self._api.call("GetContainer", id=key)).container
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise CommitFailure(
                    CommitReason.POD_GONE,
                    f"containerd has no container {who.container_id} any more: {error.details()}",
                ) from error
            raise

    def frozen(self, box: Box, *, commit: str) -> AbstractAsyncContextManager[Freeze]:
        """Pause and resume the container's task, noted in a lease."""
        return freezing.frozen(
            self, box.id, commit=commit, instance=self._instance, clock=self._clock
        )

    async def has_blob(self, digest: str, *, base: Reference | None) -> bool:
        """Whether the content store holds it, pulled from the repository of `base` (containerd's source labels)."""
        labels = await self._labels(digest)
        if labels is None:
            return False
        if base is None:
            return not any(label.startswith(_SOURCE) for label in labels)
        return base.repository in labels.get(f"{_SOURCE}{base.registry}", "").split(",")

    async def _labels(self, digest: str) -> dict[str, str] | None:
        """The labels of a blob of the content store, None if it is not there."""
        try:
            found = await self._api.call("ContentInfo", digest=digest)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise _failure(f"looking for {digest}", error) from error
        return dict(found.info.labels)

    async def read_blob(self, digest: str) -> AsyncIterator[bytes]:
        """A blob of the content store."""
        try:
            async for part in self._api.read(digest):
                yield part
        except grpc.aio.AioRpcError as error:
            raise _failure(f"reading {digest}", error) from error

    async def recover(self) -> tuple[str, ...]:
        """Resume the containers named in our leases, and delete the leases."""
        return await freezing.recover(self, instance=self._instance, clock=self._clock)

    async def _base_image(self, container: Any) -> BaseImage:
        """Config and manifest by the digest that CRI noted: the image's name may have moved since."""
        metadata = _json_object(container.extensions[_METADATA].value, what="CRI's metadata")
        wanted = str((metadata.get("Metadata") or {}).get("ImageRef") or "")
        if not wanted.startswith("sha256:"):
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                "containerd does not say which image the box was started from: its CRI metadata has no ImageRef",
            )
        target = (await self._api.call("GetImage", name=wanted)).image.target
        content = await self._blob(target.digest, limit=MANIFEST_LIMIT)
        if target.media_type in INDEXES:
            manifest = await self._child(content, wanted)
        else:
            manifest = _manifest(content, header=target.media_type)
        if manifest.config.digest != wanted:
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                f"the image that the box was started from ({wanted}) is not the one the node has under its name",
            )
        config = await self._blob(wanted, limit=CONFIG_LIMIT)
        return BaseImage(config=config, manifest=manifest)

    async def _child(self, index: bytes, config: str) -> Manifest:
        """The manifest of an index that has this config; the other platforms' are mostly not on the node."""
        entries = _json_object(index, what="the image's index").get("manifests") or []
        for entry in entries[:_INDEX_ENTRIES]:
            if await self._labels(entry["digest"]) is not None:
                content = await self._blob(entry["digest"], limit=MANIFEST_LIMIT)
                if json.loads(content).get("config", {}).get("digest") == config:
                    return _manifest(content, header=str(entry.get("mediaType", "")))
        raise CommitFailure(
            CommitReason.UNSUPPORTED, f"no manifest on the node has the config {config} of the box"
        )

    async def _blob(self, digest: str, *, limit: int) -> bytes:
        content = bytearray()
        async for part in self._api.read(digest):
            content += part
            if len(content) > limit:
                raise CommitFailure(
                    CommitReason.UNSUPPORTED,
                    f"{digest} of the base image is larger than {limit} bytes",
                )
        if digest_of(bytes(content)) != digest:
            raise CommitFailure(
                CommitReason.RUNTIME_ERROR, f"the node's copy of {digest} is damaged"
            )
        return bytes(content)

    async def _directories(self, container: Any, config: bytes) -> tuple[Path, tuple[Path, ...]]:
        """Upper and lower directories, after checking that the snapshot stands on this very image."""
        place = {"snapshotter": container.snapshotter, "key": container.snapshot_key}
        parent = (await self._api.call("StatSnapshot", **place)).info.parent
        diff_ids = (_json_object(config, what="the image's config").get("rootfs") or {}).get(
            "diff_ids"
        )
        if parent != chain_id(diff_ids or []):
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                "the box's file system does not stand on the layers of its image: a wrong image would be made",
            )
        mounts = (await self._api.call("Mounts", **place)).mounts
        options = dict(option.partition("=")[::2] for option in mounts[0].options) if mounts else {}
        upper = options.get("upperdir", "")
        if len(mounts) != 1 or mounts[0].type != "overlay" or not upper or "userxattr" in options:
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                f"snapshotter {container.snapshotter!r} does not keep the changes in an overlay's upper directory",
            )
        lowers = [self._reach(path) for path in options.get("lowerdir", "").split(":") if path]
        return self._reach(upper), tuple(lowers)

    def _reach(self, path: str) -> Path:
        return reached(path, state=self._state, root=self._root, setting="containerd_state")

    async def state(self, container: str) -> State:
        """The state of the container's task."""
        try:
            status = (await self._api.call("GetTask", container_id=container)).process.status
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return State.OTHER
            raise _failure("asking for the box's state", error) from error
        if status == TASK_UNKNOWN:
            # containerd gives the container's shim two seconds to answer, and then makes no error of it.
            raise RuntimeFailure(
                "containerd could not find out the box's state: its shim did not answer in time"
            )
        return _STATES.get(status, State.OTHER)

    async def pause(self, container: str) -> None:
        """Pause the container's task."""
        try:
            await self._api.finish("PauseTask", container_id=container)
        except grpc.aio.AioRpcError as error:
            if await self.state(container) in (State.RUNNING, State.PAUSING):
                raise _failure("pausing the box", error) from error

    async def resume(self, container: str) -> None:
        """Resume the container's task."""
        try:
            await self._api.finish("ResumeTask", container_id=container)
        except grpc.aio.AioRpcError as error:
            raise _failure("resuming the box", error) from error

    async def note(self, note: Note) -> None:
        """Make a lease, which holds nothing but the labels."""
        labels = note.labels | {_EXPIRE_LABEL: rfc3339(self._clock.now() + _LEASE_LIFE)}
        try:
            await self._api.call("CreateLease", id=note.key, labels=labels)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise _failure("making a lease", error) from error

    async def forget(self, key: str) -> None:
        """Delete the lease."""
        try:
            await self._api.call("DeleteLease", id=key)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                # It holds nothing and expires; the next start of the agent tries again.
                log.warning("lease %s was not deleted: %s", key, error.details())

    async def notes(self) -> tuple[Note, ...]:
        """Our leases."""
        try:
            answer = await self._api.call("ListLeases", filters=[f'labels."{COMMIT_LABEL}"'])
        except grpc.aio.AioRpcError as error:
            raise _failure("listing leases", error) from error
        return tuple(Note.of(lease.id, lease.labels) for lease in answer.leases)


def chain_id(diff_ids: list[str]) -> str:
    """The name of the snapshot made of these layers (OCI image spec, config.md, "Layer ChainID"); '' for none."""
    chain = ""
    for diff_id in diff_ids:
        both = f"{chain} {diff_id}".encode()
        chain = f"sha256:{hashlib.sha256(both).hexdigest()}" if chain else diff_id
    return chain


def _manifest(content: bytes, *, header: str) -> Manifest:
    try:
        return parse_manifest(content, header=header, what="of the box")
    except UserError as error:
        raise CommitFailure(CommitReason.UNSUPPORTED, error.message) from error


def _json_object(content: bytes, *, what: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise CommitFailure(CommitReason.UNSUPPORTED, f"{what} is not a JSON object")
    return parsed


def _failure(doing: str, error: grpc.aio.AioRpcError) -> RuntimeFailure:
    return RuntimeFailure(f"{doing} failed: {error.code().name}: {error.details()}")
