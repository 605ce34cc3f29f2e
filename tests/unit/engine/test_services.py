"""Services that die while a build runs, and a box that cannot be told of it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.unit.engine.world import Server, plan, run_of

from sentinel.engine import services
from sentinel.engine.services import tell_dead_services
from sentinel.plan.observe import Ended, PodView


class Unreachable:
    async def note(self, key: str, text: str) -> None:
        await asyncio.Event().wait()


async def test_a_box_that_cannot_be_reached_does_not_hold_up_whoever_watches_its_pod(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "NOTED_WITHIN", 0.01)
    run = run_of(Server())
    view = PodView(services_ended=(("service-1-redis", Ended(exit_code=3)),))
    async with asyncio.timeout(5):
        await tell_dead_services(run, plan(), view, cast(Any, Unreachable()))
    assert run.dead_services == {
        "service-1-redis": "service service-1-redis ended with exit code 3"
    }
