"""Which builds run: one task each, within the limit, fair between namespaces, and none forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from sentinel.api.reasons import Reason
from sentinel.engine.board import Board
from sentinel.engine.run import Run, Tools
from sentinel.engine.supervisor import MOST_MISTAKES, Supervisor
from sentinel.errors import GoneError, InternalError, TransientError
from sentinel.plan.names import FINISHED_LABEL
from sentinel.settings import Settings


def build(name: str, *, namespace: str = "ns", version: int = 1, **spec: Any) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "uid": f"uid-{namespace}-{name}"}
    return {"metadata": {**meta, "resourceVersion": str(version)}, "spec": spec}


@dataclass
class FakeRun:
    raw: dict[str, Any]
    invalid: Exception | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])


class FakeClock:
    def __init__(self) -> None:
        self.slept: list[float] = []
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class FakeKube:
    """The API server's Builds by name."""

    def __init__(self) -> None:
        self.builds: dict[str, dict[str, Any]] = {}

    async def get(self, resource: object, *, namespace: str, name: str) -> dict[str, Any]:
        return self.builds[name]


class World:
    """A supervisor whose builds run until they are told to end."""

    def __init__(self, *, limit: int = 10) -> None:
        self.started: list[FakeRun] = []
        self.errors: dict[str, list[Exception]] = {}
        self.kube, self.clock = FakeKube(), FakeClock()
        tools = Tools(
            kube=cast(Any, self.kube),
            settings=Settings(max_builds=limit),
            clock=cast(Any, self.clock),
            store=None,
            builds=Board(),
            pods=Board(),
            commits=Board(),
            git_cache=cast(Any, None),
            steps=cast(Any, None),
        )
        self.queued: list[str] = []
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        self.supervisor = Supervisor(
            tools=tools, make_run=self._make, drive=self._drive, queue=self._queue
        )

    def _make(self, raw: dict[str, Any]) -> Run:
        return cast(Run, FakeRun(raw))

    async def _drive(self, run: Run) -> None:
        fake = cast(FakeRun, run)
        self.started.append(fake)
        errors = self.errors.get(fake.name)
        if errors:
            raise errors.pop(0)
        await fake.may_end.wait()

    async def _queue(self, run: Run) -> None:
        self.queued.append(cast(FakeRun, run).name)
        await self.may_tell.wait()

    async def settle(self) -> list[str]:
        for _ in range(60):
            await asyncio.sleep(0)
        return [run.name for run in self.started]


@pytest.fixture
async def world() -> Any:
    made: list[tuple[World, asyncio.Task[None]]] = []

    def make(**arguments: Any) -> World:
        new = World(**arguments)
        made.append((new, asyncio.create_task(new.supervisor.run())))
        return new

    yield make
    for each, task in made:
        await each.supervisor.drain()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_build_offered_again_and_again_is_driven_once(world: Any) -> None:
    w = world()
    for version in (1, 2, 3):
        w.supervisor.offer(build("a", version=version))
    assert await w.settle() == ["a"]
    assert w.supervisor.active == 1


async def test_a_finished_build_is_left_alone(world: Any) -> None:
    w = world()
    done = build("a")
    done["metadata"]["labels"] = {FINISHED_LABEL: "true"}
    w.supervisor.offer(done)
    assert await w.settle() == []


async def test_the_limit_holds_and_namespaces_take_turns(world: Any) -> None:
    w = world(limit=1)
    for name in ("a1", "a2", "a3"):
        w.supervisor.offer(build(name, namespace="a"))
    w.supervisor.offer(build("b1", namespace="b"))
    order = await w.settle()
    for _ in range(3):
        w.started[-1].may_end.set()
        order = await w.settle()
    assert order == ["a1", "a2", "b1", "a3"] or order == ["a1", "b1", "a2", "a3"]
    assert order.index("b1") < order.index("a3")


async def test_a_build_beyond_the_limit_is_shown_as_queued_and_one_within_it_is_not(
    world: Any,
) -> None:
    w = world(limit=1)
    for name in ("a", "b", "c"):
        w.supervisor.offer(build(name))
    assert await w.settle() == ["a"]
    assert w.queued == ["b", "c"]


