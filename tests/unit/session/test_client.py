"""The client's own rules, over streams in memory: retries, bounds, silence, blind repeats. The wire itself is tested
against the real boxkit in tests/boxkit."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import (
    BoxEnded,
    InfrastructureError,
    NotVerified,
    NotYet,
    ProtocolError,
    ProtocolMismatch,
    SessionLost,
    TransientError,
)
from sentinel.session.client import MOST_WAITING, Session
from sentinel.session.frames import FrameDecoder, JsonFrame, encode_json, encode_log
from sentinel.session.journal import Expected
from sentinel.session.messages import Open, Welcome
from sentinel.session.stream import RequestRefused


class MemoryStream:
    """A stream whose other end is the test: `say` to the client, `heard` from it."""

    def __init__(self) -> None:
        self._in: asyncio.Queue[bytes] = asyncio.Queue()
        self._decoder = FrameDecoder()
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = False

    async def read(self) -> bytes:
        return await self._in.get()

    async def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            assert isinstance(frame, JsonFrame)
            self._heard.put_nowait(frame.message)

    async def close(self) -> None:
        self.closed = True

    def say(self, *messages: dict[str, Any]) -> None:
        self._in.put_nowait(b"".join(map(encode_json, messages)))

    def cut(self, half: bytes = b"") -> None:
        if half:
            self._in.put_nowait(half)
        self._in.put_nowait(b"")

    async def hear(self) -> dict[str, Any]:
        return await self._heard.get()


class Exec:
    """`connect`, one prepared outcome after the other, and then a clock that has moved on."""

    def __init__(self, *outcomes: MemoryStream | Exception) -> None:
        self._outcomes = list(outcomes)
        self.calls = 0
        self.called = asyncio.Event()

    async def __call__(self) -> MemoryStream:
        self.calls += 1
        self.called.set()
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def fast(connect: Callable[[], Any], **more: Any) -> Session:
    """A session without pauses: jitter that makes every delay nothing. It takes no stream for dead that a test is slow
    to speak on."""
    patient = {"heartbeat": 3600.0, "silence": 3600.0, "first_word": 3600.0}
    return Session(connect, jitter=lambda: -0.5, **{**patient, **more})


def queued(seq: int) -> dict[str, Any]:
    return {
        "type": "record",
        "seq": seq,
        "time": "2026-01-02T03:04:05.000000001Z",
        "kind": "queued",
        "ordinal": seq,
        "id": f"s{seq}",
        "phase": "main",
    }


async def test_an_unanswered_request_is_sent_again_and_the_journal_goes_on_where_it_was() -> None:
    first, second = MemoryStream(), MemoryStream()
    async with fast(Exec(first, second)) as session:
        opening = asyncio.create_task(session.open(Open(build="b", attempt=1)))
        assert await first.hear() == {
            "type": "hello",
            "protocol": 1,
            "protocols": {"min": 1, "max": 1},
            "since": 0,
            "follow": None,
        }
        request = await first.hear()
        first.say(queued(1))
        first.cut(half=encode_json(queued(2))[:9])
        assert await second.hear() == {
            "type": "hello",
            "protocol": 1,
            "protocols": {"min": 1, "max": 1},
            "since": 1,
            "follow": None,
        }
        assert await second.hear() == request
        second.say(queued(2), {"type": "ok", "id": request["id"]})
        await opening
        assert session.state.seq == 2
        assert first.closed


async def test_a_refusal_is_the_requests_own() -> None:
    stream = MemoryStream()
    async with fast(Exec(stream)) as session:
        opening = asyncio.create_task(session.open(Open(build="b", attempt=1)))
        await stream.hear()
        request = await stream.hear()
        stream.say(
            {"type": "error", "id": request["id"], "code": "PrepareFailed", "text": "no room"}
        )
        with pytest.raises(RequestRefused, match="PrepareFailed: no room"):
            await opening
        stream.say(queued(1))
        await session.wait_for(lambda state: state.seq == 1)


async def test_too_early_is_tried_again_for_as_long_as_it_takes() -> None:
    stream = MemoryStream()
    now = iter(range(0, 10**6, 1000))
    connect = Exec(*[NotYet("no container")] * 5, stream)
    async with fast(connect, clock=lambda: next(now)):
        await stream.hear()
    assert connect.calls == 6


@pytest.mark.parametrize(
    "outcome", [NotYet("no"), TransientError("no"), ConnectionResetError("no")]
)
async def test_a_box_that_is_never_heard_of_again_is_lost(outcome: Exception) -> None:
    stream = MemoryStream()
    now = 0.0

    async def connect() -> MemoryStream:
        nonlocal now
        if stream.closed:
            now += 100
            raise outcome
        return stream

    async with fast(connect, clock=lambda: now) as session:
        await stream.hear()
        stream.say(queued(1))
        await session.wait_for(lambda state: state.seq == 1)
        stream.cut()
        with pytest.raises(SessionLost, match="the box did not answer for 300 s"):
            await session.wait_for(lambda state: False)
    assert now == 400


async def test_a_box_that_an_earlier_operator_spoke_to_is_lost_though_we_never_heard_it() -> None:
    now = 0.0

    async def connect() -> MemoryStream:
        nonlocal now
        now += 100
        raise NotYet("no container")

    async with fast(connect, clock=lambda: now, known=True) as session:
        with pytest.raises(SessionLost):
            await session.wait_for(lambda state: False)
    assert now == 400


async def test_whether_it_is_open_is_said_when_the_journal_was_heard() -> None:
    stream = MemoryStream()
    async with fast(Exec(stream)) as session:
        asking = asyncio.create_task(session.is_open())
        await stream.hear()
        stream.say({"type": "welcome", "protocol": 1, "seq": 2, "build": "b"}, queued(1))
        await session.wait_for(lambda state: state.seq == 1)
        assert not asking.done()
        stream.say(queued(2))
        assert await asking
        assert session.state.seq == 2


async def test_silence_is_counted_from_the_last_word() -> None:
    stream = MemoryStream()
    now = 0.0
    async with fast(Exec(stream), clock=lambda: now) as session:
        await stream.hear()
        now = 7.0
        assert session.silence == 7.0
        stream.say(queued(1))
        await session.wait_for(lambda state: state.seq == 1)
        now = 10.0
        assert session.silence == 3.0


async def test_a_dead_container_ends_the_session_for_every_client() -> None:
    async with fast(Exec(BoxEnded("terminated"))) as session:
        with pytest.raises(BoxEnded, match="terminated"):
            await session.wait_for(lambda state: False)
        with pytest.raises(BoxEnded, match="terminated"):
            await session.open(Open(build="b", attempt=1))
        assert (await session.close()).closed is None


async def test_a_connection_has_a_heartbeat() -> None:
    stream = MemoryStream()
    async with fast(Exec(stream), heartbeat=0.02):
        heard = [await stream.hear() for _ in range(3)]
    assert [each["type"] for each in heard] == ["hello", "ping", "ping"]


async def test_a_silent_connection_is_dropped() -> None:
    first, second = MemoryStream(), MemoryStream()
    async with fast(Exec(first, second), silence=0.05):
        await second.hear()
        assert first.closed


async def test_pings_are_answered() -> None:
    stream = MemoryStream()
    async with fast(Exec(stream)):
        await stream.hear()
        stream.say({"type": "ping", "n": 7})
        assert await stream.hear() == {"type": "pong", "n": 7}


async def test_nonsense_cuts_the_connection_and_a_lying_journal_ends_the_session() -> None:
    first, second = MemoryStream(), MemoryStream()
    async with fast(Exec(first, second)) as session:
        await first.hear()
        first.cut(half=b"HTTP/1.1 502 Bad Gateway\r\n")
        await second.hear()
        second.say(queued(1), queued(3))
        with pytest.raises(ProtocolError, match="record 3 came after 1"):
            await session.wait_for(lambda state: False)


async def test_log_bytes_come_once_and_in_order() -> None:
    seen: list[tuple[int, int, bytes]] = []
    first, second = MemoryStream(), MemoryStream()
    connect = Exec(first, second)
    async with fast(connect, on_log=lambda *log: seen.append(log), follow={2: 5}) as session:
        assert (await first.hear())["follow"] == {"2": 5}
        first.cut(half=encode_log(1, 0, b"abc") + encode_log(2, 5, b"xy") + encode_log(1, 3, b"de"))
        assert (await second.hear())["follow"] == {"2": 7, "1": 5}
        second.cut(half=encode_log(1, 2, b"cdefg"))
        second.cut(half=encode_log(1, 9, b"gap"))
        with pytest.raises(ProtocolError, match="log 1 went on at 9; 7 was due"):
            await session.wait_for(lambda state: False)
    assert seen == [(1, 0, b"abc"), (2, 5, b"xy"), (1, 3, b"de"), (1, 5, b"fg")]


async def test_a_nudge_ends_the_pause() -> None:
    stream = MemoryStream()
    connect = Exec(NotYet("no"), stream)
    async with Session(connect, jitter=lambda: 10**6) as session:
        await connect.called.wait()
        session.nudge()
        await stream.hear()


async def test_a_connection_without_a_first_word_is_left_for_another() -> None:
    silent, speaking = MemoryStream(), MemoryStream()
    connect = Exec(silent, speaking)
    speaking.say({"type": "welcome", "protocol": 1, "seq": 0})
    async with fast(connect, first_word=0.02) as session:
        assert await session.is_open() is False
    assert (connect.calls, silent.closed) == (2, True)


async def test_each_connection_without_a_word_is_given_twice_the_time() -> None:
    streams = [MemoryStream() for _ in range(4)]
    opened: list[float] = []

    async def connect() -> MemoryStream:
        opened.append(asyncio.get_running_loop().time())
        stream = streams[len(opened) - 1]
        if stream is streams[-1]:
            stream.say({"type": "welcome", "protocol": 1, "seq": 0})
        return stream

    async with fast(connect, first_word=0.05) as session:
        await session.is_open()
    waits = [after - before for before, after in itertools.pairwise(opened)]
    assert waits[0] >= 0.05 and waits[1] >= 0.1 and waits[2] >= 0.2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            {"type": "error", "id": 0, "code": "Protocol", "text": "hello: this boxkit speaks 2"},
            "boxkit refused the session: Protocol: hello: this boxkit speaks 2",
        ),
        (
            {"type": "welcome", "protocol": 2, "version": "0.9", "seq": 0, "build": ""},
            r"boxkit 0\.9 speaks protocol 2; this operator speaks protocol 1 to 1",
        ),
    ],
)
async def test_a_boxkit_without_a_common_protocol_ends_the_session_at_once(
    answer: dict[str, Any], says: str
) -> None:
    stream = MemoryStream()
    connect = Exec(stream)
    async with fast(connect) as session:
        opening = asyncio.create_task(session.open(Open(build="b", attempt=1)))
        await stream.hear()
        stream.say(answer)
        with pytest.raises(ProtocolMismatch, match=says) as caught:
            await opening
    assert caught.value.reason is Reason.PROTOCOL_MISMATCH
    assert connect.calls == 1


async def test_an_error_that_ends_a_connection_does_not_count_as_an_answer() -> None:
    stream = MemoryStream()
    now = 0.0
    async with fast(Exec(stream), clock=lambda: now) as session:
        stream.say({"type": "welcome", "protocol": 1, "seq": 0, "build": "b"})
        await session.is_open()
        now = 7.0
        stream.say({"type": "error", "id": 0, "code": "Protocol", "text": "a frame of 0 bytes"})
        await asyncio.wait_for(_until(lambda: stream.closed), 150)
        assert session.silence == 7.0


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)


async def test_a_box_whose_journal_became_shorter_is_another_one() -> None:
    first, second = MemoryStream(), MemoryStream()
    first.say({"type": "welcome", "protocol": 1, "seq": 2, "build": "b"}, queued(1), queued(2))
    second.say({"type": "welcome", "protocol": 1, "seq": 0, "build": ""})
    async with fast(Exec(first, second)) as session:
        await session.wait_for(lambda state: state.seq == 2)
        first.cut()
        with pytest.raises(InfrastructureError, match="lost its journal") as caught:
            await session.wait_for(lambda state: False)
    assert caught.value.reason is Reason.BOX_TERMINATED


async def test_a_request_to_a_closed_box_says_that_the_box_has_ended() -> None:
    stream = MemoryStream()
    async with fast(Exec(stream)) as session:
        starting = asyncio.create_task(session.start([]))
        await stream.hear()
        request = await stream.hear()
        stream.say({"type": "error", "id": request["id"], "code": "Closed", "text": "over"})
        with pytest.raises(BoxEnded, match="over"):
            await starting


async def test_the_first_welcome_is_kept() -> None:
    first, second = MemoryStream(), MemoryStream()
    first.say({"type": "welcome", "protocol": 1, "version": "0.1.0", "seq": 0, "build": ""})
    second.say({"type": "welcome", "protocol": 1, "seq": 1, "build": "b", "attempt": 1}, queued(1))
    first.cut()
    async with fast(Exec(first, second)) as session:
        assert not await session.is_open()
        await session.wait_for(lambda state: state.seq == 1)
        assert session.welcome == Welcome(protocol=1, version="0.1.0")


@pytest.mark.parametrize(("build", "attempt"), [("other", 1), ("b", 2)])
async def test_a_box_of_another_build_is_asked_nothing_and_believed_nothing(
    build: str, attempt: int
) -> None:
    stream = MemoryStream()
    async with fast(Exec(stream), box=("b", 1)) as session:
        starting = asyncio.create_task(session.start([]))
        assert (await stream.hear())["type"] == "hello"
        stream.say({"type": "welcome", "protocol": 1, "seq": 1, "build": build, "attempt": attempt})
        stream.say(queued(1))
        with pytest.raises(NotVerified, match=f"answers for attempt {attempt} of build {build}"):
            await starting
        assert session.state.seq == 0
        assert stream._heard.empty()


async def test_requests_but_open_wait_for_the_welcome_on_every_connection() -> None:
    first, second = MemoryStream(), MemoryStream()
    welcome = {"type": "welcome", "protocol": 1, "seq": 0, "build": "b", "attempt": 1}
    async with fast(Exec(first, second), box=("b", 1)) as session:
        requests = [
            asyncio.create_task(session.open(Open(build="b", attempt=1))),
            asyncio.create_task(session.start([])),
        ]
        assert [(await first.hear())["type"] for _ in range(2)] == ["hello", "open"]
        first.say(welcome)
        assert (await first.hear())["type"] == "start"
        first.cut()
        assert [(await second.hear())["type"] for _ in range(2)] == ["hello", "open"]
        second.say(welcome)
        again = await second.hear()
        assert again["type"] == "start"
        second.say({"type": "ok", "id": again["id"]}, {"type": "ok", "id": again["id"] - 1})
        await asyncio.gather(*requests)


async def test_a_record_before_the_welcome_is_not_taken() -> None:
    first, second = MemoryStream(), MemoryStream()
    first.say(queued(1))
    second.say({"type": "welcome", "protocol": 1, "seq": 0, "build": ""})
    async with fast(Exec(first, second), box=("b", 1)) as session:
        assert not await session.is_open()
        assert session.state.seq == 0


TIME = "2026-01-01T00:00:00Z"


def record(seq: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "seq": seq, "time": TIME, "kind": kind, **fields}


async def test_only_records_about_the_plan_are_taken() -> None:
    """Any process in a box may write what it likes into the journal; it can neither grow our memory nor tell people."""
    stream, heard = MemoryStream(), []
    expected = Expected(steps={1: "one"}, services=frozenset({"db"}))
    queued, service = {"id": "one", "phase": "main"}, {"ready": False, "seconds": 30}
    finished = {"exit": 1, "reason": "ExitCode", "message": "m" * 60_000}
    records = [
        record(1, "service", alias="db", **service),
        record(2, "service", alias="db", **service),
        record(3, "service", alias="other", **service),
        record(4, "queued", ordinal=1, **queued),
        record(5, "queued", ordinal=2, **queued),
        record(6, "queued", ordinal=1, id="../other", phase="main"),
        record(7, "finished", ordinal=2, **finished),
        record(8, "uploaded", what="x" * 60_000),
        record(9, "uploaded", what="log/2"),
        record(10, "packed", what="artifacts/01", bytes=1, sha256="x"),
        record(11, "never heard of", text="x" * 60_000),
        record(12, "finished", ordinal=1, **finished),
        record(13, "uploaded", what="log/1"),
    ]
    async with fast(Exec(stream), expected=expected, on_record=heard.append) as session:
        stream.say({"type": "welcome", "protocol": 1})
        for each in records:
            stream.say(each)
        state = await session.wait_for(lambda state: state.seq == 13)
    assert [each.seq for each in heard] == [1, 4, 12, 13]
    assert (set(state.steps), set(state.uploads), set(state.services)) == ({1}, {"log/1"}, {"db"})
    assert (state.steps[1].id, len(state.steps[1].message), state.packed) == ("one", 8192, {})


@pytest.mark.parametrize(
    "lie",
    [
        record(1, "finished", ordinal=1, exit=10**30, reason="ExitCode", message=""),
        record(1, "finished", ordinal=1, exit=256, reason="ExitCode", message=""),
        record(1, "service", alias="db", ready=False, seconds=float("inf")),
        record(1, "service", alias=["db"], ready=False, seconds=1),
        record(2**70, "queued", ordinal=1, id="x", phase="main"),
        record(1, "queued", ordinal=-1, id="x", phase="main"),
    ],
)
async def test_a_record_that_cannot_be_true_ends_the_session(lie: dict[str, Any]) -> None:
    stream = MemoryStream()
    async with fast(Exec(stream)) as session:
        stream.say({"type": "welcome", "protocol": 1}, lie)
        with pytest.raises(ProtocolError):
            await session.wait_for(lambda state: state.seq > 0)


async def test_half_a_character_is_replaced() -> None:
    """JSON can hold surrogates, which no API server takes."""
    stream = MemoryStream()
    async with fast(Exec(stream)) as session:
        stream.say({"type": "welcome", "protocol": 1})
        stream.say(record(1, "service", alias="\ud800db", ready=True, seconds=1))
        state = await session.wait_for(lambda state: state.seq == 1)
    assert set(state.services) == {"?db"}


async def test_a_large_message_is_taken_only_while_an_environment_is_asked_for() -> None:
    first, second = MemoryStream(), MemoryStream()
    large = {"type": "environment", "id": 1, "env": [["A", "x" * 500_000]]}
    async with fast(Exec(first, second)) as session:
        first.say({"type": "welcome", "protocol": 1}, large)
        assert (await second.hear())["type"] == "hello"
        second.say({"type": "welcome", "protocol": 1})
        asking = asyncio.create_task(session.environment())
        assert (await second.hear())["type"] == "environment"
        second.say(large)
        assert await asking == [("A", "x" * 500_000)]


class Closing(MemoryStream):
    """A box that has ended: it takes nothing more, and its last record is still to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = asyncio.Event()

    async def write(self, data: bytes) -> None:
        if self.refused.is_set():
            raise ConnectionResetError("closed")
        await super().write(data)
        self.refused.set()

    async def read(self) -> bytes:
        data = await super().read()
        if not data:
            return data
        await self.refused.wait()
        for each in range(20):
            await asyncio.sleep(0)
            if each == 10:
                time.sleep(0.3)  # noqa: ASYNC251 - another process has the processor
        return data


