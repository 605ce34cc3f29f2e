"""Images of single steps: when the box is committed, on what, and what a restart, a failure or a cancel makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.unit.engine.world import UID, Box, Server, plan, run_of, status_of

from sentinel.api.imagecommit import ImageCommit
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.build import run_build
from sentinel.engine.commit import CommitRequest
from sentinel.engine.readback import Problem
from sentinel.engine.run import Run
from sentinel.plan.model import PlanImage

REPOSITORY = "127.0.0.1:1/ns/app"


@dataclass
class Steps(Box):
    """A box whose steps pass, but for `fails`; what follows a failure or a cancel is skipped, as boxkit does."""

    fails: int = 0
    late_after: int = 99
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.on_start = lambda _: self.work()

    def work(self) -> None:
        for ordinal in self.queued:
            ended = {
                each["ordinal"]: each
                for each in self.records
                if "reason" in each and "ordinal" in each
            }
            if ordinal in ended:
                continue
            if self.cancelled or any(each.get("reason") != "Passed" for each in ended.values()):
                reason = "Cancelled" if self.cancelled else "Skipped"
                self.record("skipped", ordinal=ordinal, reason=reason, message="")
                continue
            if ordinal > self.late_after:
                self.record("skipped", ordinal=ordinal, reason="BuildTimeout", message="")
                continue
            failed = ordinal == self.fails
            self.record("started", ordinal=ordinal)
            log = {"bytes": 0, "sha256": "", "dropped": 0}
            usage = {"seconds": 0, "cpuSeconds": 0, "peakMemoryBytes": 0}
            end = {"exit": int(failed), "reason": "ExitCode" if failed else "Passed", "message": ""}
            self.record("finished", ordinal=ordinal, log=log, usage=usage, **end)

    def answer(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        if message["type"] == "cancel":
            self.heard.append("cancel")
            if not self.cancelled:
                self.cancelled = True
                self.record("cancelled", reason=message["reason"], after=False)
            return [{"type": "ok", "id": message["id"]}]
        return super().answer(message)


@dataclass
class Agent:
    """In place of `commit_box`: what was asked, with the steps that the box had been given by then."""

    box: Steps
    fails: Callable[[CommitRequest], Problem | None] = lambda _: None
    asked: list[tuple[CommitRequest, list[int]]] = field(default_factory=list)
    before: Callable[[], Any] = lambda: None

    async def commit_box(self, attempt: Attempt, request: CommitRequest) -> ImageCommit | Problem:
        self.asked.append((request, list(self.box.queued)))
        waited = self.before()
        if waited is not None:
            await waited
        problem = self.fails(request)
        return problem or ended(request, digest(len(self.asked)))

    @property
    def tags(self) -> list[tuple[str, ...]]:
        return [request.tags for request, _ in self.asked]


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def ended(request: CommitRequest, found: str) -> ImageCommit:
    spec = {
        "nodeName": "n",
        "podName": "p",
        "podUid": "u",
        "containerId": "containerd://x",
        "repository": request.repository,
        "tags": list(request.tags),
        "deadline": "2026-11-23T10:00:00Z",
    }
    tags = [{"name": tag, "pushed": True} for tag in request.tags]
    status = {"phase": "Succeeded", "digest": found, "tags": tags, "layerBytes": 7}
    return ImageCommit.model_validate({"metadata": {}, "spec": spec, "status": status})


@dataclass
class World:
    server: Server
    box: Steps
    agent: Agent
    run: Run

    @property
    def images(self) -> list[dict[str, Any] | None]:
        return [step.get("image") for step in self.server.build["status"]["steps"]]

    @property
    def states(self) -> list[str]:
        return [step["state"] for step in self.server.build["status"]["steps"]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """A Build in its middle, whose box was opened and given nothing yet."""

    def make(*names: str, commit: str = "eachStep", fails: int = 0, **status: Any) -> World:
        server = Server({**status_of(ready=True, begun=True), **status})
        box = Steps(opened=True, fails=fails)
        box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
        image = PlanImage(commit=commit, repository=REPOSITORY)  # type: ignore[arg-type]
        server.add_pod(replace(plan(*names), image=image), box=box)
        run = run_of(server, image={"commit": commit, "repository": REPOSITORY})
        agent = Agent(box)
        for module in ("stepimages", "commit"):
            monkeypatch.setattr(f"sentinel.engine.{module}.commit_box", agent.commit_box)
        return World(server, box, agent, run)

    return make


async def test_each_step_s_image_stands_on_the_one_before(world: Callable[..., World]) -> None:
    made = world("one", "two", "three")
    await run_build(made.run)
    assert made.server.build["status"]["phase"] == "Succeeded"
    assert made.agent.tags == [
        (f"{UID}-step1",),
        (f"{UID}-step2",),
        (UID, f"{UID}-step3", "green", "latest"),
    ]
    # The box was given no step before the one before had its image.
    assert [given for _, given in made.agent.asked] == [[1], [1, 2], [1, 2, 3]]
    requests = [request for request, _ in made.agent.asked]
    assert [each.previous for each in requests] == ["", digest(1), digest(2)]
    assert [each.remember for each in requests] == [True, True, False]
    assert len({each.name for each in requests}) == 3
    assert made.images == [{"digest": digest(n), "layerBytes": 7} for n in (1, 2, 3)]
    assert made.server.build["status"]["image"]["digest"] == digest(3)


async def test_a_failed_step_has_the_build_s_own_image(world: Callable[..., World]) -> None:
    made = world("one", "two", "three", fails=2)
    await run_build(made.run)
    assert made.states == ["Passed", "Failed", "Skipped"]
    assert made.agent.tags == [(f"{UID}-step1",), (UID, f"{UID}-step2", "red")]
    assert [each and each["digest"] for each in made.images] == [digest(1), digest(2), None]


async def test_a_new_operator_asks_for_no_image_that_is_in_the_status(
    world: Callable[..., World],
) -> None:
    known = [{"id": "one-1", "name": "script", "state": "Passed", "image": {"digest": digest(9)}}]
    made = world("one", "two", steps=known)
    step = {"ordinal": 1, "id": "one-1", "phase": "main"}
    made.box.answer({"type": "start", "steps": [step]})
    await run_build(made.run)
    assert made.agent.tags == [(UID, f"{UID}-step2", "green", "latest")]
    assert made.agent.asked[0][0].previous == digest(9)
    assert [each and each["digest"] for each in made.images] == [digest(9), digest(1)]


async def test_a_new_operator_asks_again_under_the_same_name(world: Callable[..., World]) -> None:
    """The one before died while it waited: the agent has the ImageCommit, and the box stands where it was."""
    made = world("one", "two")
    made.box.answer({"type": "start", "steps": [{"ordinal": 1, "id": "one-1", "phase": "main"}]})
    await run_build(made.run)
    assert made.agent.asked[0][1] == [1]
    assert made.agent.asked[0][0].name == made.run.id(1).step_image(1)


async def test_a_box_that_went_on_is_not_committed_as_an_earlier_step(
    world: Callable[..., World],
) -> None:
    made = world("one", "two")
    steps = [{"ordinal": n, "id": i, "phase": "main"} for n, i in ((1, "one-1"), (2, "two-2"))]
    made.box.answer({"type": "start", "steps": steps})
    await run_build(made.run)
    assert made.agent.tags == [(UID, f"{UID}-step2", "green", "latest")]
    assert made.images[0] == {
        "reason": "CommitFailed",
        "message": "the next step began before the box was committed",
    }


async def test_a_step_without_an_image_fails_nothing(world: Callable[..., World]) -> None:
    made = world("one", "two", "three")
    refused = (Reason.PUSH_FAILED, "x" * 1000)
    made.agent.fails = lambda asked: refused if asked.tags == (f"{UID}-step2",) else None
    await run_build(made.run)
    assert made.server.build["status"]["phase"] == "Succeeded"
    assert made.images[1] == {"reason": "PushFailed", "message": "x" * 256}
    assert made.server.writes[-1]["image"]["repository"] == REPOSITORY
    # The next one goes on top of the last image that there is.
    assert made.agent.asked[-1][0].previous == digest(1)


async def test_after_two_failures_no_more_images_of_steps_are_tried(
    world: Callable[..., World],
) -> None:
    made = world("one", "two", "three", "four", "five")
    gone = (Reason.AGENT_UNAVAILABLE, "no agent")
    made.agent.fails = lambda asked: gone if UID not in asked.tags else None
    await run_build(made.run)
    assert made.server.build["status"]["phase"] == "Succeeded"
    assert len(made.agent.asked) == 3
    assert made.server.build["status"]["image"]["digest"] == digest(3)
    assert [each and each.get("reason") for each in made.images] == [
        "AgentUnavailable",
        "AgentUnavailable",
        "Skipped",
        "Skipped",
        None,
    ]


async def test_a_cancel_while_a_step_is_committed_skips_the_rest(
    world: Callable[..., World],
) -> None:
    made = world("one", "two", "three")

    def cancel() -> Any:
        made.run.cancelled.set()
        return asyncio.Event().wait()

    made.agent.before = cancel
    await run_build(made.run)
    assert made.states == ["Passed", "Skipped", "Skipped"]
    assert len(made.agent.asked) == 1
    assert made.server.build["status"]["phase"] == "Cancelled"
    assert made.images == [None, None, None]
    assert "image" not in made.server.build["status"]


async def test_a_build_whose_time_is_over_between_two_steps_has_an_image_of_its_own(
    world: Callable[..., World],
) -> None:
    made = world("one", "two")
    made.box.late_after = 1
    await run_build(made.run)
    assert made.states == ["Passed", "Skipped"]
    assert made.agent.tags == [(f"{UID}-step1",), (UID, "red")]
    assert made.agent.asked[1][0].previous == digest(1)
    assert [each and each["digest"] for each in made.images] == [digest(1), None]


@pytest.mark.parametrize("fails", [0, 2])
async def test_on_failure_there_is_one_image_of_the_box_as_the_failed_step_left_it(
    world: Callable[..., World], fails: int
) -> None:
    made = world("one", "two", "three", commit="onFailure", fails=fails)
    await run_build(made.run)
    assert made.box.heard.count("start") == 1
    if not fails:
        assert made.agent.asked == []
        assert made.images == [None, None, None]
        return
    assert made.agent.tags == [(UID, "red")]
    assert made.images == [None, {"digest": digest(1), "layerBytes": 7}, None]
    assert made.server.build["status"]["image"]["digest"] == digest(1)