async def test_a_build_s_turn_waits_for_the_word_that_it_is_queued(world: Any) -> None:
    w = world(limit=1)
    w.may_tell.clear()
    w.supervisor.offer(build("a"))
    w.supervisor.offer(build("b"))
    await w.settle()
    w.started[0].may_end.set()
    assert await w.settle() == ["a"]
    w.may_tell.set()
    assert await w.settle() == ["a", "b"]


async def test_a_list_that_is_late_does_not_start_an_ended_build_again(world: Any) -> None:
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    w.started[0].may_end.set()
    await w.settle()
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a"]


async def test_a_build_that_is_being_deleted_is_let_go_and_not_begun(world: Any) -> None:
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    for name in ("a", "b"):
        raw = build(name, version=2)
        raw["metadata"]["deletionTimestamp"] = "2026-11-23T09:00:00Z"
        w.supervisor.offer(raw)
    assert await w.settle() == ["a"]
    assert w.supervisor.active == 0


async def test_mistakes_long_ago_do_not_count(world: Any) -> None:
    w = world()
    w.kube.builds["a"] = build("a", version=2)

    async def drive(run: Run) -> None:
        w.started.append(cast(FakeRun, run))
        if len(w.started) <= MOST_MISTAKES + 3:
            w.clock.time += 3600
            raise RuntimeError("a hiccup after an hour")

    w.supervisor._drive = drive
    w.supervisor.offer(build("a"))
    await w.settle()
    assert len(w.started) == MOST_MISTAKES + 4
    assert w.started[-1].invalid is None


async def test_a_cancel_reaches_the_running_build(world: Any) -> None:
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    assert not w.started[0].cancelled.is_set()
    w.supervisor.offer(build("a", version=2, cancel=True))
    assert w.started[0].cancelled.is_set()


async def test_a_cancel_while_waiting_is_known_when_the_build_starts(world: Any) -> None:
    w = world(limit=1)
    w.supervisor.offer(build("a"))
    w.supervisor.offer(build("b"))
    await w.settle()
    w.supervisor.offer(build("b", version=2, cancel=True))
    w.started[0].may_end.set()
    await w.settle()
    assert [(run.name, run.cancelled.is_set()) for run in w.started] == [("a", False), ("b", True)]


async def test_a_build_that_could_not_be_driven_is_tried_again_after_a_pause(world: Any) -> None:
    w = world()
    w.errors["a"] = [RuntimeError("the API server is away"), RuntimeError("still")]
    w.kube.builds["a"] = build("a", version=2)
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a", "a", "a"]
    first, second = w.clock.slept
    assert 0.5 <= first <= 1.5
    assert 1.0 <= second <= 3.0


async def test_a_build_we_fail_with_again_and_again_ends_by_our_own_fault(world: Any) -> None:
    w = world()
    w.errors["a"] = [RuntimeError("a mistake")] * MOST_MISTAKES
    w.kube.builds["a"] = build("a", version=2)
    w.supervisor.offer(build("a"))
    await w.settle()
    problem = w.started[-1].invalid
    assert len(w.started) == MOST_MISTAKES + 1
    assert isinstance(problem, InternalError)
    assert problem.reason is Reason.INTERNAL


async def test_an_api_server_that_is_away_is_no_mistake_of_ours(world: Any) -> None:
    w = world()
    w.errors["a"] = [TransientError("the API server is away") for _ in range(MOST_MISTAKES + 3)]
    w.kube.builds["a"] = build("a", version=2)
    w.supervisor.offer(build("a"))
    await w.settle()
    assert len(w.started) == MOST_MISTAKES + 4
    assert w.started[-1].invalid is None


async def test_a_build_that_is_another_s_is_let_go(world: Any) -> None:
    w = world()
    w.errors["a"] = [GoneError("another operator leads")]
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a"]
    assert w.supervisor.active == 0
    assert w.clock.slept == []


async def test_a_deleted_build_s_task_ends(world: Any) -> None:
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    w.supervisor.gone(build("a", version=2))
    await w.settle()
    assert w.supervisor.active == 0


async def test_a_build_that_left_the_watch_because_it_finished_is_not_disturbed(world: Any) -> None:
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    done = build("a", version=2)
    done["metadata"]["labels"] = {FINISHED_LABEL: "true"}
    w.supervisor.gone(done)
    await w.settle()
    assert w.supervisor.active == 1
