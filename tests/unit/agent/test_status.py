"""Claiming a commit and writing its status, whatever becomes of the answers."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.unit.agent.test_scratch_push import commit_to
from tests.unit.clocks import Hasty
from tests.unit.fakeapi import FakeApi, Json

from sentinel.agent.status import CommitStatus
from sentinel.errors import GoneError
from sentinel.kube.errors import Unavailable


class Losing(FakeApi):
    """An API server that does what the first patch asks for; its answer is lost."""

    lost = False

    async def patch(self, *args: Any, **fields: Any) -> Json:
        answer = await super().patch(*args, **fields)
        if not self.lost:
            self.lost = True
            raise Unavailable("the connection was cut")
        return answer


def status_in(api: FakeApi) -> CommitStatus:
    raw = api.find("imagecommits", "c")
    return CommitStatus(raw, kube=cast(Any, api), clock=Hasty(), agent_pod="a", boot_id="boot")


async def test_a_claim_whose_answer_was_lost_is_ours() -> None:
    api = Losing(imagecommits=[commit_to("registry.example.com/ns/app")])
    status = status_in(api)
    await status.claim()
    assert api.lost
    assert status.attempts == api.find("imagecommits", "c")["status"]["claim"]["attempt"] == 1


async def test_a_claim_of_another_agent_is_not_ours() -> None:
    api = FakeApi(imagecommits=[commit_to("registry.example.com/ns/app")])
    status = status_in(api)
    theirs = {"agentPod": "b", "bootId": "other", "attempt": 1}
    api.change("imagecommits", "c", status={"phase": "Claimed", "claim": theirs})
    with pytest.raises(GoneError, match="claimed by another agent"):
        await status.claim()
    assert api.find("imagecommits", "c")["status"]["claim"] == theirs