async def test_the_last_record_is_read_though_we_were_not_scheduled_for_a_while() -> None:
    stream = Closing()
    stream.say(queued(1))
    stream.cut()
    async with fast(Exec(stream, BoxEnded("over"))) as session:
        starting = asyncio.create_task(session.start([]))
        state = await session.wait_for(lambda state: state.seq == 1)
        assert state.seq == 1
        with pytest.raises(BoxEnded, match="over"):
            await starting


class Deaf(MemoryStream):
    """A box that sends and does not read."""

    async def write(self, data: bytes) -> None:
        await asyncio.Event().wait()


async def test_a_box_that_pings_and_does_not_read_is_cut() -> None:
    deaf, next_one = Deaf(), MemoryStream()
    async with fast(Exec(deaf, next_one)):
        for n in range(2 * MOST_WAITING):
            deaf.say({"type": "ping", "n": n})
        assert (await next_one.hear())["type"] == "hello"
    assert deaf.closed


@pytest.mark.parametrize("n", [None, "x", [], {}, 10**4000, 1.5])
async def test_a_ping_of_any_kind_is_answered(n: Any) -> None:
    stream = MemoryStream()
    async with fast(Exec(stream)):
        await stream.hear()
        stream.say({"type": "ok", "id": n}, {"type": "ping", "n": n})
        assert await stream.hear() == {"type": "pong", "n": 0}
