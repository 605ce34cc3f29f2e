from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.clocks import Hasty
from tests.unit.kube.server import Handler, Server, eventually, failure, kubeconfig

from sentinel.errors import NotYet
from sentinel.kube import errors
from sentinel.kube import exec as kube_exec
from sentinel.kube.client import Kube
from sentinel.kube.exec import EARLY_SECONDS, V4, V5, Cut, ExecStream, Exited

Speak = Callable[[web.WebSocketResponse], Awaitable[None]]
SUCCESS = {"metadata": {}, "status": "Success"}


def exit_status(code: int) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal(text: str) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {text}",
        "reason": "InternalError",
        "code": 500,
    }


def kubelet(speak: Speak, *, protocols: tuple[str, ...] = (V5, V4)) -> Handler:
    """Upgrades, greets as the API server does, and lets `speak` do the rest."""

    async def handler(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=protocols, max_msg_size=0, compress=False)
        await socket.prepare(request)
        await socket.send_bytes(b"\x01")
        await speak(socket)
        return socket

    return handler


async def say(socket: web.WebSocketResponse, channel: int, data: bytes | dict[str, Any]) -> None:
    payload = json.dumps(data).encode() if isinstance(data, dict) else data
    await socket.send_bytes(bytes([channel]) + payload)


async def start(kube: Kube, *, heartbeat: float = 15) -> ExecStream:
    return await kube.exec(
        namespace="ci",
        pod="hello",
        container="box",
        command=["/kit/boxkit", "attach", "a b&c"],
        heartbeat=heartbeat,
    )


async def drain(stream: ExecStream) -> bytes:
    data = b""
    while chunk := await stream.read():
        data += chunk
    return data


async def test_exec_asks_for_the_command_word_by_word(kube: Kube, server: Server) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        await say(socket, 3, SUCCESS)

    server.answers(kubelet(speak))
    stream = await start(kube)
    await stream.close()
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("GET", "/api/v1/namespaces/ci/pods/hello/exec")
    assert seen.query == {
        "command": ["/kit/boxkit", "attach", "a b&c"],
        "container": ["box"],
        "stdin": ["true"],
        "stdout": ["true"],
        "stderr": ["true"],
    }
    assert seen.headers["Authorization"] == "Bearer s3cret"
    assert seen.headers["Sec-WebSocket-Protocol"] == f"{V5},{V4}"
    assert "Sec-WebSocket-Extensions" not in seen.headers


@pytest.mark.parametrize("status", [SUCCESS, exit_status(3)], ids=["0", "3"])
@pytest.mark.parametrize("protocol", [V5, V4])
async def test_a_status_frame_is_the_end_of_the_command(
    kube: Kube, server: Server, protocol: str, status: dict[str, Any]
) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        await say(socket, 1, b"out\xff\x00")
        await say(socket, 2, b"err")
        await say(socket, 1, b"put")
        await say(socket, 3, status)

    server.answers(kubelet(speak, protocols=(protocol,)))
    stream = await start(kube)
    assert await drain(stream) == b"out\xff\x00put"
    code = 0 if status is SUCCESS else 3
    assert stream.ending == Exited(code, status.get("message", ""))
    assert stream.stderr == b"err"
    assert await stream.read() == b""
    await stream.close()


@pytest.mark.parametrize("code", [1000, 1006])
async def test_an_end_without_a_status_is_a_cut_even_when_it_is_polite(
    kube: Kube, server: Server, code: int
) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        await say(socket, 1, b"running")
        if code == 1000:
            await socket.close()
        else:
            transport = socket._req.transport  # the connection itself, without a close frame
            transport.abort()

    server.answers(kubelet(speak))
    stream = await start(kube)
    assert await drain(stream) == b"running"
    assert isinstance(stream.ending, Cut)
    with pytest.raises(errors.Unavailable, match="the stream has ended: Cut"):
        await stream.write(b"more")
    await stream.close()


