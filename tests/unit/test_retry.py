"""Trying again: as often as the backoff allows, with pauses that grow, on the caller's clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tests.unit.clocks import Hasty

from sentinel.backoff import Backoff
from sentinel.errors import Conflict, TransientError, UserError
from sentinel.retry import retry

BACKOFF = Backoff(first=1.0, longest=5.0, tries=4, jitter=0.0)


@dataclass
class Server:
    """Raises these errors in turn, then answers."""

    errors: list[Exception] = field(default_factory=list)
    asked: int = 0

    async def answer(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "fine"


def away(**more: float) -> TransientError:
    return TransientError("away", **more)


async def test_what_passes_is_tried_again_after_growing_pauses() -> None:
    clock, server = Hasty(), Server([away(), away(), away()])
    began = clock.monotonic()
    assert await retry(server.answer, clock=clock, backoff=BACKOFF, what="it") == "fine"
    assert (server.asked, clock.monotonic() - began) == (4, 1.0 + 2.0 + 4.0)


async def test_the_last_error_is_raised() -> None:
    server = Server([away(), away(), away(), Conflict("still")])
    with pytest.raises(Conflict, match="still"):
        await retry(server.answer, clock=Hasty(), backoff=BACKOFF, what="it")
    assert server.asked == 4


@pytest.mark.parametrize("error", [UserError("no"), Conflict("changed")])
async def test_another_error_is_raised_at_once(error: Exception) -> None:
    server = Server([error])
    with pytest.raises(type(error)):
        await retry(server.answer, clock=Hasty(), backoff=BACKOFF, what="it", unless=(Conflict,))
    assert server.asked == 1


async def test_a_server_that_names_a_pause_gets_it_within_the_longest() -> None:
    clock, server = Hasty(), Server([away(retry_after=3.0), away(retry_after=600.0)])
    began = clock.monotonic()
    await retry(server.answer, clock=clock, backoff=BACKOFF, what="it")
    assert clock.monotonic() - began == 3.0 + 5.0


def test_jitter_stays_within_its_share_and_no_count_is_too_high() -> None:
    wide = Backoff(first=2.0, longest=30.0, jitter=0.5)
    assert all(1.0 <= wide.pause(1) <= 3.0 for _ in range(100))
    assert all(15.0 <= wide.pause(10_000) <= 45.0 for _ in range(100))
