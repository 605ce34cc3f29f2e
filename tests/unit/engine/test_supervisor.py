"""Which builds run: one task each, within the limit, fair between namespaces, and none forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from tests.unit.clocks import Hasty
from tests.unit.engine.world import KEYS
from tests.unit.fakeapi import FakeApi

from sentinel.api.build import BuildStatus
from sentinel.api.reasons import Reason
from sentinel.engine.board import Board
from sentinel.engine.run import Run, Tools
from sentinel.engine.supervisor import MOST_CRASHES, MOST_REFUSALS, Supervisor
from sentinel.errors import (
    GoneError,
    InternalError,
    NewerPlan,
    SentinelError,
    TakenOver,
    TransientError,
)
from sentinel.kube.errors import Forbidden
from sentinel.kube.resources import BUILDS, CONFIG_MAPS, SECRETS, Resource
from sentinel.plan.names import FINISHED_LABEL, PLAN_ANNOTATION, AttemptId
from sentinel.plan.seal import seal_plan, sign_object
from sentinel.resolver.shelf import Known
from sentinel.settings import Settings


def build(name: str, *, namespace: str = "ns", version: int = 1, **spec: Any) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "uid": f"uid-{namespace}-{name}"}
    return {"metadata": {**meta, "resourceVersion": str(version)}, "spec": spec}


class FakeWriter:
    """Writes `crashes` into the Build itself."""

    def __init__(self, raw: dict[str, Any], kube: FakeKube) -> None:
        self.status = BuildStatus.model_validate(raw.get("status", {}))
        self._raw, self._kube = raw, kube

    def change(self, *, crashes: int) -> None:
        self.status = self.status.model_copy(update={"crashes": crashes})

    async def flush(self) -> None:
        meta = self._raw["metadata"]
        raw = {**self._raw, "status": {"crashes": self.status.crashes}}
        raw["metadata"] = {**meta, "resourceVersion": str(int(meta["resourceVersion"]) + 1)}
        self._kube.builds[meta["name"]] = raw


@dataclass
class FakeRun:
    raw: dict[str, Any]
    writer: FakeWriter
    invalid: SentinelError | None = None
    key: tuple[str, str] = ("ns", "name")
    park: Callable[[bool], None] = lambda _: None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])


class FakeKube(FakeApi):
    """Builds, and of every other kind what the second attempt of Build `a` may have made."""

    def __init__(self) -> None:
        super().__init__(builds=[])
        self.builds = self.objects["builds"]

    async def get(
        self, resource: Resource, *, name: str, namespace: str | None = None
    ) -> dict[str, Any]:
        if resource is not BUILDS:
            return made_by_us(resource, name)
        return await super().get(resource, name=name, namespace=namespace)

    async def delete(self, resource: Resource, *, name: str, **_: Any) -> None:
        self.deleted.append((resource.plural, name))


def made_by_us(resource: Resource, name: str) -> dict[str, Any]:
    """Whatever the second attempt of Build `a` may have made."""
    body = {"metadata": {"namespace": "ns", "name": name, "uid": "u", "annotations": {}}}
    attempt = AttemptId("ns", "a", "uid-ns-a", 2)
    if resource is CONFIG_MAPS:
        return sign_object({**body, "kind": "ConfigMap"}, identity=attempt, keys=KEYS)
    if resource is SECRETS:
        of_build = replace(attempt, attempt=0)
        return sign_object({**body, "kind": "Secret"}, identity=of_build, keys=KEYS)
    text = seal_plan("plan", pod="digest", identity=attempt, keys=KEYS)
    body["metadata"]["annotations"] = {PLAN_ANNOTATION: text}
    return body


class World:
    """A supervisor whose builds run until the test ends them."""

    def __init__(self, *, limit: int = 10, **settings: Any) -> None:
        self.started: list[FakeRun] = []
        self.errors: dict[str, list[Exception]] = {}
        self.kube, self.clock = FakeKube(), Hasty()
        tools = Tools(
            kube=cast(Any, self.kube),
            settings=Settings(**{"max_builds": limit, "namespace_share": 1.0, **settings}),
            clock=cast(Any, self.clock),
            store=None,
            builds=Board(),
            pods=Board(),
            commits=Board(),
            keys=KEYS,
            resolver=cast(Any, None),
            shelf=cast(Any, None),
            known=Known(),
        )
        self.queued: list[str] = []
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        self.supervisor = Supervisor(
            tools=tools, make_run=self._make, drive=self._drive, queue=self._queue
        )

    def _make(self, raw: dict[str, Any]) -> Run:
        return cast(Run, FakeRun(raw, FakeWriter(raw, self.kube)))

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
    assert len(w.supervisor._active) == 1


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
    assert len(w.supervisor._active) == 0


async def test_mistakes_long_ago_do_not_count(world: Any) -> None:
    w = world()
    w.kube.builds["a"] = build("a", version=2)

    async def drive(run: Run) -> None:
        w.started.append(cast(FakeRun, run))
        if len(w.started) <= MOST_CRASHES + 3:
            w.clock.elapsed += 3600
            raise RuntimeError("a hiccup after an hour")

    w.supervisor._drive = drive
    w.supervisor.offer(build("a"))
    await w.settle()
    assert len(w.started) == MOST_CRASHES + 4
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
    w.errors["a"] = [RuntimeError("a mistake")] * MOST_CRASHES
    w.kube.builds["a"] = build("a", version=2)
    w.supervisor.offer(build("a"))
    await w.settle()
    problem = w.started[-1].invalid
    assert len(w.started) == MOST_CRASHES + 1
    assert isinstance(problem, InternalError)
    assert problem.reason is Reason.INTERNAL


async def test_an_api_server_that_is_away_is_not_our_mistake(world: Any) -> None:
    w = world()
    w.errors["a"] = [TransientError("the API server is away") for _ in range(MOST_CRASHES + 3)]
    w.kube.builds["a"] = build("a", version=2)
    w.supervisor.offer(build("a"))
    await w.settle()
    assert len(w.started) == MOST_CRASHES + 4
    assert w.started[-1].invalid is None


async def test_a_build_that_is_another_s_is_let_go(world: Any) -> None:
    w = world()
    w.errors["a"] = [GoneError("another operator leads")]
    w.supervisor.offer(build("a"))
    assert await w.settle() == ["a"]
    assert len(w.supervisor._active) == 0
    assert w.clock.slept == []


@pytest.mark.parametrize(("error", "loud"), [(GoneError, False), (TakenOver, True)])
async def test_a_build_that_was_deleted_is_not_a_warning_and_a_second_operator_is(
    world: Any, caplog: pytest.LogCaptureFixture, error: type[SentinelError], loud: bool
) -> None:
    """A write that finds the Build deleted may come before the watch says so."""
    caplog.set_level(logging.INFO)
    w = world()
    w.errors["a"] = [error("Build ns/a is gone")]
    w.supervisor.offer(build("a"))
    await w.settle()
    assert "ns/a is gone" in caplog.text
    assert any(each.levelno >= logging.WARNING for each in caplog.records) is loud


async def test_a_build_that_is_gone_before_it_is_shown_as_queued_is_not_a_warning(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    w = world(limit=1)

    async def queue(run: Run) -> None:
        raise GoneError("Build ns/b is gone")

    w.supervisor._queue = queue
    w.supervisor.offer(build("a"))
    w.supervisor.offer(build("b"))
    await w.settle()
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_an_api_server_that_does_not_know_our_roles_yet_is_not_our_mistake(
    world: Any,
) -> None:
    w = world()
    w.errors["a"] = [Forbidden("pods is forbidden", status=403)] * MOST_REFUSALS
    w.kube.builds["a"] = build("a", version=2)
    w.supervisor.offer(build("a"))
    await w.settle()
    assert len(w.started) == MOST_REFUSALS + 1
    assert w.started[-1].invalid is None
    assert w.started[-1].writer.status.crashes is None


async def test_a_right_that_stays_missing_ends_the_build_and_says_which(world: Any) -> None:
    w = world()
    w.errors["a"] = [Forbidden("pods is forbidden", status=403)] * (MOST_REFUSALS + MOST_CRASHES)
    w.kube.builds["a"] = build("a", version=2)
    w.supervisor.offer(build("a"))
    for _ in range(3):
        await w.settle()
    problem = w.started[-1].invalid
    assert isinstance(problem, InternalError)
    assert "pods is forbidden" in problem.message


async def test_a_build_that_a_newer_operator_planned_frees_its_slot_until_it_is_offered_again(
    world: Any,
) -> None:
    w = world(limit=1)
    w.errors["a"] = [NewerPlan("the plan has version 99")]
    w.supervisor.offer(build("a"))
    w.supervisor.offer(build("b"))
    assert await w.settle() == ["a", "b"]
    assert w.clock.slept == []
    w.started[-1].may_end.set()
    w.supervisor.offer(build("a", version=2))
    assert await w.settle() == ["a", "b", "a"]


async def test_a_deleted_build_s_task_ends(world: Any) -> None:
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    w.supervisor.gone(build("a", version=2))
    await w.settle()
    assert len(w.supervisor._active) == 0


async def test_a_build_that_left_the_watch_because_it_finished_is_not_disturbed(world: Any) -> None:
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    done = build("a", version=2)
    done["metadata"]["labels"] = {FINISHED_LABEL: "true"}
    w.supervisor.gone(done)
    await w.settle()
    assert len(w.supervisor._active) == 1


async def test_a_build_with_five_crashes_in_its_status_ends_across_restarts(world: Any) -> None:
    """Each of these operators is a process of its own: what was counted stands in the Build."""
    raw = build("a")
    for crashes in range(1, MOST_CRASHES + 1):
        w = world()
        w.errors["a"] = [RuntimeError("a mistake"), GoneError("the process ends")]
        w.supervisor.offer(raw)
        await w.settle()
        assert w.started[0].invalid is None
        raw = w.kube.builds["a"]
        assert raw["status"]["crashes"] == crashes
    w = world()
    w.supervisor.offer(raw)
    await w.settle()
    problem = w.started[0].invalid
    assert isinstance(problem, InternalError)
    assert problem.reason is Reason.INTERNAL
    assert "crashed 5 times" in problem.message


async def test_an_error_s_text_that_is_not_ours_stays_out_of_the_status(world: Any) -> None:
    w = world()
    w.errors["a"] = [ValueError("invalid literal: 's3cret'")] * MOST_CRASHES
    w.supervisor.offer(build("a"))
    await w.settle()
    message = w.started[-1].invalid.message
    assert "ValueError" in message
    assert "s3cret" not in message


async def test_one_namespace_gets_its_share_of_the_slots(world: Any) -> None:
    w = world(limit=4, namespace_share=0.5)
    for n in range(6):
        w.supervisor.offer(build(f"a{n}", namespace="a"))
    assert await w.settle() == ["a0", "a1"]
    w.supervisor.offer(build("b0", namespace="b"))
    assert await w.settle() == ["a0", "a1", "b0"]
    w.started[0].may_end.set()
    assert await w.settle() == ["a0", "a1", "b0", "a2"]


async def test_a_single_watched_namespace_gets_all_slots(world: Any) -> None:
    w = world(limit=4, namespace_share=0.5, namespaces=["a"])
    for n in range(6):
        w.supervisor.offer(build(f"a{n}", namespace="a"))
    assert await w.settle() == ["a0", "a1", "a2", "a3"]


async def test_builds_that_wait_for_a_node_hold_no_slot(world: Any) -> None:
    w = world(limit=2)
    for n in range(4):
        w.supervisor.offer(build(f"a{n}"))
    assert await w.settle() == ["a0", "a1"]
    for run in w.started:
        run.park(True)
    assert await w.settle() == ["a0", "a1", "a2", "a3"]
    w.started[0].park(False)
    w.supervisor.offer(build("b", namespace="b"))
    w.started[2].may_end.set()
    # One is driven again, one still is: no slot is left.
    assert await w.settle() == ["a0", "a1", "a2", "a3"]
    w.started[3].may_end.set()
    assert await w.settle() == ["a0", "a1", "a2", "a3", "b"]


async def test_two_hundred_builds_that_wait_for_a_node_stop_no_other_build(world: Any) -> None:
    w = world(limit=10, namespace_share=0.5)
    seen = 0
    for n in range(200):
        w.supervisor.offer(build(f"a{n}", namespace="a"))
    while len(await w.settle()) > seen:
        for run in w.started[seen:]:
            run.park(True)
        seen = len(w.started)
    # What waits is limited too, and more than that holds the namespace's own slots only.
    assert seen == 2 * 5 + 5
    w.supervisor.offer(build("b", namespace="b"))
    assert (await w.settle())[-1] == "b"


async def test_a_cancelled_build_ends_without_waiting_for_its_turn(world: Any) -> None:
    w = world(limit=1)
    for name in ("a", "b", "c"):
        w.supervisor.offer(build(name))
    await w.settle()
    w.supervisor.offer(build("c", version=2, cancel=True))
    assert await w.settle() == ["a", "c"]
    assert w.started[1].cancelled.is_set()


async def test_a_deleted_build_leaves_the_queue(world: Any) -> None:
    w = world(limit=1)
    for name in ("a", "b", "c"):
        w.supervisor.offer(build(name))
    await w.settle()
    w.supervisor.gone(build("b", version=2))
    w.started[0].may_end.set()
    assert await w.settle() == ["a", "c"]


async def test_what_a_deleted_build_made_goes_although_it_has_no_owner_any_more(world: Any) -> None:
    """`kubectl delete --cascade=orphan` takes the owner references off."""
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    last = {**build("a", version=3), "status": {"startTime": "x", "pod": {"attempt": 2}}}
    w.supervisor.gone(last)
    await w.settle()
    assert len(w.supervisor._active) == 0
    assert w.kube.deleted == [
        ("secrets", "a-uidnsa-pull"),
        ("secrets", "a-uidnsa-2-cache"),
        ("secrets", "a-uidnsa-2-outputs"),
        ("pods", "a-uidnsa-2"),
        ("configmaps", "a-uidnsa-2-steps"),
        ("imagecommits", "a-uidnsa-2-end"),
    ]


async def test_a_finished_build_that_leaves_the_watch_keeps_what_it_made(world: Any) -> None:
    """The API server sends it as it was before it had the label that takes it out of the watch."""
    w = world()
    w.supervisor.offer(build("a"))
    await w.settle()
    ended = {"conditions": [{"type": "Finished", "status": "True"}], "pod": {"attempt": 1}}
    w.supervisor.gone({**build("a", version=3), "status": {"startTime": "x", **ended}})
    await w.settle()
    assert len(w.supervisor._active) == 1
    assert w.kube.deleted == []


async def test_a_build_that_is_still_there_keeps_what_it_made(world: Any) -> None:
    """Somebody labelled it as finished who is not the operator."""
    w = world()
    w.kube.builds["a"] = build("a", version=4)
    w.supervisor.offer(build("a"))
    await w.settle()
    w.supervisor.gone(
        {**build("a", version=3), "status": {"startTime": "x", "pod": {"attempt": 1}}}
    )
    await w.settle()
    assert w.kube.deleted == []