async def test_a_failure_after_the_first_byte_is_a_cut_that_quotes_it(
    kube: Kube, server: Server
) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        await say(socket, 1, b"running")
        await say(socket, 3, internal("error reading from error stream: connection reset"))

    server.answers(kubelet(speak))
    stream = await start(kube)
    assert await drain(stream) == b"running"
    assert isinstance(stream.ending, Cut)
    assert "error reading from error stream" in stream.ending.detail
    await stream.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('unable to upgrade connection: container not found ("box")', NotYet),
        ("error executing command in container: cannot exec in a paused state", errors.Paused),
        ("error dialing backend: dial tcp: i/o timeout", errors.Unavailable),
        ('exec failed: exec: "nope": executable file not found in $PATH', errors.ApiError),
    ],
)
async def test_a_failure_before_the_first_byte_says_why_nothing_started(
    kube: Kube, server: Server, text: str, expected: type[Exception]
) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        await say(socket, 3, internal(text))

    server.answers(kubelet(speak))
    stream = await start(kube)
    with pytest.raises(expected, match="exec in pods ci/hello container box: ") as caught:
        await stream.read()
    assert type(caught.value) is expected
    assert (await stream.read(), isinstance(stream.ending, Cut)) == (b"", True)
    await stream.close()


async def test_an_upgrade_that_closes_at_once_is_too_early(kube: Kube, server: Server) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.close()

    server.answers(kubelet(speak))
    stream = await start(kube)
    with pytest.raises(NotYet, match="closed before the command started"):
        await stream.read()
    await stream.close()


async def test_an_upgrade_that_closes_later_was_cut(
    kube: Kube, server: Server, clock: Hasty
) -> None:
    late = asyncio.Event()

    async def speak(socket: web.WebSocketResponse) -> None:
        await late.wait()
        await socket.close()

    server.answers(kubelet(speak))
    stream = await start(kube)
    clock.elapsed += EARLY_SECONDS
    late.set()
    assert await stream.read() == b""
    assert isinstance(stream.ending, Cut)
    await stream.close()


async def test_a_write_to_an_upgrade_that_closed_is_too_early(kube: Kube, server: Server) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        socket._req.transport.abort()

    server.answers(kubelet(speak))
    stream = await start(kube)
    with pytest.raises(NotYet, match="closed before the command started"):
        while True:  # until the close has come here
            await stream.write(b"hello")
            await asyncio.sleep(0)
    await stream.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (failure(400, "BadRequest", "pod hello does not have a host assigned"), NotYet),
        (failure(404, "NotFound", 'pods "hello" not found'), errors.NotFound),
        (failure(403, "Forbidden", "no pods/exec for you"), errors.Forbidden),
        (failure(500, "InternalError", 'container not found ("box")'), NotYet),
        (failure(503, "ServiceUnavailable", "starting"), errors.Unavailable),
        (failure(400, "BadRequest", "container box is not valid for pod hello"), errors.ApiError),
    ],
)
async def test_a_refused_upgrade_says_why(
    kube: Kube, server: Server, answer: web.Response, expected: type[Exception]
) -> None:
    server.answers(answer)
    with pytest.raises(expected) as caught:
        await start(kube)
    assert type(caught.value) is expected
    assert json.loads(answer.body)["message"] in str(caught.value)  # type: ignore[arg-type]


async def test_a_server_that_is_down_is_unavailable(kube: Kube, server: Server) -> None:
    await server.stop()
    with pytest.raises(errors.Unavailable, match="exec in pods ci/hello container box: no answer"):
        await start(kube)


async def test_a_handshake_that_never_comes_is_unavailable(
    kube: Kube, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_exec, "HANDSHAKE_SECONDS", 0.05)

    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    server.answers(never)
    with pytest.raises(errors.Unavailable, match="no handshake in"):
        await start(kube)


async def test_a_proxy_that_drops_the_subprotocol_is_named(kube: Kube, server: Server) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.receive()

    server.answers(kubelet(speak, protocols=()))
    with pytest.raises(errors.ApiError, match="is there a proxy"):
        await start(kube)


