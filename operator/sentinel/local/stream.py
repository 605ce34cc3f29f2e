"""An exec in a container as a stream of bytes: what a session speaks over (`session.stream.ByteStream`)."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from docker import errors

from sentinel.errors import BoxEnded, NotYet
from sentinel.layout import BOXKIT
from sentinel.local.docker import Docker

_HEADER = 8
"""Bytes before each piece of output: its stream (1 is stdout), three zeros, and its length, big-endian."""
_STDOUT = 1
_CHUNK = 64 * 1024


class ExecStream:
    """stdin and stdout of an exec. What it writes to stderr is dropped.

    `opened` is what docker-py gives for one. Reading and writing block, so each has a thread, which ends with `close`.
    """

    def __init__(self, opened: Any) -> None:
        self._opened = opened  # holds the response, whose end would close the socket
        self._socket: Any = getattr(opened, "_sock", opened)
        self._socket.settimeout(None)
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="exec")
        self._buffer = b""

    async def read(self) -> bytes:
        while True:
            found = self._take()
            if found:
                return found
            data = await self._in_thread(self._socket.recv, _CHUNK)
            if not data:
                return b""
            self._buffer += data

    def _take(self) -> bytes:
        """The next whole piece of stdout that is in the buffer, b"" where there is none."""
        while len(self._buffer) >= _HEADER:
            end = _HEADER + int.from_bytes(self._buffer[4:_HEADER], "big")
            if len(self._buffer) < end:
                break
            kind, piece = self._buffer[0], self._buffer[_HEADER:end]
            self._buffer = self._buffer[end:]
            if kind == _STDOUT and piece:
                return piece
        return b""

    async def write(self, data: bytes) -> None:
        await self._in_thread(self._socket.sendall, data)

    async def _in_thread(self, call: Any, argument: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, argument)

    async def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._opened.close()
        self._threads.shutdown(wait=False)


async def attach(docker: Docker, container: str) -> ExecStream:
    """An exec of `boxkit attach` in the box. Raises NotYet while it cannot be, BoxEnded where the box has ended."""
    try:
        made = await docker.do(docker.api.exec_create, container, [BOXKIT, "attach"], stdin=True)
        return ExecStream(await docker.do(docker.api.exec_start, made["Id"], socket=True))
    except errors.APIError as error:
        raise await _why_not(docker, container, str(error.explanation)) from error


async def _why_not(docker: Docker, container: str, said: str) -> Exception:
    try:
        state = (await docker.do(docker.api.inspect_container, container))["State"]
    except errors.APIError:
        return BoxEnded("the box's container was removed")
    if state["Running"] or state["Status"] == "created":
        return NotYet(said)
    return BoxEnded(why_ended(state))


def why_ended(state: dict[str, Any]) -> str:
    """How a container ended, in a sentence, from Docker's State."""
    if state.get("OOMKilled"):
        return "the box ran out of memory"
    more = f": {state['Error']}" if state.get("Error") else ""
    return f"the box ended while the build ran, with exit code {state.get('ExitCode')}{more}"
