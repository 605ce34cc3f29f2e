"""The operator's side: ask the resolver, wait for one that is restarting, and turn its answers into values or errors.

A connection is one Build's: the server's child for it ends when it is closed, and so a cancelled Build stops its child.
A request may be sent again, because an answer depends on nothing but the request.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from pydantic import ValidationError

from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.clock import Clock, SystemClock
from sentinel.errors import InfrastructureError, InternalError, UserError
from sentinel.resolver import wire
from sentinel.resolver.limits import Limit, described
from sentinel.resolver.messages import (
    Answer,
    CopyRequest,
    FactsAnswer,
    FactsRequest,
    Failure,
    Hello,
    Note,
    PushedRequest,
    Request,
    SourceAnswer,
    SourceRequest,
    WorkflowAnswer,
    WorkflowRequest,
)
from sentinel.resolver.shelf import Shelf
from sentinel.settings import ResolverSettings

log = logging.getLogger(__name__)

BACKOFF = Backoff(first=0.05, longest=2.0, jitter=0.3)
PATIENCE = 120.0
"""Seconds that a resolver which does not accept connections is waited for: its container is being restarted."""
MOST_CUTS = 4
"""Connections of one Build that may break while it is worked on: the Build may be why the resolver ends."""
WHAT = {
    "source": "reading the source and its wercker.yml",
    "workflow": "reading the source and its workflows",
    "facts": "looking up the images and steps of the build",
    "pushed": "reading the pushed image back",
    "copy": "copying the image",
}


class _Cut(Exception):
    """The connection ended without an answer, or there was none."""


class Resolver:
    """Asks the resolver at the socket `path`. `shelf` keeps the archives of steps that come with answers."""

    def __init__(
        self,
        path: str,
        *,
        settings: ResolverSettings,
        shelf: Shelf,
        patience: float = PATIENCE,
        clock: Clock | None = None,
    ) -> None:
        self.path = path
        self.settings = settings
        self.shelf = shelf
        self.patience = patience
        self.clock = clock or SystemClock()

    @asynccontextmanager
    async def session(self, *, namespace: str, build: str) -> AsyncIterator[Session]:
        """Requests of one Build. Its child ends with the block, however that is left."""
        session = Session(self, Hello(namespace=namespace, build=build))
        try:
            yield session
        finally:
            session.close()


class Session:
    """The requests of one Build: connected when needed, and again where the resolver was restarted."""

    def __init__(self, resolver: Resolver, hello: Hello) -> None:
        self._resolver = resolver
        self._hello = hello
        self._connection: socket.socket | None = None
        self._cuts = 0

    def close(self) -> None:
        """End the connection, and so the child."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def source(self, request: SourceRequest) -> SourceAnswer:
        """Which files, and what their wercker.yml says. Raises UserError, InfrastructureError, InternalError.

        An answer may have a `failure` beside the source that was found.
        """
        answer = await self._ask(request)
        if answer.source is None:
            raise InternalError("the resolver gave another answer than a source")
        return answer.source

    async def workflow(self, request: WorkflowRequest) -> WorkflowAnswer:
        """Which files, and their workflow. Raises as `source` does; an answer may have a `failure` too."""
        answer = await self._ask(request)
        if answer.workflow is None:
            raise InternalError("the resolver gave another answer than a workflow")
        return answer.workflow

    async def facts(self, request: FactsRequest) -> FactsAnswer:
        """What registries say. Archives of steps are on the shelf afterwards. Raises as `source` does."""
        answer = await self._ask(request)
        facts = answer.facts
        if (
            facts is None
            or len(facts.images) != len(request.images)
            or len(facts.steps) != len(request.steps)
        ):
            raise InternalError(
                "the resolver gave another answer than the facts that it was asked for"
            )
        return facts

    async def pushed(self, request: PushedRequest) -> str:
        """How a pushed image differs from what was reported, "" where it does not. Raises as `source` does."""
        answer = await self._ask(request)
        if answer.pushed is None:
            raise InternalError("the resolver gave another answer than one about a pushed image")
        return answer.pushed.problem

    async def copy(self, request: CopyRequest) -> None:
        """Copy an image from one repository to another. Raises as `source` does."""
        answer = await self._ask(request)
        if answer.copied is None:
            raise InternalError("the resolver gave another answer than one about a copied image")

    async def _ask(self, request: Request) -> Answer:
        clock = self._resolver.clock
        deadline = clock.monotonic() + self._resolver.patience
        document = request.model_dump_json().encode()
        if len(document) > wire.REQUEST_LIMIT:
            raise UserError(
                f"the Build's configuration and Secrets take {len(document)} bytes together, more than "
                f"{wire.REQUEST_LIMIT}",
                reason=Reason.INVALID_SPEC,
            )
        tried = 0
        while True:
            tried += 1
            try:
                connection = await self._connect()
            except OSError as error:
                if clock.monotonic() > deadline:
                    raise InfrastructureError(
                        f"the resolver did not accept a connection for {self._resolver.patience:.0f} s: "
                        f"{error.strerror}. Check the resolver container of the operator's pod",
                        reason=Reason.RESOLVER_UNAVAILABLE,
                    ) from error
            else:
                try:
                    return await self._exchange(connection, document, request.kind)
                except _Cut:
                    self._count_cut(request.kind)
                    deadline = clock.monotonic() + self._resolver.patience
            self.close()
            await clock.sleep(BACKOFF.pause(tried))

    async def _connect(self) -> socket.socket:
        if self._connection is None:
            self._connection = await wire.connect(self._resolver.path)
            loop = asyncio.get_running_loop()
            hello = self._hello.model_dump_json().encode()
            await loop.sock_sendall(self._connection, hello)
        return self._connection

    async def _exchange(self, connection: socket.socket, document: bytes, kind: str) -> Answer:
        """Send a request, read its answer and the files that belong to it."""
        loop = asyncio.get_running_loop()
        try:
            for packet in wire.packets(document):
                await loop.sock_sendall(connection, packet)
        except OSError:
            # Perhaps there is a note that says why.
            pass
        parts: list[bytes] = []
        size = 0
        while True:
            what, part = await self._packet(connection, kind)
            if what not in (wire.MORE, wire.END):
                raise InternalError("the resolver sent a file where an answer belongs")
            size += len(part)
            if size > self._resolver.settings.answer_kib * 1024:
                self._limit(Limit.ANSWER, kind)
            parts.append(part)
            if what == wire.END:
                break
        try:
            answer = Answer.model_validate_json(b"".join(parts))
        except ValidationError as error:
            # What is wrong is said without the values: they are a tenant's.
            places = "; ".join(
                f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in error.errors()[:3]
            )
            raise InternalError(f"the resolver's answer is not valid: {places[:500]}") from None
        if answer.failure is not None:
            raise_failure(answer.failure)
        if answer.facts is not None:
            for digest in answer.facts.archives:
                await self._file(connection, digest, kind)
        return answer

    async def _file(self, connection: socket.socket, digest: str, kind: str) -> None:
        """Take a step's archive over, if it is the one that was announced."""
        shelf = self._resolver.shelf
        found = hashlib.sha256()
        size = 0
        with tempfile.NamedTemporaryFile(dir=shelf.directory, prefix="new-") as file:
            while True:
                what, part = await self._packet(connection, kind)
                if what == wire.FILE_END:
                    break
                size += len(part)
                if what != wire.FILE or size > shelf.largest:
                    raise InternalError("the resolver sent another file than a step's archive")
                found.update(part)
                file.write(part)
            if found.hexdigest() != digest:
                raise InternalError(
                    "the resolver sent another archive than the one that it announced"
                )
            file.flush()
            shelf.put(file.name, digest, size)

    async def _packet(self, connection: socket.socket, kind: str) -> tuple[bytes, bytes]:
        try:
            packet = await asyncio.get_running_loop().sock_recv(connection, wire.PART + 1)
        except OSError as error:
            raise _Cut from error
        if not packet:
            raise _Cut
        if packet[:1] == wire.NOTE:
            self._noted(packet[1:], kind)
        return packet[:1], packet[1:]

    def _noted(self, text: bytes, kind: str) -> NoReturn:
        try:
            note = Note.model_validate_json(text)
        except ValidationError:
            raise InternalError("the resolver's note is not valid") from None
        if note.limit is not None:
            self._limit(note.limit, kind)
        if note.detail == "signal 9":
            # Not by the server: the kernel was short of memory, and the next try may find more.
            raise _Cut
        raise InternalError(
            f"{WHAT[kind]} failed: its process ended with {note.detail}; the log of the container `resolver` has more",
            reason=Reason.INTERNAL,
        )

    def _limit(self, limit: Limit, kind: str) -> NoReturn:
        raise UserError(
            f"{WHAT[kind]} took more than the {described(limit, self._resolver.settings)} that one Build may take. "
            "Use a smaller source, wercker.yml, image or step, or have the operator's limit raised",
            reason=Reason.RESOLVE_LIMIT_EXCEEDED,
        )

    def _count_cut(self, kind: str) -> None:
        self._cuts += 1
        log.warning(
            "the resolver ended while it worked on Build %s/%s (%s of %s)",
            *(self._hello.namespace, self._hello.build, self._cuts, MOST_CUTS),
        )
        if self._cuts >= MOST_CUTS:
            raise InfrastructureError(
                f"the resolver ended {self._cuts} times while it was {WHAT[kind]}. Check the log and the memory limit "
                "of the container `resolver` in the operator's pod",
                reason=Reason.RESOLVER_UNAVAILABLE,
            )


def raise_failure(failure: Failure) -> NoReturn:
    """The error that a child reported."""
    if failure.kind == "user":
        raise UserError(failure.message, reason=failure.reason)
    if failure.kind == "infrastructure":
        raise InfrastructureError(failure.message, reason=failure.reason)
    raise InternalError(failure.message, reason=failure.reason)