def cat(*, until: bytes) -> Speak:
    """Sends stdin back, and ends with 0 when `until` comes."""

    async def speak(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.data == until:
                await say(socket, 3, SUCCESS)
                return
            await say(socket, 1, message.data[1:])

    return speak


async def test_a_server_of_v4_is_understood(kube: Kube, server: Server) -> None:
    server.answers(kubelet(cat(until=b"\x00end"), protocols=(V4,)))
    stream = await start(kube)
    await stream.write(b"end")
    assert await drain(stream) == b""
    assert stream.ending == Exited(0)
    await stream.close()


async def test_frames_of_a_megabyte_pass_both_ways_unchanged(kube: Kube, server: Server) -> None:
    data = os.urandom(1024 * 1024)
    sizes: list[int] = []

    async def speak(socket: web.WebSocketResponse) -> None:
        whole = bytearray()
        async for message in socket:
            if message.data == b"\x00end":
                break
            sizes.append(len(message.data))
            whole += message.data[1:]
        for _ in range(5):  # more than the 4 MiB at which aiohttp's own limit is
            await say(socket, 1, bytes(whole))
        await say(socket, 1, bytes(whole) * 5)
        await say(socket, 3, SUCCESS)

    server.answers(kubelet(speak))
    stream = await start(kube)
    await stream.write(data)
    await stream.write(b"end")
    assert await drain(stream) == data * 10
    assert stream.ending == Exited(0)
    assert max(sizes) <= 64 * 1024 + 1
    await stream.close()


async def test_writes_of_several_tasks_do_not_mix(kube: Kube, server: Server) -> None:
    server.answers(kubelet(cat(until=b"\x00end")))
    stream = await start(kube)
    size = 200_000

    async def write_all() -> None:
        await asyncio.gather(*(stream.write(bytes([n]) * size) for n in range(5)))
        await stream.write(b"end")

    writing = asyncio.create_task(write_all())
    data = await drain(stream)
    await writing
    assert sorted({data[n * size : (n + 1) * size] for n in range(5)}) == [
        bytes([n]) * size for n in range(5)
    ]
    await stream.close()


async def test_stderr_keeps_only_its_end(kube: Kube, server: Server) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        await say(socket, 2, b"a" * 10_000)
        await say(socket, 2, b"b" * 100)
        await say(socket, 3, exit_status(1))

    server.answers(kubelet(speak))
    stream = await start(kube)
    assert await drain(stream) == b""
    assert stream.stderr == b"a" * (8192 - 100) + b"b" * 100
    await stream.close()


async def test_a_reader_that_is_cancelled_loses_nothing(kube: Kube, server: Server) -> None:
    go = asyncio.Event()

    async def speak(socket: web.WebSocketResponse) -> None:
        await go.wait()
        await say(socket, 1, b"late")
        await say(socket, 3, SUCCESS)

    server.answers(kubelet(speak))
    stream = await start(kube)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    go.set()
    assert await drain(stream) == b"late"
    await stream.close()


async def test_close_ends_a_read_that_waits(kube: Kube, server: Server) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            pass

    server.answers(kubelet(speak))
    stream = await start(kube)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    await stream.close()
    assert await reading == b""
    assert stream.ending == Cut("closed from our side")


@asynccontextmanager
async def half_dead(first: bytes) -> AsyncIterator[int]:
    """A port that upgrades, sends one stdout message and then neither reads nor writes nor closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())  # type: ignore[arg-type]
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(x for x in head.split("\r\n") if x.lower().startswith("sec-websocket-key"))
        token = key.split(":")[1].strip() + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(token.encode()).digest()).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {V5}\r\n\r\n".encode()
        )
        writer.write(bytes([0x82, len(first) + 1, 1]) + first)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stop.wait()
        writer.transport.abort()

    stop = asyncio.Event()
    served: list[asyncio.Task[None]] = []
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        stop.set()
        listening.close()
        await asyncio.gather(*served)


async def test_a_peer_that_answers_no_ping_is_cut(tmp_path: Path) -> None:
    async with half_dead(b"alive") as port:
        config = kubeconfig(tmp_path / "k", f"http://127.0.0.1:{port}", {})
        async with await Kube.connect(user_agent="t", kubeconfig=config) as kube:
            stream = await start(kube, heartbeat=0.1)
            assert await drain(stream) == b"alive"
            assert isinstance(stream.ending, Cut)
            assert "PONG" in stream.ending.detail
            await stream.close()


async def test_a_write_to_a_peer_that_reads_nothing_ends_with_the_cut(tmp_path: Path) -> None:
    async with half_dead(b"alive") as port:
        config = kubeconfig(tmp_path / "k", f"http://127.0.0.1:{port}", {})
        async with await Kube.connect(user_agent="t", kubeconfig=config) as kube:
            stream = await start(kube, heartbeat=0.1)
            assert await stream.read() == b"alive"
            connection = stream._connection
            with pytest.raises(errors.Unavailable, match="the stream was cut"):
                while True:
                    await stream.write(b"x" * 1_000_000)
            await stream.close()
            await eventually(lambda: connection.fileno() < 0)
