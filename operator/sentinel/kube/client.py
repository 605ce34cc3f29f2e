"""The API server in thin functions on plain dicts.

`Kube` is all that the rest of Sentinel sees: get, list, create, replace, patch, delete, watch, logs, exec. Every
failure is an exception of `kube.errors`. Not here: caches, informers, types, and knowledge of builds.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Literal, Self

from sentinel.clock import Clock, SystemClock
from sentinel.errors import NotYet
from sentinel.kube import errors, watch
from sentinel.kube.download import download
from sentinel.kube.exec import HEARTBEAT, ExecStream, open_exec
from sentinel.kube.resources import PODS, Resource
from sentinel.kube.transport import AnswerTooLarge, Request, Transport, parse, selection

Json = dict[str, Any]

FOLLOW_SILENCE = 100.0
"""Seconds without output after which a followed log is begun again: the connection may be dead."""

PAGE_BYTES = 2 * 1024 * 1024
"""What a page of `each` should have: parsing it blocks the event loop for some 20 ms."""
MOST_PAGE_BYTES = 8 * PAGE_BYTES
"""What a page may have before it is asked for again with fewer objects."""
FIRST_PAGE, SMALLEST_PAGE, LARGEST_PAGE = 50, 10, 500
"""Objects. One may have 1.5 MB."""

_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

# The registry says "the UID in the precondition", the storage below it "UID in precondition".
_OTHER_UID = re.compile(r"UID in (the )?precondition")

_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Kube:
    """A connection to one API server. `async with await Kube.connect(user_agent=...) as kube:`

    Reads are tried three times; writes again only when the server certainly did not act on them. Every method raises
    ApiError and its children; the docstrings name only what is special.
    """

    def __init__(self, transport: Transport, *, namespace: str = "default") -> None:
        self._transport = transport
        self.namespace = namespace
        """The one that is meant where a person names none."""

    @classmethod
    async def connect(
        cls, *, user_agent: str, kubeconfig: str | None = None, clock: Clock | None = None
    ) -> Kube:
        """In-cluster in a pod, else by kubeconfig (default $KUBECONFIG, ~/.kube/config). Sends nothing yet.

        `user_agent` as `sentinel-operator/0.1.0`: its first word becomes the field manager and stands in the audit log.
        Raises UserError if there are no credentials.
        """
        # 20 MiB of modules, which `sentinel check` and the tests of everything else can do without.
        from sentinel.kube import credentials  # noqa: PLC0415

        clock = clock or SystemClock()
        loaded = await credentials.load(kubeconfig=kubeconfig, clock=clock)
        transport = Transport(loaded, user_agent=user_agent, clock=clock)
        return cls(transport, namespace=loaded.namespace)

    async def close(self) -> None:
        """Close every connection, exec streams too."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def get(self, resource: Resource, *, name: str, namespace: str | None = None) -> Json:
        """The object. Raises NotFound."""
        return await self._transport.json(
            Request(
                "GET",
                resource.path(namespace=namespace, name=name),
                _what("get", resource, namespace, name),
                repeatable=True,
            )
        )

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        limit: int = 500,
    ) -> tuple[list[Json], str]:
        """All objects, apiVersion and kind filled in, and the resourceVersion to watch from.

        `limit` is the size of a page, not of the result. If the server forgets the list between two pages, it is
        asked again for all in one.
        """
        page: Json = {}
        items: list[Json] = []
        while True:
            more = {"limit": limit or "", "continue": page.get("metadata", {}).get("continue", "")}
            try:
                page = await self._transport.json(
                    Request(
                        "GET",
                        resource.path(namespace=namespace),
                        _what("list", resource, namespace),
                        selection(labels=labels, fields=fields, more=more),
                        repeatable=True,
                    )
                )
            except errors.Expired:
                if not limit:
                    raise
                page, items, limit = {}, [], 0
                continue
            kind = str(page.get("kind", "")).removesuffix("List")
            for item in page.get("items") or []:
                items.append({"apiVersion": resource.api_version, "kind": kind, **item})
            if not page.get("metadata", {}).get("continue"):
                return items, str(page.get("metadata", {}).get("resourceVersion", ""))

    async def each(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        limit: int = 0,
        metadata_only: bool = False,
    ) -> AsyncGenerator[Json, None]:
        """As `list`, with one page in memory. Raises Expired where that takes too long.

        A page has `limit` objects; 0: as many as make about PAGE_BYTES, by the size of those before. `metadata_only`:
        objects come with apiVersion, kind and metadata alone.
        """
        following = ""
        size = limit or FIRST_PAGE
        while True:
            request = Request(
                "GET",
                resource.path(namespace=namespace),
                _what("list", resource, namespace),
                selection(labels=labels, more={"limit": size, "continue": following}),
                repeatable=True,
            )
            may_shrink = not limit and size > SMALLEST_PAGE
            try:
                data = await self._transport.bytes(
                    request,
                    accept=_METADATA_ONLY if metadata_only else "application/json",
                    most=MOST_PAGE_BYTES if may_shrink else None,
                )
            except AnswerTooLarge:
                size = max(size // 8, SMALLEST_PAGE)
                continue
            page = parse(request, data)
            kind = str(page.get("kind", "")).removesuffix("List")
            items = page.get("items") or []
            for item in items:
                yield {"apiVersion": resource.api_version, "kind": kind, **item}
            following = str(page.get("metadata", {}).get("continue") or "")
            if not following:
                return
            if not limit:
                size = min(max(PAGE_BYTES * len(items) // len(data), SMALLEST_PAGE), LARGEST_PAGE)

    async def check_served(self, resource: Resource, *, namespace: str | None = None) -> None:
        """Raise NotFound where the server does not know the resource, Forbidden where we may not list it.

        One request, however many objects there are.
        """
        await self._transport.bytes(
            Request(
                "GET",
                resource.path(namespace=namespace),
                _what("list", resource, namespace),
                selection(more={"limit": 1}),
                repeatable=True,
            ),
            accept=_METADATA_ONLY,
        )

    async def create(self, resource: Resource, body: Json, *, namespace: str | None = None) -> Json:
        """The object as the server made it. Raises AlreadyExists: names are locks.

        Unknown fields of a pod, which may be a user's misspelt limits, are an error (400) instead of dropped.
        """
        metadata = body.get("metadata", {})
        namespace = namespace or metadata.get("namespace")
        if resource.namespaced and not namespace:
            raise ValueError(f"{resource.plural}: a namespace is needed")
        name = metadata.get("name") or metadata.get("generateName")
        return await self._transport.json(
            Request(
                "POST",
                resource.path(namespace=namespace),
                _what("create", resource, namespace, name),
                [("fieldValidation", "Strict")] if resource == PODS else (),
                body,
            )
        )

    async def replace(self, resource: Resource, body: Json, *, subresource: str = "") -> Json:
        """PUT. With a resourceVersion in its metadata, raises Conflict if the object changed since."""
        metadata = body["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        return await self._transport.json(
            Request(
                "PUT",
                resource.path(namespace=namespace, name=name, subresource=subresource),
                _what("replace", resource, namespace, name, subresource),
                body=body,
            )
        )

    async def patch(
        self,
        resource: Resource,
        *,
        name: str,
        namespace: str | None = None,
        body: Any,
        subresource: str = "",
        kind: Literal["merge", "json", "apply"] = "merge",
        field_manager: str = "sentinel",
    ) -> Json:
        """A merge patch (dict), JSON patch (list) or server-side apply (dict; takes fields from other managers).

        A resourceVersion in the metadata of a merge patch is a precondition: raises Conflict. A failed `test` of a JSON
        patch raises Invalid.
        """
        query = [("fieldManager", field_manager)]
        if kind == "apply":
            query.append(("force", "true"))
        return await self._transport.json(
            Request(
                "PATCH",
                resource.path(namespace=namespace, name=name, subresource=subresource),
                _what("patch", resource, namespace, name, subresource),
                query,
                body,
                _PATCHES[kind],
                # An apply says what shall be, so saying it again changes nothing.
                repeatable=kind == "apply",
            )
        )

    async def delete(
        self,
        resource: Resource,
        *,
        name: str,
        namespace: str | None = None,
        uid: str | None = None,
        grace_seconds: int | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> None:
        """Begin to delete. An object that is gone is a success, and so is, with `uid`, another one of its name."""
        options: Json = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": propagation,
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._transport.bytes(
                Request(
                    "DELETE",
                    resource.path(namespace=namespace, name=name),
                    _what("delete", resource, namespace, name),
                    body=options,
                    # Without a uid a second try might meet a successor of the same name.
                    repeatable=bool(uid),
                )
            )
        except errors.NotFound:
            return
        except errors.Conflict as error:
            if not (uid and _OTHER_UID.search(error.message)):
                raise

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
    ) -> AsyncGenerator[tuple[str, Json], None]:
        """One HTTP watch: (ADDED | MODIFIED | DELETED | BOOKMARK, object), until the server ends it (at most 270 s).

        Begin the next from the last object's resourceVersion; a BOOKMARK has nothing else. Raises Expired when that is
        too old (list again), Unavailable when the connection breaks or is silent for 100 s.
        """
        what = _what("watch", resource, namespace)
        request = Request(
            "GET",
            resource.path(namespace=namespace),
            what,
            selection(
                labels=labels,
                fields=fields,
                more={
                    "watch": "true",
                    "allowWatchBookmarks": "true",
                    "timeoutSeconds": watch.SERVER_SECONDS,
                    "resourceVersion": resource_version,
                },
            ),
        )
        async with (
            self._transport.stream(request, silence=watch.SILENCE_SECONDS) as content,
            aclosing(watch.lines(content.iter_any())) as lines,
        ):
            async for line in lines:
                yield watch.parse(what, line)

    async def logs(
        self,
        *,
        namespace: str,
        pod: str,
        container: str,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        previous: bool = False,
    ) -> bytes:
        """What the kubelet still has of a container's output. Raises NotYet before the container has started."""
        more: dict[str, str | int] = {"container": container}
        if tail_lines is not None:
            more["tailLines"] = tail_lines
        if limit_bytes is not None:
            more["limitBytes"] = limit_bytes
        if previous:
            more["previous"] = "true"
        what = _what("read logs of", PODS, namespace, pod) + f" container {container}"
        path = PODS.path(namespace=namespace, name=pod, subresource="log")
        request = Request("GET", path, what, selection(more=more), repeatable=True)
        try:
            return await self._transport.bytes(request, accept="*/*")
        except errors.ApiError as error:
            _check_started(error)
            raise

    async def follow(
        self, *, namespace: str, pod: str, container: str, silence: float = FOLLOW_SILENCE
    ) -> AsyncGenerator[bytes, None]:
        """A container's output from its beginning, as it comes, until the container has ended.

        Raises NotYet before the container has started, and Unavailable when the connection breaks or is silent for
        `silence` seconds: begin again.
        """
        path = PODS.path(namespace=namespace, name=pod, subresource="log")
        what = _what("follow logs of", PODS, namespace, pod) + f" container {container}"
        request = Request(
            "GET", path, what, selection(more={"container": container, "follow": "true"})
        )
        try:
            async with self._transport.stream(request, silence=silence, accept="*/*") as content:
                async for chunk in content.iter_any():
                    yield chunk
        except errors.ApiError as error:
            _check_started(error)
            raise

    def download(
        self,
        resource: Resource,
        *,
        namespace: str,
        name: str,
        subresource: str,
        query: Mapping[str, str] | None = None,
        span: tuple[int, int | None] = (0, None),
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a subresource as they come, those of `span` (from, to); `kube.download` has the errors."""
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        what = _what("get", resource, namespace, name, subresource)
        return download(self._transport, path, what, query=query, span=span)

    async def exec(
        self,
        *,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        heartbeat: float = HEARTBEAT,
    ) -> ExecStream:
        """Start a command in a container, with stdin, stdout and stderr and no terminal.

        Raises NotYet, Paused, NotFound, Forbidden, Unavailable, or a plain ApiError (no such container or command).
        **The first `read()` or `write()` may raise the same**: a server of 1.30 or later accepts the connection before
        it asks the kubelet, and only the stream itself says that the command did not start.
        """
        return await open_exec(
            self._transport,
            namespace=namespace,
            pod=pod,
            container=container,
            command=command,
            heartbeat=heartbeat,
        )


def _check_started(error: errors.ApiError) -> None:
    """Raises NotYet where a container's output could not be read because the container has not started."""
    if "is waiting to start" in error.message or "host assigned" in error.message:
        raise NotYet(error.message) from error


def _what(
    verb: str,
    resource: Resource,
    namespace: str | None,
    name: str | None = None,
    subresource: str = "",
) -> str:
    kind = f"{resource.plural}/{subresource}" if subresource else resource.plural
    place = "/".join(part for part in (namespace, name) if part)
    return f"{verb} {kind} {place}".rstrip()
