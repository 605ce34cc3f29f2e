"""A new operator finds a Build in its middle: what it makes of pod, journal and status, and of nothing else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.unit.clocks import Hasty
from tests.unit.engine.world import (
    UID,
    Box,
    Heard,
    Server,
    attempt_of,
    plan,
    run_of,
    status_of,
)

from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.engine import build as engine
from sentinel.engine.attempt import Attempt
from sentinel.engine.build import run_build
from sentinel.engine.run import Run
from sentinel.errors import Conflict, GoneError, NewerPlan
from sentinel.kube.errors import NotFound, Unavailable
from sentinel.kube.resources import Resource
from sentinel.plan.model import VERSION
from sentinel.plan.names import FINISHED_LABEL, AttemptId


def phase(server: Server) -> tuple[str, str]:
    """(phase, reason of Succeeded)."""
    status = server.build["status"]
    reason = next(c["reason"] for c in status["conditions"] if c["type"] == "Succeeded")
    return status["phase"], reason


def lost(run: Run) -> list[tuple[int, str, bool]]:
    return cast(Heard, run.report).lost


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The attempts that were prepared again, from git and registry."""
    attempts: list[int] = []

    async def prepare(run: Run, number: int) -> Attempt:
        attempts.append(number)
        made = attempt_of(run, plan(attempt=number))
        run.writer.condition(ConditionType.ACCEPTED, "True", Reason.VALID)
        run.writer.begin_attempt(made.plan)
        return made

    monkeypatch.setattr(engine, "prepare", prepare)
    return attempts


async def test_a_running_attempt_is_driven_to_its_end_by_its_pod_s_plan(
    prepared: list[int],
) -> None:
    server = Server(status_of(ready=True, begun=True))
    box = Box(opened=True)
    box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
    server.add_pod(plan("from the pod"), box=box)
    await run_build(run_of(server))
    assert phase(server) == ("Succeeded", "Passed")
    assert [s["displayName"] for s in server.build["status"]["steps"]] == ["from the pod"]
    assert prepared == []
    assert server.created == []
    assert box.heard == ["hello", "start", "close"]


async def test_that_steps_may_start_is_written_before_the_box_is_asked(prepared: list[int]) -> None:
    server = Server()
    name = AttemptId("ns", "b", UID, 1).pod
    seen: list[tuple[str, str]] = []

    def start(box: Box) -> None:
        seen.append(phase(server))
        box.run_all()

    server.boxes[name] = Box(on_start=start)
    await run_build(run_of(server))
    assert seen == [("Starting", "Running")]
    assert phase(server) == ("Succeeded", "Passed")


async def test_a_pod_older_than_its_pending_timeout_is_followed(prepared: list[int]) -> None:
    server = Server(status_of(ready=True, begun=True))
    box = Box(opened=True)
    box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
    server.add_pod(plan(), age=10 * 3600, box=box)
    await run_build(run_of(server))
    assert phase(server) == ("Succeeded", "Passed")


async def test_a_pod_that_vanished_before_any_step_is_replaced(prepared: list[int]) -> None:
    server = Server(status_of(ready=True))
    run = run_of(server)
    await run_build(run)
    assert lost(run) == [(1, "PodDeleted", True)]
    assert prepared == [2]
    assert server.created == [("pods", AttemptId("ns", "b", UID, 2).pod)]
    assert phase(server) == ("Succeeded", "Passed")
    assert server.build["status"]["pod"]["attempt"] == 2


