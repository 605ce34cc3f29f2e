"""The wire: repeats, cuts, replay, followers, heartbeats, refusals, and strangers on the socket."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from sentinel.errors import BoxEnded, NotYet
from sentinel.session import messages
from sentinel.session.client import Session
from sentinel.session.frames import MAX_FRAME, FrameDecoder, JsonFrame, LogFrame, encode_json
from sentinel.session.journal import SessionState, fold
from sentinel.session.records import parse_record
from sentinel.session.stream import RequestRefused

from .conftest import Box, SocketStream, Start, script


class CuttingStream(SocketStream):
    """A connection that breaks after so many bytes in either direction, in the middle of whatever that is."""

    def __init__(self, stream: SocketStream, *, left: int) -> None:
        super().__init__(stream._reader, stream._writer)
        self._left = left

    async def read(self) -> bytes:
        if self._left <= 0:
            return b""
        data = await self._reader.read(min(self._left, 4096))
        self._left -= len(data)
        return data

    async def write(self, data: bytes) -> None:
        await super().write(data[: self._left])
        self._left -= len(data)
        if self._left <= 0:
            raise ConnectionResetError("cut")


async def test_cuts_at_any_byte_change_neither_journal_nor_logs(box: Box) -> None:
    dice = random.Random(20)
    cuts = 0

    async def connect() -> CuttingStream:
        nonlocal cuts
        cuts += 1
        return CuttingStream(await box.connect(), left=dice.randint(1, 12000))

    codes = [
        f"echo run >>{box.root}/ran{n}; seq 1 {n * 100}; sleep 0.0{n % 5}" for n in range(1, 21)
    ]
    steps = [script(at, code) for at, code in enumerate(codes, 1)]
    async with box.session(connect, jitter=lambda: -0.49) as session:
        await session.open(box.open())
        await session.start(steps)
        state = await session.wait_for(lambda state: state.done(range(1, 21)))
        while any(len(box.logs.get(s.ordinal, b"")) < s.log.bytes for s in state.steps.values()):
            session.nudge()
            await asyncio.sleep(0)
    assert cuts > 20
    assert [step.reason for step in state.steps.values()] == ["Passed"] * 20
    assert [record.seq for record in box.heard] == list(range(1, len(box.heard) + 1))
    for n in range(1, 21):
        assert (box.root / f"ran{n}").read_text() == "run\n"
        expected = "".join(f"{i}\n" for i in range(1, n * 100 + 1)).encode()
        assert bytes(box.logs[n]) == box.log(n) == expected


async def test_a_second_client_hears_the_same_from_the_journal(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start([script(1, "echo one"), script(2, "exit 3")])
        state = await session.wait_for(lambda state: state.done([1, 2]))
        async with box.session() as successor:
            # Blind repeats: nothing runs twice, nothing is journaled twice.
            await successor.open(box.open())
            await successor.start([script(1, "echo one"), script(2, "exit 3")])
            assert successor.state == await successor.wait_for(lambda other: other.seq == state.seq)
            assert successor.state == state
    journal = (box.session_dir / "journal").read_bytes().splitlines()
    replayed = SessionState()
    for line in journal:
        replayed = fold(replayed, parse_record(json.loads(line)))
    assert replayed == state


async def test_another_attempt_is_refused(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        with pytest.raises(
            RequestRefused, match="AlreadyOpen: this box runs attempt 1 of build b1"
        ):
            await session.open(box.open(attempt=2))


async def test_requests_before_open_or_after_the_end_are_refused(box: Box) -> None:
    async with box.session() as session:
        with pytest.raises(RequestRefused, match="NotOpen"):
            await session.start([script(1, "true")])
        with pytest.raises(RequestRefused, match="InvalidRequest: step 1: id"):
            await session.open(box.open())
            await session.start([script(1, "true", id="../up")])
        await session.close()
        with pytest.raises(BoxEnded):
            await session.wait_for(lambda state: False)


async def test_a_follower_gets_bytes_from_its_offset_while_the_step_runs(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start(
            [
                script(
                    1,
                    f"printf 0123456789; until test -e {box.root}/go; do sleep 0.01; done; echo end",
                )
            ]
        )
        got = asyncio.Event()
        seen: list[tuple[int, int, bytes]] = []

        def on_log(ordinal: int, offset: int, data: bytes) -> None:
            seen.append((ordinal, offset, data))
            got.set()

        async with Session(box.connect, on_log=on_log, follow={1: 4}):
            await got.wait()
            assert seen == [(1, 4, b"456789")]
            (box.root / "go").touch()
            await session.wait_for(lambda state: state.done([1]))
            while len(seen) < 2:
                got.clear()
                await got.wait()
        assert seen[1:] == [(1, 10, b"end\n")]


async def until_connected(box: Box) -> SocketStream:
    """A connection to a boxkit that may only just have started."""
    while True:
        try:
            return await box.connect()
        except NotYet:
            await asyncio.sleep(0.01)


async def talk(box: Box, *frames: bytes) -> list[JsonFrame | LogFrame]:
    """Everything boxkit says to these bytes until it ends the connection."""
    stream = await until_connected(box)
    decoder = FrameDecoder()
    heard: list[JsonFrame | LogFrame] = []
    for frame in frames:
        await stream.write(frame)
    while data := await stream.read():
        heard += decoder.feed(data)
    await stream.close()
    return heard


NONSENSE = {
    "too long": (MAX_FRAME + 1).to_bytes(4, "big") + b"J",
    "empty": bytes(4) + b"J",
    "unknown type": (2).to_bytes(4, "big") + b"X1",
    "log": (2).to_bytes(4, "big") + b"L1",
    "no JSON": (3).to_bytes(4, "big") + b"J{]",
    "not hello first": encode_json({"type": "start", "steps": []}),
    "another protocol": encode_json({"type": "hello", "protocol": 99}),
    "only newer protocols": encode_json(
        {"type": "hello", "protocol": 2, "protocols": {"min": 2, "max": 3}}
    ),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_ends_the_connection_with_an_error(box: Box, name: str) -> None:
    heard = await talk(box, NONSENSE[name])
    assert [(f.message["type"], f.message["code"]) for f in heard if isinstance(f, JsonFrame)] == [
        ("error", "Protocol")
    ]


@pytest.mark.parametrize(
    "hello",
    [
        {"protocol": 1},
        {"protocol": 1, "protocols": {"min": 1, "max": 1}},
        {"protocol": 1, "protocols": {"min": 1, "max": 7}},
    ],
)
async def test_the_highest_protocol_that_both_sides_speak_is_agreed_on(
    box: Box, hello: dict[str, Any]
) -> None:
    async with box.session() as session:
        await session.open(box.open())
    # The connection is ended by nonsense.
    heard = await talk(box, encode_json({"type": "hello", "since": 0, **hello}), bytes(4) + b"J")
    welcome = next(f.message for f in heard if isinstance(f, JsonFrame))
    assert welcome == {
        "type": "welcome",
        "protocol": 1,
        "protocols": {"min": 1, "max": 1},
        "version": "dev",
        "seq": 1,
        "build": "b1",
        "attempt": 1,
    }


async def test_an_open_of_more_than_a_frame_arrives(box: Box) -> None:
    env = [(f"V{n}", "x" * 100_000) for n in range(10)]
    state = await box.run(
        "echo ${#V9}", env=env, masks=[b"s" * 100_000 + bytes([48 + n]) for n in range(9)]
    )
    assert state.steps[1].reason == "Passed"
    assert box.log(1) == b"100000\n"


async def test_a_silent_connection_is_dropped_and_the_oldest_of_too_many(start: Start) -> None:
    box = await start(env={"SENTINEL_HEARTBEAT": "50ms", "SENTINEL_SILENCE": "300ms"})
    heard = await talk(box, encode_json(messages.hello(since=0, follow=None)))
    kinds = [f.message["type"] for f in heard if isinstance(f, JsonFrame)]
    assert kinds[0] == "welcome" and set(kinds[1:]) <= {"ping"}

    slow = await start()
    while True:
        try:
            streams = [await slow.connect()]
            break
        except NotYet:
            await asyncio.sleep(0.01)
    streams += [await slow.connect() for _ in range(16)]
    assert await streams[0].read() == b""
    for stream in streams:
        await stream.close()


class ListeningStream(SocketStream):
    """A connection that keeps what each side sends."""

    def __init__(self, stream: SocketStream) -> None:
        super().__init__(stream._reader, stream._writer)
        self.read_frames, self.written_frames = FrameDecoder(), FrameDecoder()
        self.read_types: list[str] = []
        self.written_types: list[str] = []

    async def read(self) -> bytes:
        data = await super().read()
        for frame in self.read_frames.feed(data):
            if isinstance(frame, JsonFrame):
                self.read_types.append(frame.message["type"])
        return data

    async def write(self, data: bytes) -> None:
        for frame in self.written_frames.feed(data):
            if isinstance(frame, JsonFrame):
                self.written_types.append(frame.message["type"])
        await super().write(data)


async def test_both_sides_of_an_idle_session_ping_and_answer(start: Start) -> None:
    """For how long a silent connection is kept, each side's own tests show, on clocks of their own."""
    box = await start(env={"SENTINEL_HEARTBEAT": "50ms"})
    streams: list[ListeningStream] = []

    async def connect() -> ListeningStream:
        streams.append(ListeningStream(await until_connected(box)))
        return streams[-1]

    async with box.session(connect, heartbeat=0.05, first_word=45.0) as session:
        await session.open(box.open())
        stream = streams[0]
        for types in (stream.read_types, stream.written_types):
            while min(types.count("ping"), types.count("pong")) < 3:
                await asyncio.sleep(0.01)
    assert len(streams) == 1


