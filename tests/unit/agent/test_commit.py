"""A commit whose runtime does not answer at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.agent.test_scratch_push import api_of, commit_to
from tests.unit.clocks import Hasty

from sentinel.agent.commit import run_commit
from sentinel.agent.failures import CommitFailure, RuntimeFailure
from sentinel.agent.runtimes.base import Box
from sentinel.agent.spool import Spool
from sentinel.agent.threads import Threads
from sentinel.agent.tools import Tools
from sentinel.api.reasons import CommitReason
from sentinel.settings import ImageSettings, Settings


class Restarting:
    """A runtime that is away for some requests and has no such container then."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.asked = 0

    async def locate(self, _: Any) -> Box:
        self.asked += 1
        if self.asked <= self.away:
            raise RuntimeFailure("reading the container failed: UNAVAILABLE")
        raise CommitFailure(CommitReason.POD_GONE, "no such container")


@pytest.mark.parametrize(("away", "reason"), [(3, "PodGone"), (100, "RuntimeError")])
async def test_a_runtime_that_is_restarted_is_asked_again(
    tmp_path: Path, away: int, reason: str
) -> None:
    clock = Hasty()
    api = api_of(commit_to("registry.example.com/ns/app"))
    runtime = Restarting(away)
    tools = Tools(
        threads=Threads(clock),
        kube=cast(Any, api),
        runtime=cast(Any, runtime),
        settings=Settings(node_name="n", images=ImageSettings(allowed_repositories=["*"])),
        clock=clock,
        boot_id="boot",
        spool=Spool(tmp_path),
    )
    await run_commit(namespace="ns", name="c", tools=tools)
    status = api.find("imagecommits", "c")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", reason), status
    assert runtime.asked == min(away + 1, 10)
