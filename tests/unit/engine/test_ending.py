"""A box that ends under a build: the pod is asked why before anything is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.unit.engine.world import UID, Box, Heard, Server, plan, run_of, status_of

from sentinel.engine import ending
from sentinel.engine import pod as pod_stage
from sentinel.engine.build import run_build
from sentinel.plan.model import Plan
from sentinel.plan.names import AttemptId

NAME = AttemptId("ns", "b", UID, 1).pod
LIMIT = "Pod ephemeral local storage usage exceeds the total limit of containers 64Mi. "
TERM = {"terminated": {"exitCode": 143, "reason": "Error", "message": "--- sentinel step=1"}}
OVER = {"phase": "Failed", "containerStatuses": [{"name": "box", "state": TERM}]}
FULL = {**OVER, "reason": "Evicted", "message": LIMIT}
PRESSURE = {**OVER, "reason": "Evicted", "message": "The node was low on resource: memory. "}
DRAINED = {
    "phase": "Running",
    "conditions": [
        {"type": "Initialized", "status": "True"},
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        },
    ],
    "containerStatuses": [{"name": "box", "state": {"running": {}}}],
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (
        ("LOOK_EVERY", 0.01),
        ("SETTLED_WITHIN", 0.5),
        ("REPORTED_WITHIN", 0.5),
        ("GRACE_MORE", 0.2),
    ):
        monkeypatch.setattr(ending, name, seconds)
    monkeypatch.setattr(pod_stage, "LOOK_EVERY", 0.01)


def with_after() -> Plan:
    """A main step and an after-step."""
    made = plan("one", "tell")
    return replace(made, steps=(made.steps[0], replace(made.steps[1], phase="after")))


class Ending(Box):
    """A box that gets TERM when its main steps start; `after` sees that it has closed."""

    def answer(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        if message["type"] in ("start", "close") and self.closed:
            self.heard.append(message["type"])
            text = 'step "tell-2" came after close'
            return [{"type": "error", "id": message["id"], "code": "Closed", "text": text}]
        return super().answer(message)

    @property
    def closed(self) -> bool:
        return any(record["kind"] == "closed" for record in self.records)

    def terminate(self, *, running: bool = True) -> None:
        """What boxkit writes when it gets TERM."""
        if running:
            self.run_all(reason="BoxTerminated")
        self.record("closed", pending=[], reason="Terminated")


def show(server: Server, status: dict[str, Any], **metadata: Any) -> None:
    """The kubelet or the API server writes the pod's status."""
    pod = server.pods[NAME]
    version = str(int(pod["metadata"]["resourceVersion"]) + 1)
    meta = {**pod["metadata"], "resourceVersion": version, **metadata}
    server.pods[NAME] = {**pod, "metadata": meta, "status": status}


def started(on_start: Callable[[Server, Ending], None], **spec: Any) -> tuple[Server, Ending, Any]:
    """A build whose box has just been opened, and what happens when its steps start."""
    server = Server(status_of(ready=True, begun=True))
    box = Ending(opened=True, on_start=lambda box: on_start(server, cast(Ending, box)))
    box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
    server.add_pod(with_after(), box=box)
    return server, box, run_of(server, **spec)


def end_of(server: Server) -> tuple[str, str, str]:
    status = server.build["status"]
    end = next(c for c in status["conditions"] if c["type"] == "Succeeded")
    return status["phase"], end["reason"], end.get("message", "")


def states(server: Server) -> list[tuple[str, str]]:
    return [(s["state"], s.get("reason", "")) for s in server.build["status"]["steps"]]


RETRY = {"infrastructure": 1, "afterStart": True}


@pytest.mark.parametrize("retries", [{}, RETRY])
async def test_a_limit_of_its_own_fails_the_build_and_is_not_tried_again(
    retries: dict[str, Any],
) -> None:
    def term(server: Server, box: Ending) -> None:
        show(server, FULL)
        box.terminate()

    server, box, run = started(term, retries=retries)
    await run_build(run)
    phase, reason, message = end_of(server)
    assert (phase, reason) == ("Failed", "StorageLimitExceeded")
    assert "exceeds the total limit of containers 64Mi. Raise spec.pod.box.resources" in message
    assert states(server) == [("Failed", "StorageLimitExceeded"), ("Skipped", "Skipped")]
    assert cast(Heard, run.report).lost == []
    assert box.heard.count("start") == 1
    assert server.created == []


