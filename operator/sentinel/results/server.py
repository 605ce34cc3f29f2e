"""The HTTP side of the results API: who may have what, and the bytes as they come from the store.

One answer holds one piece of an object in memory, and the next is read when the client has taken it. What goes wrong
before the first byte is a Status; after it the connection is cut, so that no client takes a part for the whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import Counter
from pydantic import ValidationError

from sentinel.api.build import BuildStatus, StepStatus
from sentinel.api.conditions import ConditionType, get_condition
from sentinel.errors import SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import BUILDS, RESULTS
from sentinel.observe.metrics import REGISTRY
from sentinel.results import answers
from sentinel.results.access import check_access
from sentinel.results.answers import LOG, OUTPUT, Refusal
from sentinel.results.frontproxy import Caller, FrontProxy, Unauthenticated
from sentinel.results.query import LogQuery, known, span
from sentinel.results.slots import Slots
from sentinel.results.stored import Changed, Results, Store, pieces, start_of_tail, wanted
from sentinel.store.objects import ObjectInfo
from sentinel.text import printable

log = logging.getLogger(__name__)

ANSWERS = Counter(
    "sentinel_results_answers",
    "Answers of the results API by HTTP status.",
    ["code"],
    registry=REGISTRY,
)

STALLED = 60.0
"""Seconds for which a client may take no byte, until its answer is cut."""
STORE_FAILED = (
    "the object store cannot be read now; try again. The log of Sentinel's results server has the cause, for "
    "administrators"
)
TEXT = "text/plain; charset=utf-8"
NOT_STORED = b"--- sentinel: this log is not in the store\n"
NOT_YET = b"--- sentinel: this step is running; its log is stored when it has ended\n"
CHANGED = b"\n--- sentinel: this log was changed after it was stored\n"

CALLER = web.RequestKey("caller", Caller)
BEGUN = web.RequestKey("begun", bool)
"""Whether bytes of the answer are under way."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A Build, as far as its results are concerned."""

    name: str
    status: BuildStatus
    results: Results | None

    @property
    def finished(self) -> bool:
        condition = get_condition(self.status.conditions, ConditionType.FINISHED)
        return condition is not None and condition.status == "True"


