"""containerd's services as far as the agent calls them, in process, over a real socket with the agent's own messages.

For what the lab's containerd cannot be brought to say: a moved name, a foreign snapshot, errors at the wrong moment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from sentinel.agent.runtimes.containerd import chain_id
from sentinel.agent.runtimes.containerd_api import _CLASSES, _METHODS
from sentinel.image.manifest import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of

DIFF_ID = "sha256:" + "1" * 64


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@dataclass
class FakeContainerd:
    """State that a test arranges, and `calls` that it looks at.

    `failures` are codes by method, used once each, `failing` those of methods that fail every time. Where `slow` is set
    pausing takes until `paused`, even where the client does not wait for it. `deadlines` are the clients', in seconds.
    """

    state: str = "/var/lib/containerd"
    config: dict[str, Any] = field(
        default_factory=lambda: {"rootfs": {"type": "layers", "diff_ids": [DIFF_ID]}}
    )
    labels: dict[str, str] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    image_ref: str = ""
    parent: str = chain_id([DIFF_ID])
    mount_type: str = "overlay"
    upper: str = ""
    task: int | None = 2
    leases: dict[str, dict[str, str]] = field(default_factory=dict)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: dict[str, grpc.StatusCode] = field(default_factory=dict)
    failing: dict[str, grpc.StatusCode] = field(default_factory=dict)
    slow: bool = False
    pausing: asyncio.Event = field(default_factory=asyncio.Event)
    paused: asyncio.Event = field(default_factory=asyncio.Event)
    deadlines: dict[str, float | None] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = encoded(self.config)
        manifest = encoded(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {
                    "mediaType": OCI_CONFIG,
                    "digest": digest_of(config),
                    "size": len(config),
                },
                "layers": [
                    {"mediaType": OCI_LAYER, "digest": digest_of(b"layer"), "size": 5}
                    for _ in self.config["rootfs"]["diff_ids"]
                ],
            }
        )
        self.blobs = {digest_of(blob): blob for blob in (config, manifest)}
        self.manifest = digest_of(manifest)
        self.image_ref = self.image_ref or digest_of(config)
        self.upper = self.upper or f"{self.state}/snapshots/7/fs"

    def answer(self, method: str, request: Any) -> dict[str, Any]:
        """The fields of the answer. Raises LookupError for NOT_FOUND."""
        if method == "GetContainer":
            metadata = {"Metadata": {"ImageRef": self.image_ref}}
            return {
                "container": {
                    "id": request.id,
                    "labels": self.labels,
                    "spec": {"value": encoded(self.spec)},
                    "snapshotter": "overlayfs",
                    "snapshot_key": request.id,
                    "extensions": {
                        "io.cri-containerd.container.metadata": {"value": encoded(metadata)}
                    },
                }
            }
        if method == "GetImage":
            return {"image": {"target": {"media_type": OCI_MANIFEST, "digest": self.manifest}}}
        if method == "StatSnapshot":
            return {"info": {"parent": self.parent}}
        if method == "Mounts":
            options = [
                f"upperdir={self.upper}",
                f"lowerdir={self.state}/snapshots/1/fs",
                "index=off",
            ]
            return {"mounts": [{"type": self.mount_type, "options": options}]}
        if method == "GetTask":
            if self.task is None:
                raise LookupError
            return {"process": {"status": self.task}}
        if method == "ContentInfo":
            # As far as tests say: labels by digest.
            return {"info": {"digest": request.digest, "labels": self.sources[request.digest]}}
        if method in ("PauseTask", "ResumeTask"):
            self.task = 4 if method == "PauseTask" else 2
        elif method == "CreateLease":
            self.leases[request.id] = dict(request.labels)
        elif method == "DeleteLease":
            del self.leases[request.id]
        elif method == "ListLeases":
            leases = self.leases.items()
            return {"leases": [{"id": name, "labels": labels} for name, labels in leases]}
        return {}

    async def serve(self, method: str, request: Any, context: Any) -> Any:
        self.calls.append(method)
        self.deadlines[method] = context.time_remaining()
        code = self.failures.pop(method, None) or self.failing.get(method)
        if code is not None:
            await context.abort(code, "as the test wants it")
        if method == "PauseTask" and self.slow:
            self.task = 5
            self.pausing.set()
            await asyncio.shield(asyncio.ensure_future(self._pause()))
        try:
            return _CLASSES[_METHODS[method][2]](**self.answer(method, request))
        except LookupError:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not found")

    async def _pause(self) -> None:
        await self.paused.wait()
        self.task = 4

    async def read(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.digest not in self.blobs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not found")
        yield _CLASSES["ReadAnswer"](data=self.blobs[request.digest])


@asynccontextmanager
async def serving(fake: FakeContainerd, socket: Path) -> AsyncIterator[None]:
    """Serve at a socket's path."""
    server = grpc.aio.server()
    services: dict[str, dict[str, Any]] = {}
    for name, (path, asked, answered) in _METHODS.items():
        service, _, method = path.partition("/")

        async def handle(request: Any, context: Any, name: str = name) -> Any:
            return await fake.serve(name, request, context)

        services.setdefault(service, {})[method] = grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=_CLASSES[asked].FromString,
            response_serializer=_CLASSES[answered].SerializeToString,
        )
    services["content.v1.Content"]["Read"] = grpc.unary_stream_rpc_method_handler(
        fake.read,
        request_deserializer=_CLASSES["ReadRequest"].FromString,
        response_serializer=_CLASSES["ReadAnswer"].SerializeToString,
    )
    for service, methods in services.items():
        handlers = grpc.method_handlers_generic_handler(f"containerd.services.{service}", methods)
        server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(f"unix://{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def short(text: str) -> str:
    """A container id that looks like one."""
    return hashlib.sha256(text.encode()).hexdigest()
