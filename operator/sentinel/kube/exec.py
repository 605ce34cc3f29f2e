"""A command in a container: bytes both ways over a WebSocket, and an honest word on how it ended.

Channels of the subprotocol (KEP-4006): 0 stdin, 1 stdout, 2 stderr, 3 a Status in JSON, and in v5 255 to close one of
them. Not here: reconnecting, and what the bytes mean.

A stream decides nothing. `Cut` says that the command's end is unknown; `Exited` says what the API server
reported, which is success as well when the kubelet's side of the connection just ends.
"""

from __future__ import annotations

import asyncio
import json
import socket as socket_module
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from sentinel.clock import Clock
from sentinel.errors import NotYet, SentinelError
from sentinel.kube import errors
from sentinel.kube.resources import PODS
from sentinel.kube.transport import Request, Transport, UpgradeRefused

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
HEARTBEAT = 15.0
HANDSHAKE_SECONDS = 10.0
EARLY_SECONDS = 5.0
"""A stream that closes without a word within this time never reached the container (kubernetes.md)."""
STDERR_TAIL = 8 * 1024
CHUNK = 64 * 1024
"""Bytes of stdin in one message: the server holds whole messages in memory."""
_STDIN = 0


@dataclass(frozen=True)
class Exited:
    """The command ended: its exit code, and the server's sentence about it."""

    code: int
    message: str = ""


@dataclass(frozen=True)
class Cut:
    """The connection ended and said nothing of the command. `detail` is for a log line."""

    detail: str


class ExecStream:
    """One running command. One reader, any number of writers.

    Read steadily: a reader that stops for longer than the heartbeat holds up the pongs, and the stream is cut.
    `ending` is None until `read()` gave b"".
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        *,
        what: str,
        clock: Clock,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self.ending: Cut | Exited | None = None
        self._socket = socket
        self._connection = socket.get_extra_info("socket")
        self._heartbeat = heartbeat
        self._what = what
        self._clock = clock
        self._opened = clock.monotonic()
        self._spoke = False
        self._left = False
        self._stderr = bytearray()
        self._writing = asyncio.Lock()

    @property
    def stderr(self) -> bytes:
        """The last 8 KiB of stderr that `read()` came across."""
        return bytes(self._stderr)

    async def read(self) -> bytes:
        """The next bytes of stdout, b"" at the end; then `ending` says which.

        Before the first byte of stdout raises what `Kube.exec` raises if the command did not start.
        """
        while self.ending is None:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                data: bytes = message.data
                if len(data) < 2:
                    continue  # the server greets with an empty message
                match data[0]:
                    case 1:
                        self._spoke = True
                        return data[1:]
                    case 2:
                        self._stderr += data[1:]
                        del self._stderr[:-STDERR_TAIL]
                    case 3:
                        self._end_by_status(data[1:])
                    case _:
                        pass
            else:
                self._end_without_status(message)
        return b""

    async def write(self, data: bytes) -> None:
        """Send all of `data` to stdin; waits while the other side does not read. Raises NotYet, Unavailable."""
        view = memoryview(data)
        async with self._writing:
            for start in range(0, len(view), CHUNK):
                await self._send(bytes([_STDIN]) + view[start : start + CHUNK])

    async def close(self) -> None:
        """Drop the connection. The command sees the end of its stdin, and nothing else. Never raises."""
        self._left = True
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with asyncio.timeout(2):
                await self._socket.close()
        # What a peer that reads nothing left in the buffer would keep the connection open for ever.
        with suppress(OSError):
            if self._connection is not None and self._connection.fileno() >= 0:
                self._connection.shutdown(socket_module.SHUT_RDWR)

    async def _send(self, message: bytes) -> None:
        if self.ending is not None:
            raise errors.Unavailable(f"{self._what}: the stream has ended: {self.ending}")
        sending = asyncio.create_task(self._socket.send_bytes(message))
        try:
            # aiohttp wakes a reader when no pong came, and leaves a writer with a full buffer asleep.
            while not (await asyncio.wait({sending}, timeout=self._heartbeat))[0]:
                if self._socket.closed:
                    raise self._lost(str(self._socket.exception() or "closed while sending"))
            sending.result()
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(str(error) or type(error).__name__) from error
        finally:
            sending.cancel()

    def _end_by_status(self, payload: bytes) -> None:
        try:
            status: dict[str, Any] = json.loads(payload)
        except ValueError:
            self.ending = Cut(f"an unreadable status: {payload[:200]!r}")
            return
        code = _exit_code(status)
        if code is not None:
            self.ending = Exited(code, str(status.get("message", "")))
            return
        refusal = errors.from_exec(self._what, int(status.get("code") or 500), status)
        self.ending = Cut(refusal.message)
        if not self._spoke:
            raise refusal

    def _end_without_status(self, message: aiohttp.WSMessage) -> None:
        detail = f"closed with code {self._socket.close_code}"
        if self._left:
            detail = "closed from our side"
        elif (error := self._socket.exception()) is not None:
            detail += f": {error or type(error).__name__}"
        elif message.type is aiohttp.WSMsgType.TEXT:
            detail = "a text message, which the subprotocol does not allow"
        lost = self._lost(detail)
        self.ending = Cut(detail)
        if isinstance(lost, NotYet):
            raise lost

    def _lost(self, detail: str) -> SentinelError:
        """What it means that the socket is gone: too early, or cut."""
        early = self._clock.monotonic() - self._opened < EARLY_SECONDS
        if early and not self._spoke and not self._left:
            return NotYet(
                f"{self._what}: the connection closed before the command started: {detail}"
            )
        return errors.Unavailable(f"{self._what}: the stream was cut: {detail}")


def _exit_code(status: dict[str, Any]) -> int | None:
    """The exit code in a Status, None if it speaks of something else than the command's end."""
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        for cause in (status.get("details") or {}).get("causes") or []:
            if cause.get("reason") == "ExitCode":
                with suppress(ValueError):
                    return int(cause.get("message", ""))
    return None


async def open_exec(
    transport: Transport,
    *,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    heartbeat: float,
) -> ExecStream:
    """See `Kube.exec`."""
    what = f"exec in pods {namespace}/{pod} container {container}"
    query = [("command", word) for word in command]
    query += [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    path = PODS.path(namespace=namespace, name=pod, subresource="exec")
    request = Request("GET", path, what, query)
    renewed = False
    while True:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                socket = await transport.websocket(request, protocols=(V5, V4), heartbeat=heartbeat)
            break
        except TimeoutError as error:
            raise errors.Unavailable(
                f"{what}: no handshake in {HANDSHAKE_SECONDS:.0f} s"
            ) from error
        except UpgradeRefused as refused:
            if refused.status == 401 and not renewed:
                renewed = True
                await transport.renew()
                continue
            raise errors.from_exec(what, refused.status, refused.body) from refused
    if socket.protocol not in (V5, V4):
        await socket.close()
        raise errors.ApiError(
            f"{what}: the server supports neither {V5} nor {V4}; is there a proxy that drops the header?"
        )
    return ExecStream(socket, what=what, clock=transport.clock, heartbeat=heartbeat)