async def test_kill_1_is_the_box_s_own_end_after_steps_or_not() -> None:
    def term(server: Server, box: Ending) -> None:
        show(server, OVER)
        box.terminate()

    server, box, run = started(term)
    await run_build(run)
    phase, reason, message = end_of(server)
    assert (phase, reason) == ("Errored", "BoxTerminated")
    assert "kill 1" in message and "--- sentinel" not in message
    assert box.heard.count("start") == 1


@pytest.mark.parametrize("retries", [{}, RETRY])
async def test_what_the_pod_says_a_moment_later_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, retries: dict[str, Any]
) -> None:
    monkeypatch.setattr(ending, "SETTLED_WITHIN", 100.0)

    async def later(server: Server) -> None:
        show(server, {**OVER, "phase": "Running"})
        await asyncio.sleep(0.1)
        show(server, PRESSURE)

    tasks = []

    def term(server: Server, box: Ending) -> None:
        box.terminate()
        tasks.append(asyncio.ensure_future(later(server)))

    server, _, run = started(term, retries=retries)
    server.boxes[AttemptId("ns", "b", UID, 2).pod] = Box()
    await run_build(run)
    assert cast(Heard, run.report).lost == [(1, "PodEvicted", bool(retries))]
    if retries:
        assert end_of(server)[:2] == ("Succeeded", "Passed")
        return
    phase, reason, message = end_of(server)
    assert (phase, reason) == ("Errored", "PodEvicted")
    assert message.endswith("was evicted: Evicted: The node was low on resource: memory")


async def test_a_drained_box_has_its_grace_and_the_condition_explains_it() -> None:
    async def obeys(box: Ending) -> None:
        await asyncio.sleep(0.1)
        box.run_all(reason="BoxTerminated")
        box.record("closed", pending=[], reason="Terminated")

    tasks = []

    def drain(server: Server, box: Ending) -> None:
        show(
            server,
            DRAINED,
            deletionTimestamp="2026-11-23T09:00:30Z",
            deletionGracePeriodSeconds=30,
        )
        run.tools.pods.offer(server.pods[NAME])
        tasks.append(asyncio.ensure_future(obeys(box)))

    server, box, run = started(drain)
    await run_build(run)
    phase, reason, message = end_of(server)
    assert (phase, reason) == ("Errored", "PodEvicted")
    assert message == f"pod {NAME} was evicted: EvictionByEvictionAPI: Eviction API: evicting"
    # It was waited for: the step's end is the journal's, not ours.
    assert box.closed
    assert states(server)[0] == ("Failed", "PodEvicted")


async def test_a_box_that_ends_before_its_first_step_is_not_a_deleted_build() -> None:
    server = Server(status_of(ready=True, begun=False))
    box = Ending(opened=True)
    box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
    box.terminate(running=False)
    server.add_pod(with_after(), box=box)
    show(server, PRESSURE)
    run = run_of(server)
    await run_build(run)
    # No step can have run: another pod did it.
    assert cast(Heard, run.report).lost == [(1, "PodEvicted", True)]
    assert end_of(server)[:2] == ("Succeeded", "Passed")


async def test_a_pod_that_never_says_why_ends_the_build_all_the_same() -> None:
    server, _, run = started(lambda server, box: box.terminate())
    await run_build(run)
    phase, reason, message = end_of(server)
    assert (phase, reason) == ("Errored", "BoxTerminated")
    assert "does not say why" in message


@pytest.mark.parametrize(
    ("reason", "end"), [("Passed", ("Succeeded", "Passed")), ("ExitCode", ("Failed", "ExitCode"))]
)
async def test_a_result_stands_when_the_box_ends_under_its_after_steps(
    reason: str, end: tuple[str, str]
) -> None:
    def steps(server: Server, box: Ending) -> None:
        if len(box.queued) == 1:
            box.run_all(reason=reason)
            return
        box.record("started", ordinal=2)
        show(server, PRESSURE)
        run.tools.pods.offer(server.pods[NAME])

    server, _, run = started(steps, retries=RETRY)
    await run_build(run)
    assert end_of(server)[:2] == end
    assert states(server) == [
        ("Passed" if reason == "Passed" else "Failed", reason),
        ("Failed", "PodEvicted"),
    ]
    assert cast(Heard, run.report).lost == []
