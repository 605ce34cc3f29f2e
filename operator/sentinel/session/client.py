"""A session with one box, kept alive over byte streams that break.

The stream is passed in (`connect`), so this module knows nothing of pods and exec. A stream's end never means
anything for a step: we connect again, say which journal record we have, and ask again what was not answered.
Every request may be sent twice; boxkit sees to it that nothing happens twice.

Not here: what to run, and what a dead container means. `connect` raises NotYet (too early: again soon) or BoxEnded
(the container ended), which ends the session for all that wait on it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from sentinel.api.reasons import Reason
from sentinel.errors import BoxEnded, NotYet, ProtocolError, SessionLost, TransientError
from sentinel.session import messages
from sentinel.session.allowance import BURST, STEP, Allowance
from sentinel.session.frames import (
    MAX_ENVIRONMENT,
    MAX_HEARD,
    FrameDecoder,
    JsonFrame,
    LogFrame,
    encode_json,
)
from sentinel.session.greeting import check_welcome, mismatch
from sentinel.session.journal import Expected, SessionState, fold
from sentinel.session.messages import (
    Collect,
    Message,
    Open,
    Result,
    StepSpec,
    Upload,
    Welcome,
    number,
    parse_welcome,
)
from sentinel.session.records import AnyRecord, parse_record
from sentinel.session.stream import ByteStream, Connect, Cut, RequestRefused

HEARTBEAT = 15.0
SILENCE = 45.0
FIRST_WORD = 2.0
"""Seconds for which a new connection may say nothing before it is taken for dead. Each that says nothing doubles it."""
LOST_AFTER = 300.0
"""Seconds without a word from a box that we spoke to before, until SessionLost."""


MOST_WAITING = 1000
"""Messages that wait to be sent."""


class Session:
    """`async with Session(connect) as session:` connects in the background until the block is left.

    `connect` makes a stream, or raises NotYet, BoxEnded or TransientError. `box` is the uid and attempt of the build
    whose box it must be: another one's ends the session with NotVerified before anything is started; None takes any.
    `on_record` is called for every new journal record after `state` took it in. `on_log(ordinal, offset, data)` gets
    every step's log bytes, each byte once and in order, from `follow[ordinal]` or 0; without it none travel.
    `expected`: what the journal may be about. Other records are ignored, and the box is read no faster than an honest
    one needs (`allowance`). Without it only the size of each message is limited.
    `known`: the box was spoken to before, by an operator that is gone, so that silence counts from the beginning.
    `clock` (monotonic seconds) and `jitter` (0 ≤ x < 1) are injected by tests.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        box: tuple[str, int] | None = None,
        on_record: Callable[[AnyRecord], None] | None = None,
        on_log: Callable[[int, int, bytes], None] | None = None,
        follow: Mapping[int, int] | None = None,
        heartbeat: float = HEARTBEAT,
        silence: float = SILENCE,
        first_word: float = FIRST_WORD,
        lost_after: float = LOST_AFTER,
        known: bool = False,
        expected: Expected | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.state = SessionState()
        self._connect = connect
        self._box = box
        self._on_record = on_record
        self._on_log = on_log
        self._offsets = dict(follow or {})
        self._heartbeat, self._silence, self._lost_after = heartbeat, silence, lost_after
        self._first_word = self._first_word_now = min(first_word, silence)
        self._clock, self._jitter = clock, jitter
        self._ids = 0
        self._pending: dict[int, tuple[Message, asyncio.Future[Message]]] = {}
        self._outbox: asyncio.Queue[Message] | None = None
        self._changed = asyncio.Event()
        self._nudged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._end: BaseException | None = None
        self._heard: float | None = None
        self._began = clock()
        self._known = known
        self._expected = expected
        self._first: Welcome | None = None
        self._greeted = False
        self._known_box = box is None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="boxkit session")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for _, future in self._pending.values():
            future.cancel()

    @property
    def welcome(self) -> Welcome | None:
        """The box's first answer to `hello`: what it knew of a build before this session asked anything of it."""
        return self._first

    @property
    def silence(self) -> float:
        """Seconds since the last frame from the box; before the first one, since this session began."""
        return self._clock() - (self._began if self._heard is None else self._heard)

    # Requests. Each waits for its answer, over as many connections as it takes.

    async def open(self, message: Open) -> None:
        """Open the attempt, or refresh masks and uploads of one that is open. Raises RequestRefused, SessionLost."""
        await self._request(message.message())

    async def is_open(self) -> bool:
        """Whether the box had been opened when it first answered. Waits for that answer, and until `state` knows what
        the journal said by then."""

        def known(state: SessionState) -> bool:
            first = self._first
            return first is not None and (not first.build or state.seq >= first.seq)

        await self.wait_for(known)
        return self._first is not None and bool(self._first.build)

    async def start(self, steps: Sequence[StepSpec], *, result: Result | None = None) -> None:
        """Queue steps; returns when boxkit has them, not when they ran. Repeating it does nothing."""
        await self._request(messages.start(steps, result=result))

    async def cancel(self, reason: str, *, after: bool = False) -> None:
        """TERM to what runs; returns when boxkit has it in its journal."""
        await self._request(messages.cancel(reason, after=after))

    async def verdict(self, ordinal: int, *, exit_code: int, message: str = "") -> None:
        """End a running step that the operator does itself."""
        await self._request(messages.verdict(ordinal, exit_code=exit_code, message=message))

    async def environment(self) -> list[tuple[str, str]]:
        """The exported environment at the last step boundary."""
        answer = await self._request(messages.environment())
        try:
            return [(str(name), str(value)) for name, value in answer["env"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError("boxkit sent an environment that cannot be decoded") from error

    async def note(self, key: str, text: str) -> None:
        """Put lines into the build's log, where they are masked; a key that was noted before is not noted again."""
        await self._request(messages.note(key, text))

    async def upload(self, what: str, to: Upload) -> None:
        """Say where a finished log or a packed archive goes; the outcome is in `state`."""
        await self._request(messages.upload(what, to))

    async def collect(self, collect: Collect) -> None:
        """Have a path packed and PUT; the outcome is in `state.collected[what]`, its size before in `state.packed`."""
        await self._request(collect.message())

    async def close(self) -> SessionState:
        """No more steps: waits until boxkit has finished its uploads and ends. Also fine if it ended before."""
        with suppress(BoxEnded):
            await self._request(messages.close())
            await self.wait_for(lambda state: state.closed is not None)
        return self.state

    async def wait_for(self, predicate: Callable[[SessionState], bool]) -> SessionState:
        """The first state for which `predicate` holds. Raises what ended the session: SessionLost, BoxEnded, ..."""
        while not predicate(self.state):
            if self._end is not None:
                raise self._end
            await self._changed.wait()
        return self.state

    def nudge(self) -> None:
        """Try to connect now: something happened to the pod."""
        self._nudged.set()

    async def _request(self, message: Message) -> Message:
        if self._end is not None:
            raise self._end
        self._ids += 1
        request = self._ids
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        message = {**message, "id": request}
        self._pending[request] = (message, future)
        if self._outbox is not None and self._may_send(message):
            self._outbox.put_nowait(message)
        try:
            answer = await future
        finally:
            self._pending.pop(request, None)
        if answer["type"] == "error":
            code, text = str(answer.get("code", "")), str(answer.get("text", ""))
            if code == "Closed":
                raise BoxEnded(f"the box has closed its session: {text}")
            raise RequestRefused(code, text)
        return answer

    def _may_send(self, message: Message) -> bool:
        """Whether we know whose box it is. An `open` goes before that, which saves every build a round trip: boxkit
        refuses one that is for another build."""
        return self._known_box or message["type"] == "open"

    # The connection.

    async def _run(self) -> None:
        try:
            await self._stay_connected()
            self._finish(BoxEnded("the box has closed its session"))
        except asyncio.CancelledError:
            self._finish(BoxEnded("the session was closed by the operator"))
            raise
        except Exception as error:
            self._finish(error)

    async def _stay_connected(self) -> None:
        early, cut = 0.05, 0.1
        while True:
            try:
                stream = await self._connect()
            except NotYet:
                self._check_lost("the container does not take an exec")
                early = await self._pause(early, longest=1.0, first=0.05)
                continue
            except (TransientError, OSError) as error:
                self._check_lost(str(error))
                cut = await self._pause(cut, longest=self._patience, first=0.1)
                continue
            before = self._heard
            try:
                await self._converse(stream)
            except NotYet as error:
                # Over WebSockets the kubelet's "no such container" comes after the connection, not instead of it.
                self._check_lost(str(error))
                early = await self._pause(early, longest=1.0, first=0.05)
                continue
            finally:
                with suppress(OSError, TransientError):
                    await stream.close()
            if self.state.closed is not None:
                return
            if self._heard != before:
                early, cut = 0.05, 0.1
                self._first_word_now = self._first_word
            else:
                # A box under load is slow to answer: a patience that never grew would never hear it.
                self._first_word_now = min(self._first_word_now * 2, self._silence)
            self._check_lost("every connection was cut")
            cut = await self._pause(cut, longest=self._patience, first=0.1)

    @property
    def _patience(self) -> float:
        """The longest pause between two tries: a box that has not spoken yet is most likely about to."""
        return 1.0 if self._heard is None else 5.0

    def _check_lost(self, why: str) -> None:
        # Before the first word the pod is still starting: how long that may take is not for us to say.
        spoken_to = self._known or self._heard is not None
        if spoken_to and self.silence > self._lost_after:
            raise SessionLost(
                f"the box did not answer for {self._lost_after:.0f} s: {why}",
                reason=Reason.SESSION_LOST,
            )

    async def _pause(self, delay: float, *, longest: float, first: float) -> float:
        """Wait about `delay` seconds, or until nudged; returns the next delay."""
        self._nudged.clear()
        try:
            async with asyncio.timeout(delay * (0.5 + self._jitter())):
                await self._nudged.wait()
        except TimeoutError:
            return min(delay * 2, longest)
        return first

    async def _converse(self, stream: ByteStream) -> None:
        """Speak over one stream until it ends, is cut or falls silent."""
        outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._greeted = False
        outbox.put_nowait(
            messages.hello(
                since=self.state.seq, follow=self._offsets if self._on_log is not None else None
            )
        )
        self._known_box = self._box is None
        for message, _ in self._pending.values():
            if self._may_send(message):
                outbox.put_nowait(message)
        self._outbox = outbox
        reading = asyncio.create_task(self._read(stream), name="boxkit read")
        others = [
            asyncio.create_task(self._write(stream, outbox), name="boxkit write"),
            asyncio.create_task(self._beat(outbox), name="boxkit heartbeat"),
        ]
        try:
            await asyncio.wait([reading, others[0]], return_when=asyncio.FIRST_COMPLETED)
            # A write may fail while the last records are still to be read: boxkit closes both ways at its end.
            # Several short waits: one that began before a busy machine stopped us for a while is over unused.
            for _ in range(5):
                if not reading.done():
                    await asyncio.wait([reading], timeout=0.05)
        finally:
            self._outbox = None
            for task in (reading, *others):
                task.cancel()
            outcomes = await asyncio.gather(reading, *others, return_exceptions=True)
        for outcome in outcomes:
            cut = isinstance(outcome, (OSError, TransientError, Cut))
            if isinstance(outcome, NotYet) or (isinstance(outcome, Exception) and not cut):
                raise outcome

    async def _read(self, stream: ByteStream) -> None:
        decoder = FrameDecoder()
        steps = len(self._expected.steps) if self._expected is not None else 0
        allowance = Allowance(burst=BURST + STEP * steps, now=self._clock())
        # boxkit greets at once. An exec that was accepted and leads nowhere would else cost the whole silence.
        patience = self._first_word_now
        while True:
            async with asyncio.timeout(patience):
                data = await stream.read()
            if not data:
                return
            patience = self._silence
            asked = any(message["type"] == "environment" for message, _ in self._pending.values())
            decoder.largest = MAX_ENVIRONMENT if asked else MAX_HEARD
            try:
                frames = decoder.feed(data)
            except ProtocolError as error:
                raise Cut(str(error)) from error
            for frame in frames:
                match frame:
                    case JsonFrame(message=message):
                        self._take(message)
                    case LogFrame():
                        self._take_log(frame)
                # An error that ends the connection has raised: a box that only refuses has said nothing.
                self._heard = self._clock()
            owed = allowance.spend(len(data), messages=len(frames), now=self._clock())
            if owed and self._expected is not None:
                await asyncio.sleep(min(owed, self._silence / 2))

    async def _write(self, stream: ByteStream, outbox: asyncio.Queue[Message]) -> None:
        while True:
            await stream.write(encode_json(await outbox.get()))

    async def _beat(self, outbox: asyncio.Queue[Message]) -> None:
        n = 0
        while True:
            await asyncio.sleep(self._heartbeat)
            n += 1
            outbox.put_nowait(messages.ping(n))

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "record":
                if not self._known_box:
                    raise Cut("a record came before the welcome")
                self._take_record(message)
            case "welcome":
                self._take_welcome(parse_welcome(message))
            case "ping" if self._outbox is not None:
                if self._outbox.qsize() > MOST_WAITING:
                    raise Cut("the box sends pings and does not read what is sent to it")
                self._outbox.put_nowait(messages.pong(number(message.get("n"))))
            case "error" if not message.get("id"):
                text = f"{str(message.get('code'))[:64]}: {str(message.get('text'))[:1024]}"
                if not self._greeted:
                    raise mismatch(f"boxkit refused the session: {text}")
                raise Cut(f"boxkit ended the connection: {text}")
            case "ok" | "error" | "environment":
                _, future = self._pending.get(number(message.get("id")), (None, None))
                if future is not None and not future.done():
                    future.set_result(message)
            case _:
                pass

    def _take_welcome(self, welcome: Welcome) -> None:
        check_welcome(welcome, read=self.state.seq, box=self._box)
        self._greeted = True
        if self._first is None:
            self._first = welcome
        if not self._known_box and self._outbox is not None:
            self._known_box = True
            for request, _ in self._pending.values():
                if request["type"] != "open":
                    self._outbox.put_nowait(request)
        self._tell()

    def _take_record(self, message: dict[str, Any]) -> None:
        record = parse_record(message)
        if record.seq <= self.state.seq:
            return
        before = self.state
        self.state = fold(before, record, self._expected)
        news = self.state != replace(before, seq=record.seq)
        if self._on_record is not None and (news or self._expected is None):
            self._on_record(record)
        self._tell()

    def _take_log(self, frame: LogFrame) -> None:
        at = self._offsets.get(frame.ordinal, 0)
        if frame.offset > at:
            raise ProtocolError(f"log {frame.ordinal} went on at {frame.offset}; {at} was due")
        data = frame.data[at - frame.offset :]
        if data and self._on_log is not None:
            self._offsets[frame.ordinal] = at + len(data)
            self._on_log(frame.ordinal, at, data)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _finish(self, error: BaseException) -> None:
        self._end = error
        for _, future in self._pending.values():
            if not future.done():
                future.set_exception(error)
        self._tell()
