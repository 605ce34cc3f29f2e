"""containerd's gRPC services: the few messages and methods we use, declared here and built at run time.

Fields are interface facts: name, number, type. Unknown ones are skipped, so one table serves containerd 1.6 to 2.x,
without generated code that is tied to one protobuf release (images.md). Not here: what the answers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "sentinel.containerd"
_LIMIT = 16 * 1024 * 1024
_FINISHED_WITHIN = 60.0

# One line per message: name=number, then the type; no type is a string, `map` is string to string, * is repeated.
# Messages are named by us: on the wire only numbers count.
_MESSAGES = {
    "Empty": "",
    "Any": "type_url=1, value=2 bytes",
    "Descriptor": "media_type=1, digest=2, size=3 int64, annotations=5 map",
    "Mount": "type=1, source=2, target=3, options=4 string*",
    "Container": "id=1, labels=2 map, image=3, spec=5 Any, snapshotter=6, snapshot_key=7, extensions=10 mapAny",
    "Image": "name=1, labels=2 map, target=3 Descriptor",
    "SnapshotInfo": "name=1, parent=2, kind=3 int32",
    "ContentInfo": "digest=1, size=2 int64, labels=5 map",
    "Process": "container_id=1, id=2, pid=3 uint32, status=4 int32",
    "Lease": "id=1, labels=3 map",
    "ById": "id=1",
    "ByName": "name=1",
    "ByDigest": "digest=1",
    "ByContainer": "container_id=1",
    "ByKey": "snapshotter=1, key=2",
    "ContainerAnswer": "container=1 Container",
    "ImageAnswer": "image=1 Image",
    "SnapshotAnswer": "info=1 SnapshotInfo",
    "MountsAnswer": "mounts=1 Mount*",
    "ContentAnswer": "info=1 ContentInfo",
    "ProcessAnswer": "process=1 Process",
    "ReadRequest": "digest=1, offset=2 int64, size=3 int64",
    "ReadAnswer": "offset=1 int64, data=2 bytes",
    "CreateLease": "id=1, labels=3 map",
    "DeleteLease": "id=1, sync=2 bool",
    "ListLeases": "filters=1 string*",
    "Leases": "leases=1 Lease*",
    "VersionAnswer": "version=1, revision=2",
}

_METHODS = {
    "GetContainer": ("containers.v1.Containers/Get", "ById", "ContainerAnswer"),
    "GetImage": ("images.v1.Images/Get", "ByName", "ImageAnswer"),
    "StatSnapshot": ("snapshots.v1.Snapshots/Stat", "ByKey", "SnapshotAnswer"),
    "Mounts": ("snapshots.v1.Snapshots/Mounts", "ByKey", "MountsAnswer"),
    "ContentInfo": ("content.v1.Content/Info", "ByDigest", "ContentAnswer"),
    "GetTask": ("tasks.v1.Tasks/Get", "ByContainer", "ProcessAnswer"),
    "PauseTask": ("tasks.v1.Tasks/Pause", "ByContainer", "Empty"),
    "ResumeTask": ("tasks.v1.Tasks/Resume", "ByContainer", "Empty"),
    "CreateLease": ("leases.v1.Leases/Create", "CreateLease", "Empty"),
    "DeleteLease": ("leases.v1.Leases/Delete", "DeleteLease", "Empty"),
    "ListLeases": ("leases.v1.Leases/List", "ListLeases", "Leases"),
    "Version": ("version.v1.Version/Version", "Empty", "VersionAnswer"),
}

_SCALARS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
}

TASK_UNKNOWN, TASK_RUNNING, TASK_PAUSED, TASK_PAUSING = 0, 2, 4, 5


class Containerd:
    """Calls to one containerd, in one of its namespaces, over the unix socket at an absolute path."""

    def __init__(self, socket: str, *, namespace: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix://{socket}",
            options=[
                ("grpc.max_receive_message_length", _LIMIT),
                # Without this the client sends the socket's path as the authority, which containerd's server refuses.
                ("grpc.default_authority", "localhost"),
            ],
        )
        self._metadata = (("containerd-namespace", namespace),)
        self._calls = {
            name: self._channel.unary_unary(
                f"/containerd.services.{path}",
                request_serializer=_CLASSES[asked].SerializeToString,
                response_deserializer=_CLASSES[answered].FromString,
            )
            for name, (path, asked, answered) in _METHODS.items()
        }
        self._read = self._channel.unary_stream(
            "/containerd.services.content.v1.Content/Read",
            request_serializer=_CLASSES["ReadRequest"].SerializeToString,
            response_deserializer=_CLASSES["ReadAnswer"].FromString,
        )

    async def call(self, method: str, *, seconds: float = 30.0, **fields: Any) -> Any:
        """Call a method of the table with the fields of its request; gives its answer. Raises grpc.aio.AioRpcError."""
        request = _CLASSES[_METHODS[method][1]](**fields)
        return await self._calls[method](request, metadata=self._metadata, timeout=seconds)

    async def finish(self, method: str, **fields: Any) -> None:
        """As `call`, for requests that must not be broken off; gives up after a minute.

        containerd hands a deadline on, and what it started for the request is killed at its end. A runc that is killed
        while it freezes a container leaves one that stands still and is taken for a running one.
        """
        request = _CLASSES[_METHODS[method][1]](**fields)
        call = self._calls[method](request, metadata=self._metadata)
        try:
            async with asyncio.timeout(_FINISHED_WITHIN):
                await call
        except TimeoutError as error:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(),
                f"no answer in {_FINISHED_WITHIN:.0f} s",
            ) from error

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        """A blob of the content store, part by part. Raises grpc.aio.AioRpcError."""
        request = _CLASSES["ReadRequest"](digest=digest)
        async for answer in self._read(request, metadata=self._metadata):
            yield answer.data

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="sentinel/containerd.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, line in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for part in filter(None, line.split(", ")):
            _add_field(message, part)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


def _add_field(message: Any, text: str) -> None:
    place, _, kind = text.partition(" ")
    name, _, number = place.partition("=")
    kind = kind or "string"
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    if kind.startswith("map"):
        kind = _add_map_entry(message, name, kind.removeprefix("map") or "string")
        field.label = field.LABEL_REPEATED
    _set_type(field, kind)


def _add_map_entry(message: Any, name: str, value: str) -> str:
    """A map is a repeated nested message with key and value, marked as such."""
    entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    for part, number, kind in (("key", 1, "string"), ("value", 2, value)):
        field = entry.field.add(name=part, number=number)
        field.label = field.LABEL_OPTIONAL
        _set_type(field, kind)
    return f"{message.name}.{entry.name}"


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


_CLASSES = _build()
