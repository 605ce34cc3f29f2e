"""What stands between a process and its watches: CRDs that are missing, and an API server that is away."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sentinel.errors import UserError
from sentinel.kube.errors import Forbidden, NotFound, Unavailable
from sentinel.kube.resources import BUILDS, IMAGE_COMMITS
from sentinel.kube.watches import MOST_REFUSALS, check_installed


class Kube:
    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def list(self, resource: Any, *, namespace: str | None, limit: int) -> None:
        self.asked.append(f"{namespace}/{resource.plural}" if namespace else resource.plural)
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer


async def test_an_api_server_that_is_away_is_waited_for() -> None:
    kube = Kube(Unavailable("no answer"), Forbidden("no roles yet"), None, None)
    await check_installed(cast(Any, kube), BUILDS, IMAGE_COMMITS, every=0)
    assert kube.asked == ["builds", "builds", "builds", "imagecommits"]


async def test_rights_that_are_really_missing_are_told() -> None:
    kube = Kube(*[Forbidden("no such right")] * (MOST_REFUSALS + 1))
    with pytest.raises(Forbidden):
        await check_installed(cast(Any, kube), BUILDS, every=0)


async def test_a_missing_crd_is_told() -> None:
    kube = Kube(NotFound("no such resource"))
    with pytest.raises(UserError, match=r"does not know builds\.sentinel.wercker.com"):
        await check_installed(cast(Any, kube), BUILDS)


async def test_an_operator_of_some_namespaces_asks_in_those_only() -> None:
    kube = Kube(None, None, None, None)
    places = ["a", "b"]
    await check_installed(cast(Any, kube), BUILDS, IMAGE_COMMITS, namespaces=places)
    assert kube.asked == ["a/builds", "b/builds", "a/imagecommits", "b/imagecommits"]