async def test_the_environment_is_read_back_as_the_last_step_left_it(
    box: Box, shell: list[str]
) -> None:
    async with box.session() as session:
        await session.open(box.open(shell=shell, env=[("GIVEN", "it's $literal")]))
        assert dict(await session.environment())["GIVEN"] == "it's $literal"
        await session.start(
            [script(1, "export TAG='v1 \"q\" $x\nline'; plain=1; export GIVEN=changed; exit 0")]
        )
        await session.wait_for(lambda state: state.done([1]))
        env = dict(await session.environment())
    assert (env["TAG"], env["GIVEN"], "plain" in env) == ('v1 "q" $x\nline', "changed", False)
    assert not any(name.startswith("SENTINEL_") for name in env)


async def test_attach_joins_stdin_and_stdout_and_brings_back_a_lost_socket(
    box: Box, boxkit: object
) -> None:
    async def connect() -> SocketStream:
        process = await asyncio.create_subprocess_exec(
            str(boxkit),
            "attach",
            env={"SENTINEL_SESSION_DIR": str(box.session_dir)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None and process.stdout is not None
        attaches.append(process)
        return SocketStream(process.stdout, process.stdin)

    attaches: list[asyncio.subprocess.Process] = []
    async with box.session(connect) as session:
        await session.open(box.open())
        await session.start([script(1, f"rm {box.session_dir}/control.sock; echo removed")])
        await session.wait_for(lambda state: state.done([1]))
        async with box.session(connect) as other:
            await other.wait_for(lambda state: state.done([1]))
            await session.close()
    assert await box.process.wait() == 0
    assert {await process.wait() for process in attaches} == {0}


async def test_noise_on_the_fifo_decides_nothing(box: Box, shell: list[str]) -> None:
    fifo = box.session_dir / "status"
    noise = f"for i in 1 2 3; do echo 'S 0123456789abcdef 0 x' >{fifo}; echo 'E x' >{fifo}; printf junk >{fifo}; done"
    state = await box.run(noise + "; exit 4", shell=shell)
    assert (state.steps[1].exit, state.steps[1].reason) == (4, "ExitCode")
    assert box.log(1) == b""


async def test_an_environment_that_is_too_large_is_refused_and_a_large_one_arrives(
    box: Box,
) -> None:
    export = "export BIG{n}=$(head -c 100000 /dev/zero | tr '\\0' '\\001')"
    async with box.session() as session:
        await session.open(box.open())
        await session.start([script(1, "\n".join(export.format(n=n) for n in range(9)))])
        await session.wait_for(lambda state: state.done([1]))
        names = [name for name, value in await session.environment() if value == "\1" * 100_000]
        assert len(names) == 9
        await session.start([script(2, "\n".join(export.format(n=n) for n in range(12)))])
        await session.wait_for(lambda state: state.done([2]))
        with pytest.raises(RequestRefused, match="EnvironmentTooLarge"):
            await session.environment()
        await session.close()


async def test_who_pings_and_does_not_read_is_disconnected(box: Box) -> None:
    stream = await until_connected(box)
    hello = {"type": "hello", "protocol": 1, "since": 0, "follow": None}
    await stream.write(encode_json(hello))
    ping = encode_json({"type": "ping", "n": 1}) * 1000
    with pytest.raises(ConnectionError):
        while True:
            await stream.write(ping)
    await stream.close()
