"""What stands between a process and its watches: CRDs that are missing, and an API server that is away."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, cast

import pytest
from kopf._core.reactor import orchestration
from tests.unit.clocks import Hasty

from sentinel.errors import UserError
from sentinel.kube.errors import Forbidden, NotFound, Unavailable
from sentinel.kube.resources import BUILDS, IMAGE_COMMITS
from sentinel.kube.watches import MOST_REFUSALS, STARTED_WITHIN, WatchTasks, check_installed


class Kube:
    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def check_served(self, resource: Any, *, namespace: str | None) -> None:
        self.asked.append(f"{namespace}/{resource.plural}" if namespace else resource.plural)
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer


async def test_an_api_server_that_is_away_is_waited_for() -> None:
    kube = Kube(Unavailable("no answer"), Forbidden("no roles yet"), None, None)
    await check_installed(cast(Any, kube), BUILDS, IMAGE_COMMITS, every=0)
    assert kube.asked == ["builds", "builds", "builds", "imagecommits"]


async def test_rights_that_are_really_missing_are_reported() -> None:
    kube = Kube(*[Forbidden("no such right")] * (MOST_REFUSALS + 1))
    with pytest.raises(Forbidden):
        await check_installed(cast(Any, kube), BUILDS, every=0)


async def test_a_missing_crd_is_reported() -> None:
    kube = Kube(NotFound("no such resource"))
    with pytest.raises(UserError, match=r"does not know builds\.sentinel.wercker.com"):
        await check_installed(cast(Any, kube), BUILDS)


async def test_an_operator_of_some_namespaces_asks_in_those_only() -> None:
    kube = Kube(None, None, None, None)
    places = ["a", "b"]
    await check_installed(cast(Any, kube), BUILDS, IMAGE_COMMITS, namespaces=places)
    assert kube.asked == ["a/builds", "b/builds", "a/imagecommits", "b/imagecommits"]


async def test_a_watch_whose_task_has_ended_is_reported() -> None:
    clock = Hasty()
    watches = WatchTasks(BUILDS, IMAGE_COMMITS, clock=clock)
    assert watches.problem() == ""  # kopf has not started them yet
    tasks = [
        asyncio.create_task(asyncio.sleep(3600), name=f"watcher for {plural}@None")
        for plural in ("builds", "imagecommits")
    ]
    clock.elapsed += STARTED_WITHIN
    assert watches.problem() == ""
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    assert watches.problem() == "1 of 2 watches run: imagecommits@None"
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    assert watches.problem() == "0 of 2 watches run: none"


def test_kopf_names_its_watches_as_we_look_for_them() -> None:
    assert 'name=f"watcher for {what}"' in inspect.getsource(orchestration)
