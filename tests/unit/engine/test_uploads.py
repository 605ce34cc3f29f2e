"""One URL for each file of a box, signed when its size and digest are known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.engine.world import Server, attempt_of, run_of

from sentinel.engine.uploads import TRIES, Uploads
from sentinel.errors import BoxEnded
from sentinel.plan.model import PlanCache
from sentinel.session import records as r
from sentinel.session.journal import SessionState, fold
from sentinel.session.messages import Upload

NOW: dict[str, Any] = {"time": datetime(2026, 1, 1, tzinfo=UTC), "nanoseconds": 0}
DIGEST = "ab" * 32


class Store:
    """Signs by telling what it was asked for."""

    def presign_put(
        self, key: str, *, size: int, sha256: str, once: bool
    ) -> tuple[str, dict[str, str]]:
        return f"{key}?{size}&{'once' if once else 'again'}", {"x-amz-meta-sha256": sha256}


class Box:
    """The session's part that is used here; `say` adds a record to the journal."""

    def __init__(self) -> None:
        self.state = SessionState()
        self.sent: list[tuple[str, str]] = []
        self.ended = False
        self._changed = asyncio.Event()

    def say(self, record: Callable[..., r.AnyRecord], **fields: Any) -> None:
        self.state = fold(self.state, record(**NOW, seq=self.state.seq + 1, **fields))
        self._wake()

    def finish(self, ordinal: int, *, size: int = 7) -> None:
        log = r.LogFacts(bytes=size, sha256=DIGEST)
        self.say(r.Queued, ordinal=ordinal, id=f"forged-{ordinal}", phase="main")
        self.say(r.Started, ordinal=ordinal)
        self.say(
            r.Finished,
            ordinal=ordinal,
            exit=0,
            reason="Passed",
            message="",
            log=log,
            usage=r.Usage(),
        )

    def end(self) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, predicate: Callable[[SessionState], bool]) -> SessionState:
        while not predicate(self.state):
            if self.ended:
                raise BoxEnded("over")
            await self._changed.wait()
        return self.state

    async def upload(self, what: str, to: Upload) -> None:
        assert to.headers == {"x-amz-meta-sha256": DIGEST}
        self.sent.append((what, to.url))
        self._wake()

    async def until_sent(self, count: int) -> list[tuple[str, str]]:
        async with asyncio.timeout(150):
            await self.wait_for(lambda _: len(self.sent) >= count)
        return self.sent


@pytest.fixture
def box() -> Box:
    return Box()


def signing(box: Box) -> asyncio.Task[None]:
    run = run_of(Server())
    run.tools = replace(run.tools, store=cast(Any, Store()))
    steps = (SimpleNamespace(ordinal=1, id="one"), SimpleNamespace(ordinal=2, id="two"))
    plan = SimpleNamespace(steps=steps, results_prefix="r/", cache=PlanCache())
    attempt = attempt_of(run, cast(Any, plan), session=box)
    return asyncio.create_task(Uploads(attempt).sign())


async def test_a_log_gets_its_url_when_its_step_has_ended(box: Box) -> None:
    task = signing(box)
    box.finish(1)
    assert await box.until_sent(1) == [("log/1", "r/step/one/log.txt?7&once")]
    box.say(r.Uploaded, what="log/1", bytes=7, sha256=DIGEST)
    box.finish(2, size=0)
    assert (await box.until_sent(2))[1:] == [("log/2", "r/step/two/log.txt?0&once")]
    box.end()
    await task


async def test_a_refused_url_is_replaced_a_few_times(box: Box) -> None:
    task = signing(box)
    box.finish(1)
    for tries in range(1, TRIES + 1):
        await box.until_sent(tries)
        box.say(r.UploadRefused, what="log/1", status=403, text="expired")
    box.finish(2)
    await box.until_sent(TRIES + 1)
    box.end()
    await task
    again = ("log/1", "r/step/one/log.txt?7&again")
    assert box.sent == [
        ("log/1", "r/step/one/log.txt?7&once"),
        again,
        again,
        ("log/2", "r/step/two/log.txt?7&once"),
    ]


async def test_an_archive_whose_url_is_refused_gets_another_one(box: Box) -> None:
    """As when it has expired during an outage, or where the store does not know conditional writes."""
    task = signing(box)
    box.say(r.Packed, what="output", bytes=9, sha256=DIGEST)
    for tries in range(1, TRIES + 1):
        await box.until_sent(tries)
        box.say(r.UploadRefused, what="output", status=501, text="not implemented")
    box.say(r.CollectFailed, what="output", path="/o", reason="Refused", text="HTTP 501")
    box.finish(1)
    await box.until_sent(TRIES + 1)
    box.end()
    await task
    assert box.sent == [
        ("output", "r/output.tar?9&once"),
        *[("output", "r/output.tar?9&again")] * (TRIES - 1),
        ("log/1", "r/step/one/log.txt?7&once"),
    ]


async def test_archives_get_theirs_when_they_are_packed_and_nothing_else_does(box: Box) -> None:
    """A box may say what it likes: only the files that a Plan has are signed for, under the Plan's own names."""
    task = signing(box)
    for what in ("output", "artifacts/2", "artifacts/9", "cache", "../other", "log/1"):
        box.say(r.Packed, what=what, bytes=9, sha256=DIGEST)
    box.finish(1)
    box.finish(7)
    await box.until_sent(3)
    box.end()
    await task
    assert sorted(box.sent) == [
        ("artifacts/2", "r/step/two/artifacts.tar?9&once"),
        ("log/1", "r/step/one/log.txt?7&once"),
        ("output", "r/output.tar?9&once"),
    ]


async def test_after_a_restart_only_what_is_missing_is_signed_for(box: Box) -> None:
    box.finish(1)
    box.finish(2)
    box.say(r.Uploaded, what="log/1", bytes=7, sha256=DIGEST)
    task = signing(box)
    assert await box.until_sent(1) == [("log/2", "r/step/two/log.txt?7&once")]
    box.end()
    await task
