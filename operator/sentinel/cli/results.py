"""Logs and output of Builds as the CLI reads them: from the results API, which needs nothing but a kubeconfig.

A cluster may have none (chart value results.enabled). Then logs are read from the store itself, where its settings are
in the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from pydantic import ValidationError

from sentinel.backoff import Backoff
from sentinel.errors import GoneError, SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.errors import ApiError, Forbidden, NotFound, Unavailable
from sentinel.kube.resources import RESULTS
from sentinel.plan.keys import step_log
from sentinel.settings import Settings
from sentinel.store.objects import ObjectStore

API_SERVICE = f"{RESULTS.version}.{RESULTS.group}"
SHOW_API = f"`kubectl get apiservice {API_SERVICE}`"
AGAIN = Backoff(first=0.5, longest=3.0, tries=7)
"""Pauses where the API does not answer, or a stream is cut: it goes on where it was. Together they last for some 12 s,
in which the only pod of the results server is replaced."""
PIECE = 512 * 1024
TAIL_BYTES = 64 * 1024


class NoResultsApi(SentinelError):
    """The cluster does not serve the results API."""


class ResultsApi:
    """The results of one Build. Raises SentinelError with the command to type next."""

    def __init__(self, kube: Kube, *, namespace: str, name: str) -> None:
        self._kube = kube
        self._namespace, self._name = namespace, name

    async def log(self, step_id: str, *, start: int = 0) -> AsyncGenerator[bytes, None]:
        """A step's log from byte `start` on. Raises GoneError where the store does not have it, NoResultsApi."""
        async with aclosing(self._bytes("log", {"step": step_id}, start, None)) as data:
            async for piece in data:
                yield piece

    async def tail(self, step_id: str, *, lines: int) -> bytes:
        """The last lines of a step's log, and at most TAIL_BYTES of them."""
        kept = b""
        query = {"step": step_id, "tailLines": str(lines)}
        async with aclosing(self._bytes("log", query, 0, None)) as data:
            async for piece in data:
                kept = (kept + piece)[-TAIL_BYTES:]
        return kept

    async def output(self, *, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Bytes of the output's archive. Raises GoneError where there is none, NoResultsApi."""
        async with aclosing(self._bytes("output", {}, start, end)) as data:
            async for piece in data:
                yield piece

    async def _bytes(
        self, subresource: str, query: Mapping[str, str], start: int, end: int | None
    ) -> AsyncGenerator[bytes, None]:
        tried = 0
        resumable = "tailLines" not in query
        while True:
            tried += 1
            begun = start
            try:
                async with aclosing(
                    self._kube.download(
                        RESULTS,
                        namespace=self._namespace,
                        name=self._name,
                        subresource=subresource,
                        query=query,
                        span=(start, end),
                    )
                ) as data:
                    async for piece in data:
                        start += len(piece)
                        yield piece
                return
            except Unavailable as error:
                tried = 1 if start > begun else tried
                if tried >= AGAIN.tries or (start > begun and not resumable):
                    raise self._explained(error, subresource) from error
                await asyncio.sleep(AGAIN.pause(tried, asked=error.retry_after))
            except ApiError as error:
                if error.status == 416:
                    return
                raise self._explained(error, subresource) from error

    def _explained(self, error: ApiError, subresource: str) -> SentinelError:
        if isinstance(error, NotFound) and error.code:
            return GoneError(error.text)
        if isinstance(error, NotFound):
            return NoResultsApi(
                f"this cluster has no results API ({SHOW_API}); an administrator turns it on with the chart's value "
                "results.enabled"
            )
        if isinstance(error, Forbidden):
            return SentinelError(
                f"{error.text}\n`kubectl auth can-i get {RESULTS.plural}.{RESULTS.group} --subresource={subresource} "
                f"-n {self._namespace}` shows whether you may; the ClusterRole view has this right, where the chart's "
                "value rbac.aggregate is on"
            )
        if isinstance(error, Unavailable) and not error.text.count("object store"):
            return SentinelError(
                f"{error.text}\n{SHOW_API} shows whether the results API is available"
            )
        return SentinelError(error.text)


class OwnStore:
    """The store itself, by the settings in the environment: logs of one Build."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    @classmethod
    def open(cls, prefix: str) -> OwnStore | None:
        """None where the environment has no settings of a store."""
        try:
            store = ObjectStore.from_settings(Settings().store)
        except ValidationError:
            return None
        return None if store is None else cls(store, prefix)

    async def log(self, step_id: str, *, start: int = 0) -> AsyncGenerator[bytes, None]:
        """As ResultsApi.log."""
        key = step_log(self._prefix, step_id)
        size = await self._store.size(key)
        if size is None:
            raise GoneError("it is not in the store")
        while start < size:
            data = await self._store.read(key, start=start, length=min(PIECE, size - start))
            if not data:
                return
            start += len(data)
            yield data

    def close(self) -> None:
        """Close its connections."""
        self._store.close()
