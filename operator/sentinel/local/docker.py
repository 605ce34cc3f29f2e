"""The Docker Engine: connecting to it, calling it without blocking the event loop, and what its errors mean."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Self, TypeVar

import docker
import requests
from docker import errors

from sentinel.api.reasons import Reason
from sentinel.config.findings import visible
from sentinel.engine.guard import to_the_end
from sentinel.errors import InfrastructureError

T = TypeVar("T")

SECONDS = 120.0
"""Of one request without a body of its own."""


class Docker:
    """A Docker Engine. `api` is docker-py's low-level client, whose calls block: `do` makes them in a thread."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self._calls: set[asyncio.Future[Any]] = set()

    @classmethod
    def connect(cls) -> Self:
        """The engine of $DOCKER_HOST, else of the current Docker context. Raises InfrastructureError."""
        try:
            if os.environ.get("DOCKER_HOST"):
                return cls(docker.from_env(timeout=int(SECONDS)).api)
            context = docker.ContextAPI.get_current_context()
            host = context.Host if context is not None else None
            tls = context.TLSConfig if context is not None else None
            return cls(docker.APIClient(base_url=host, tls=tls or False, timeout=int(SECONDS)))
        except (errors.DockerException, requests.RequestException, OSError) as error:
            raise _unavailable(error) from error

    @property
    def host(self) -> str:
        """Where it is, for telling engines apart."""
        return str(self.api.base_url)

    async def do(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """`call(...)` in a thread. Raises InfrastructureError; docker's 404 and 409 come as `errors.APIError`.

        A call goes on where its caller is cancelled: see `idle`.
        """
        made = asyncio.ensure_future(asyncio.to_thread(call, *arguments, **options))
        self._calls.add(made)
        made.add_done_callback(self._calls.discard)
        try:
            return await to_the_end(_result(made))
        except errors.APIError as error:
            if error.status_code in (404, 409):
                raise
            raise InfrastructureError(
                f"Docker Engine refused: {visible(error.explanation or str(error))}",
                reason=Reason.CONTAINER_CREATE_FAILED,
            ) from error
        except (errors.DockerException, requests.RequestException, OSError) as error:
            raise _unavailable(error) from error

    async def idle(self) -> None:
        """Wait for all calls that are under way: what they make is there then, and can be removed."""
        while self._calls:
            await asyncio.wait(set(self._calls))

    def close(self) -> None:
        self.api.close()


async def _result(made: asyncio.Future[T]) -> T:
    return await asyncio.shield(made)


def _unavailable(error: Exception) -> InfrastructureError:
    return InfrastructureError(
        f"Docker Engine does not answer: {visible(str(error))[:300]}. Start it, or set DOCKER_HOST; "
        "`docker version` shows whether it can be reached",
        reason=Reason.CONTAINER_CREATE_FAILED,
    )
