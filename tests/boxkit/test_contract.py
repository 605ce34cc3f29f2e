"""The box that the engine's tests have in memory, held against the real one: the same requests, the same journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sentinel.session.client import Session
from sentinel.session.messages import Open
from sentinel.session.records import AnyRecord
from tests.unit.engine.world import Box as BoxInMemory
from tests.unit.engine.world import BoxStream

from .conftest import Box, script

STEPS = [script(1, "true"), script(2, "true")]


async def converse(connect: Callable[[], Awaitable[Any]], opening: Open) -> list[list[AnyRecord]]:
    """Run two steps, and close the session over a second connection; what each connection heard."""
    heard: list[list[AnyRecord]] = [[], []]
    async with Session(connect, on_record=heard[0].append) as session:
        await session.open(opening)
        await session.start(STEPS)
        await session.wait_for(lambda state: state.done([1, 2]))
    async with Session(connect, on_record=heard[1].append) as session:
        await session.open(opening)
        await session.start(STEPS)
        await session.close()
    return heard


def facts(records: list[AnyRecord]) -> dict[int | None, list[tuple[str, str]]]:
    """Kind and reason of each record in its order, by step: steps are queued while others run."""
    found: dict[int | None, list[tuple[str, str]]] = {}
    for each in records:
        reason = str(getattr(each, "reason", ""))
        found.setdefault(getattr(each, "ordinal", None), []).append((type(each).__name__, reason))
    return found


async def test_the_box_in_memory_keeps_the_journal_of_the_real_one(box: Box) -> None:
    in_memory = BoxInMemory()

    async def connect() -> BoxStream:
        return BoxStream(in_memory)

    opening = box.open()
    real = await converse(box.connect, opening)
    fake = await converse(connect, opening)

    assert [facts(each) for each in fake] == [facts(each) for each in real]
    # The second connection hears the journal from its beginning, and then how it ends.
    assert facts(real[1])[1] == [("Queued", ""), ("Started", ""), ("Finished", "Passed")]
    assert facts(real[1])[None][-1][0] == "Closed"