class Vanishing(Server):
    """The attempt's pod is deleted while it is read, and the watch is faster than the answer."""

    run: Run

    async def get(
        self, resource: Resource, *, name: str, namespace: str | None = None
    ) -> dict[str, Any]:
        raw = await super().get(resource, name=name, namespace=namespace)
        if name in self.pods and name.endswith("-1"):
            self.run.tools.pods.offer(self.pods.pop(name), deleted=True)
        return raw

    async def delete(self, resource: Resource, *, name: str, **_: Any) -> None:
        with suppress(NotFound):
            await super().delete(resource, name=name)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_pod_that_vanishes_while_it_is_read_is_lost_and_not_made_again(
    prepared: list[int], begun: bool
) -> None:
    server = Vanishing(status_of(ready=True, begun=begun))
    server.add_pod(plan())
    server.run = run_of(server)
    await run_build(server.run)
    assert lost(server.run) == [(1, "PodDeleted", not begun)]
    second = AttemptId("ns", "b", UID, 2).pod
    assert server.created == ([] if begun else [("pods", second)])
    assert phase(server) == (("Errored", "PodDeleted") if begun else ("Succeeded", "Passed"))


class Cutting(Server):
    """The first three writes of a status that says how the build ends get no answer."""

    cuts = 3

    async def replace(
        self, resource: Resource, body: dict[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        ends = [c for c in body["status"]["conditions"] if c["type"] == "Succeeded"]
        if self.cuts and ends[0]["status"] == "False":
            self.cuts -= 1
            raise Unavailable("the connection was cut")
        return await super().replace(resource, body, subresource=subresource)


async def test_why_a_build_ended_is_written_again_where_the_answer_was_lost(
    prepared: list[int],
) -> None:
    """A second look at the pod could find that it is gone, and not that it was evicted."""
    server = Cutting(status_of(ready=True, begun=True))
    name = server.add_pod(plan())
    evicted = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    status = server.pods[name]["status"]
    server.pods[name]["status"] = {**status, "conditions": [*status["conditions"], evicted]}
    server.boxes[name].open_for()
    server.boxes[name].record("closed", pending=[], reason="Stopped")
    await run_build(run_of(server))
    assert server.cuts == 0
    assert phase(server) == ("Errored", "PodEvicted")


async def test_a_pod_that_vanished_after_steps_may_have_begun_is_not(prepared: list[int]) -> None:
    server = Server(status_of(ready=True, begun=True))
    run = run_of(server)
    await run_build(run)
    assert lost(run) == [(1, "PodDeleted", False)]
    assert server.created == []
    assert phase(server) == ("Errored", "PodDeleted")


async def test_it_is_where_the_build_allows_steps_to_run_twice(prepared: list[int]) -> None:
    server = Server(status_of(ready=True, begun=True))
    run = run_of(server, retries={"infrastructure": 1, "afterStart": True})
    await run_build(run)
    assert lost(run) == [(1, "PodDeleted", True)]
    assert phase(server) == ("Succeeded", "Passed")
    assert server.build["status"]["pod"]["attempt"] == 2


async def test_an_attempt_whose_pod_was_never_made_is_made_under_its_number(
    prepared: list[int],
) -> None:
    server = Server(status_of(pod=False))
    run = run_of(server)
    await run_build(run)
    assert lost(run) == []
    assert prepared == [1]
    assert server.build["status"]["pod"]["attempt"] == 1


async def test_nothing_of_a_lost_attempt_is_shown_of_the_next(prepared: list[int]) -> None:
    old = status_of(ready=True, begun=True)
    old["steps"] = [
        {"id": "one-1", "name": "script", "state": "Running", "startTime": "2026-11-23T09:00:00Z"}
    ]
    server = Server(old)
    name = AttemptId("ns", "b", UID, 2).pod
    seen: list[Any] = []

    def start(box: Box) -> None:
        status = server.build["status"]
        ready = next(c for c in status["conditions"] if c["type"] == "PodReady")
        seen.append((ready["status"], [s["state"] for s in status["steps"]]))
        box.run_all()

    server.boxes[name] = Box(on_start=start)
    await run_build(run_of(server, retries={"infrastructure": 1, "afterStart": True}))
    assert seen == [("True", ["Pending", "Pending"])]


async def test_a_cancel_without_an_operator_reaches_the_box_later(
    prepared: list[int],
) -> None:
    server = Server(status_of(ready=True, begun=True))
    box = Box(opened=True, on_start=lambda _: None)
    box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
    server.add_pod(plan(), box=box)
    run = run_of(server)
    run.cancelled.set()
    async with asyncio.timeout(150):
        await run_build(run)
    assert box.heard == ["hello", "start", "cancel", "close"]
    assert phase(server) == ("Cancelled", "Cancelled")


async def test_a_pod_that_goes_after_the_result_does_not_change_it(prepared: list[int]) -> None:
    server = Server()
    name = AttemptId("ns", "b", UID, 1).pod

    class Dying(Box):
        def answer(self, message: dict[str, Any]) -> list[dict[str, Any]]:
            if message["type"] == "close":
                return [{"type": "error", "id": message["id"], "code": "Closed", "text": "gone"}]
            return super().answer(message)

    server.boxes[name] = Dying()
    run = run_of(server)
    await run_build(run)
    assert phase(server) == ("Succeeded", "Passed")
    assert lost(run) == []
    # Nobody knows that the box has ended: its pod stays for its logs, and is stopped.
    metadata = {"uid": f"uid-{name}", "labels": {FINISHED_LABEL: "true"}}
    assert (
        "pods",
        name,
        {"metadata": metadata, "spec": {"activeDeadlineSeconds": 1}},
    ) in server.patched


async def test_steps_of_a_lost_build_do_not_run_forever_in_its_status(prepared: list[int]) -> None:
    old = status_of(ready=True, begun=True)
    old["steps"] = [
        {"id": "one-1", "name": "script", "state": "Running", "startTime": "2026-11-23T09:00:00Z"},
        {"id": "two-2", "name": "script"},
    ]
    server = Server(old)
    await run_build(run_of(server))
    assert [(s["state"], s["reason"]) for s in server.build["status"]["steps"]] == [
        ("Failed", "PodDeleted"),
        ("Skipped", "Skipped"),
    ]


async def test_a_pod_that_another_operator_made_is_driven_by_its_plan(prepared: list[int]) -> None:
    server = Server(status_of(pod=False))
    run = run_of(server)
    other = plan("another commit's step")
    create = server.create

    async def late(*arguments: Any, **more: Any) -> dict[str, Any]:
        server.add_pod(other)
        return await create(*arguments, **more)

    server.create = late  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="made by another operator"):
        await run_build(run)
    await run_build(run_of(server))
    assert [s["displayName"] for s in server.build["status"]["steps"]] == ["another commit's step"]


@pytest.mark.parametrize(("finished", "error"), [(True, GoneError), (False, Conflict)])
async def test_another_operator_s_end_stands(
    prepared: list[int], finished: bool, error: type[Exception]
) -> None:
    server = Server(status_of(ready=True, begun=True))
    box = Box(opened=True, on_start=lambda _: None)
    box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
    name = server.add_pod(plan(), box=box)
    run = run_of(server, clock=Hasty())
    task = asyncio.create_task(run_build(run))
    async with asyncio.timeout(150):
        while "start" not in box.heard:
            await asyncio.sleep(0.01)
    theirs = status_of(ready=True, begun=True)
    end = [c for c in theirs["conditions"] if c["type"] != "Succeeded"]
    end.append({"type": "Succeeded", "status": "True", "reason": "Passed"})
    if finished:
        end.append({"type": "Finished", "status": "True", "reason": "Completed"})
    server.write({**theirs, "conditions": end, "phase": "Succeeded"})
    run.tools.pods.offer(server.pods.pop(name), deleted=True)
    with pytest.raises(error):
        async with asyncio.timeout(150):
            await task
    assert server.build["status"]["phase"] == "Succeeded"


def succeeded(server: Server) -> dict[str, Any]:
    conditions = server.build["status"]["conditions"]
    found: dict[str, Any] = next(c for c in conditions if c["type"] == "Succeeded")
    return found


@pytest.mark.parametrize("begun", [False, True])
async def test_the_pod_of_a_newer_operator_is_left_alone_and_the_status_shows_it(
    prepared: list[int], begun: bool
) -> None:
    server = Server(status_of(ready=True, begun=begun))
    newer = plan("one")
    server.add_pod(replace(newer, version=VERSION + 1))
    run = run_of(server)
    with pytest.raises(NewerPlan):
        await run_build(run)
    assert (server.patched, server.deleted, server.created) == ([], [], [])
    said = succeeded(server)
    assert (said["status"], said["reason"]) == ("Unknown", "Running" if begun else "Pending")
    assert f"version {VERSION + 1}, this operator reads up to {VERSION}" in said["message"]
    assert run_of(server).writer.begun is begun
    # Another look changes nothing: no writes that would offer it again and again.
    version = server.build["metadata"]["resourceVersion"]
    with pytest.raises(NewerPlan):
        await run_build(run_of(server))
    assert server.build["metadata"]["resourceVersion"] == version


async def test_a_decided_build_of_a_newer_operator_keeps_its_pod(prepared: list[int]) -> None:
    old = status_of(ready=True, begun=True)
    old["conditions"][1] |= {"status": "True", "reason": "Passed"}
    server = Server(old)
    server.add_pod(replace(plan("one"), version=VERSION + 1))
    with pytest.raises(NewerPlan):
        await run_build(run_of(server))
    assert (server.patched, server.deleted) == ([], [])


async def test_what_an_older_operator_wrote_is_corrected(prepared: list[int]) -> None:
    old = status_of(ready=True, begun=True)
    old["conditions"][1]["message"] = "not followed: upgrade the operator"
    server = Server(old)
    box = Box(opened=True, on_start=lambda box: None)
    box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
    server.add_pod(plan("one"), box=box)
    task = asyncio.create_task(run_build(run_of(server)))
    async with asyncio.timeout(150):
        while "message" in succeeded(server) or not box.queued:
            await asyncio.sleep(0.01)
        box.run_all()
        await task
    assert phase(server) == ("Succeeded", "Passed")


async def test_a_result_with_a_reason_of_another_release_is_kept_as_it_is(
    prepared: list[int],
) -> None:
    old = status_of(begun=True, pod=False)
    old["conditions"][1] |= {"status": "False", "reason": "FromTheFuture", "message": "why"}
    server = Server(old)
    await run_build(run_of(server))
    assert phase(server) == ("Errored", "FromTheFuture")


async def test_a_step_with_a_reason_of_another_release_fails_the_build(prepared: list[int]) -> None:
    server = Server()
    name = AttemptId("ns", "b", UID, 1).pod
    server.boxes[name] = Box(on_start=lambda box: box.run_all(reason="FromTheFuture"))
    await run_build(run_of(server))
    assert phase(server) == ("Errored", "FromTheFuture")


@pytest.mark.parametrize(
    ("retries", "end", "lost_attempts"),
    [
        ({}, ("Errored", "BoxTerminated"), [(1, "BoxTerminated", False)]),
        (
            {"infrastructure": 1, "afterStart": True},
            ("Succeeded", "Passed"),
            [(1, "BoxTerminated", True)],
        ),
    ],
)
async def test_begun_steps_never_run_again_in_a_box_that_knows_nothing_of_them(
    prepared: list[int],
    retries: dict[str, Any],
    end: tuple[str, str],
    lost_attempts: list[tuple[int, str, bool]],
) -> None:
    """etcd was restored, or a node was replaced under its name: the pod's containers are not the old ones."""
    server = Server(status_of(ready=True, begun=True))
    fresh = Box()
    server.add_pod(plan("one"), box=fresh)
    run = run_of(server, retries=retries)
    await run_build(run)
    assert "open" not in fresh.heard and "start" not in fresh.heard
    assert phase(server) == end
    assert lost(run) == lost_attempts