class ResultsServer:
    """`application()` for aiohttp, behind TLS of `proxy.context`."""

    def __init__(
        self, *, kube: Kube, store: Store, store_prefix: str, proxy: FrontProxy, slots: Slots
    ) -> None:
        self._kube = kube
        self._store = store
        self._prefix = store_prefix
        self._proxy = proxy
        self._slots = slots

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        version = f"/apis/{RESULTS.group}/{RESULTS.version}"
        build = version + "/namespaces/{namespace}/builds/{name}"
        documents = (
            ("/apis", answers.groups()),
            (f"/apis/{RESULTS.group}", answers.group()),
            (version, answers.resources()),
        )
        for path, document in documents:
            app.router.add_get(path, _always(document), allow_head=False)
        app.router.add_get(f"{build}/{LOG}", self._log, allow_head=False)
        app.router.add_get(f"{build}/{OUTPUT}", self._output, allow_head=False)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authenticate, and make a Status of what is raised before the answer has begun."""
        try:
            certificate = request.get_extra_info("peercert")
            request[CALLER] = self._proxy.caller(certificate, request.headers)
            return await handler(request)
        except Unauthenticated as error:
            refusal = Refusal(401, str(error))
        except Refusal as error:
            refusal = error
        except ConnectionError:
            # The client has gone: nobody reads this.
            return web.Response(status=400)
        except web.HTTPException as error:
            code = 404 if error.status == 404 else 400
            refusal = Refusal(code, f"the server could not find {request.path}: {error.reason}")
        except SentinelError as error:
            log.warning("%s: %s", request.path, error.message)
            refusal = Refusal(503, STORE_FAILED)
        if request.get(BEGUN):
            # Half an answer cannot be taken back, only be cut.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=refusal.code)
        ANSWERS.labels(str(refusal.code)).inc()
        return web.json_response(refusal.status(), status=refusal.code, headers=refusal.headers)

    @asynccontextmanager
    async def _granted(self, request: web.Request, subresource: str) -> AsyncIterator[Found]:
        """The Build, where the user may read that of it; while the block runs it takes a slot."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        with self._slots.take(namespace):
            try:
                await check_access(
                    self._kube,
                    request[CALLER],
                    namespace=namespace,
                    name=name,
                    subresource=subresource,
                )
                yield await self._find(namespace, name)
            except (Forbidden, NotFound) as error:
                log.error("%s: %s", request.path, error.message)
                raise Refusal(
                    500, "the results server lacks a right of its own; its log says which"
                ) from error

    async def _find(self, namespace: str, name: str) -> Found:
        try:
            raw = await self._kube.get(BUILDS, namespace=namespace, name=name)
        except NotFound:
            raise Refusal(
                404, f"there is no Build {name!r} in namespace {namespace!r}", name=name
            ) from None
        except Forbidden:
            raise Refusal(
                404, f"Sentinel does not run builds in namespace {namespace!r}", name=name
            ) from None
        try:
            status = BuildStatus.model_validate(raw.get("status") or {})
        except ValidationError as error:
            raise Refusal(
                500,
                f"the status of Build {name} was written by another release of Sentinel",
                name=name,
            ) from error
        results = Results.of(
            status, store_prefix=self._prefix, namespace=namespace, uid=str(raw["metadata"]["uid"])
        )
        return Found(name=name, status=status, results=results)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        query = LogQuery.parse(request.query)
        async with self._granted(request, LOG) as found:
            steps = wanted(found.status, query)
            if query.step and not steps:
                _check_step(found, query.step)
            if query.step and len(steps) == 1:
                return await self._one_log(request, found, steps[0], query)
            return await self._logs(request, found, steps, query)

    async def _one_log(
        self, request: web.Request, found: Found, step: StepStatus, query: LogQuery
    ) -> web.StreamResponse:
        info = await self._head(found, step)
        if info is None:
            raise Refusal(404, _no_log(found, step), name=found.name)
        if query.tail_lines is None:
            start, end = span(request.headers.get("Range"), info.size)
        else:
            start, end = await start_of_tail(self._store, info, query.tail_lines), info.size
        whole = query.tail_lines is not None or (start, end) == (0, info.size)
        headers = {} if whole else {"Content-Range": f"bytes {start}-{end - 1}/{info.size}"}
        answer = await self._begin(
            request, status=200 if whole else 206, content_type=TEXT, headers=headers
        )
        try:
            async for data in pieces(self._store, info, start, end):
                await _write(answer, data)
        except Changed as error:
            log.error("%s", error)
            await _write(answer, CHANGED)
        await answer.write_eof()
        return answer

    async def _logs(
        self, request: web.Request, found: Found, steps: list[StepStatus], query: LogQuery
    ) -> web.StreamResponse:
        """Several steps' logs, each under its name."""
        infos = [await self._head(found, steps[0])] if steps else []
        answer = await self._begin(request, status=200, content_type=TEXT)
        last = b"\n"
        for number, step in enumerate(steps):
            info = infos[0] if number == 0 else await self._head(found, step)
            title = printable(step.display_name or step.name, instead="\ufffd")
            await _write(answer, (b"" if last == b"\n" else b"\n") + f"▶ {title}\n".encode())
            last = b"\n"
            if info is None:
                await _write(answer, NOT_STORED if step.completion_time else NOT_YET)
                continue
            start = 0
            if query.tail_lines is not None:
                start = await start_of_tail(self._store, info, query.tail_lines)
            try:
                async for data in pieces(self._store, info, start, info.size):
                    await _write(answer, data)
                    last = data[-1:]
            except Changed as error:
                log.error("%s", error)
                await _write(answer, CHANGED)
                last = b"\n"
        await answer.write_eof()
        return answer

    async def _output(self, request: web.Request) -> web.StreamResponse:
        known(request.query)
        async with self._granted(request, OUTPUT) as found:
            info = None if found.results is None else await self._store.head(found.results.output)
            if info is None:
                raise Refusal(404, _no_output(found), name=found.name)
            start, end = span(request.headers.get("Range"), info.size)
            whole = (start, end) == (0, info.size)
            headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
            headers["Content-Disposition"] = 'attachment; filename="output.tar"'
            if not whole:
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{info.size}"
            answer = await self._begin(
                request,
                status=200 if whole else 206,
                content_type="application/x-tar",
                headers=headers,
            )
            try:
                async for data in pieces(self._store, info, start, end):
                    await _write(answer, data)
            except Changed as error:
                raise SentinelError(str(error)) from error
            await answer.write_eof()
            return answer

    async def _head(self, found: Found, step: StepStatus) -> ObjectInfo | None:
        return None if found.results is None else await self._store.head(found.results.log(step))

    async def _begin(
        self,
        request: web.Request,
        *,
        status: int,
        content_type: str,
        headers: dict[str, str] | None = None,
    ) -> web.StreamResponse:
        answer = web.StreamResponse(status=status, headers=headers)
        answer.headers["Content-Type"] = content_type
        # A project decides what stands in there: no browser shall take it for a page of the API server's.
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cache-Control"] = "no-store"
        await answer.prepare(request)
        request[BEGUN] = True
        ANSWERS.labels(str(status)).inc()
        return answer


async def _write(answer: web.StreamResponse, data: bytes) -> None:
    try:
        async with asyncio.timeout(STALLED):
            await answer.write(data)
    except TimeoutError:
        raise SentinelError("the client took no byte for a minute") from None


def _always(document: answers.Json) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(document)

    return answer


def _check_step(found: Found, step: str) -> None:
    """Raises Refusal 404 where the Build has no such step; one that did not begin has an empty log."""
    steps = found.status.steps
    if any(step in (each.id, each.name, each.display_name) for each in steps):
        return
    names = ", ".join(each.display_name or each.name for each in steps) or "none yet"
    raise Refusal(
        404, f"Build {found.name} has no step {step!r}; its steps are: {names}", name=found.name
    )


def _no_log(found: Found, step: StepStatus) -> str:
    name = step.display_name or step.name
    if not step.completion_time and not found.finished:
        return f"step {name} is running; its log is stored when it has ended"
    return f"no log in the store for: {name}"


def _no_output(found: Found) -> str:
    if not found.finished:
        return f"Build {found.name} has not finished; its output is stored at its end"
    return f"Build {found.name} has no output in the store: nothing was in $WERCKER_OUTPUT_DIR, or it is deleted"
