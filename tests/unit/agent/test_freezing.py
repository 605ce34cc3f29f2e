"""How a box is frozen: one contract for all runtimes, each over its own protocol with a fake server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import grpc
import pytest
from tests.unit.agent import test_containerd, test_docker
from tests.unit.agent.fake_containerd import FakeContainerd, short
from tests.unit.agent.fake_docker import FakeDocker
from tests.unit.clocks import Hasty

from sentinel.agent.failures import CommitFailure, RuntimeFailure
from sentinel.agent.runtimes.base import Box, Identity, Runtime
from sentinel.agent.runtimes.freezing import Note, State, frozen
from sentinel.api.reasons import CommitReason

ID = short("box")
STATES = ("running", "paused", "stopped", "gone")
NOTE = {"sentinel.wercker.com/commit": "c1", "sentinel.wercker.com/container": ID}


class Node(Protocol):
    """A runtime's fake: the state of its one container, and the notes in it."""

    runtime: Runtime
    identity: Identity

    @property
    def state(self) -> str: ...

    @property
    def notes(self) -> Mapping[str, dict[str, str]]: ...

    @property
    def fake(self) -> FakeContainerd | FakeDocker: ...

    def fail(self, call: str, *, always: bool = False) -> None:
        """The next pause, resume, note or forget fails, or every one."""

    def count(self, call: str) -> int:
        """How often it was asked to pause or resume."""


@dataclass
class OnContainerd:
    runtime: Runtime
    fake: FakeContainerd
    identity: Identity
    tasks = {"running": 2, "pausing": 5, "paused": 4, "stopped": 3, "gone": None}
    names = {
        "pause": "PauseTask",
        "resume": "ResumeTask",
        "note": "CreateLease",
        "forget": "DeleteLease",
    }

    @property
    def state(self) -> str:
        return next(name for name, task in self.tasks.items() if task == self.fake.task)

    @property
    def notes(self) -> Mapping[str, dict[str, str]]:
        shown = NOTE.keys()
        return {
            name: {key: value for key, value in labels.items() if key in shown}
            for name, labels in self.fake.leases.items()
        }

    def fail(self, call: str, *, always: bool = False) -> None:
        failures = self.fake.failing if always else self.fake.failures
        failures[self.names[call]] = grpc.StatusCode.UNAVAILABLE

    def count(self, call: str) -> int:
        return self.fake.calls.count(self.names[call])


@dataclass
class OnDocker:
    runtime: Runtime
    fake: FakeDocker
    identity: Identity
    statuses = {"running": "running", "paused": "paused", "stopped": "exited", "gone": None}
    names = {
        "pause": "pause",
        "resume": "unpause",
        "note": "create_volume",
        "forget": "remove_volume",
    }

    @property
    def state(self) -> str:
        return next(name for name, status in self.statuses.items() if status == self.fake.status)

    @property
    def notes(self) -> Mapping[str, dict[str, str]]:
        return self.fake.volumes

    def fail(self, call: str, *, always: bool = False) -> None:
        failures = self.fake.failing if always else self.fake.failures
        failures[self.names[call]] = 500

    def count(self, call: str) -> int:
        return self.fake.calls.count(self.names[call])


@asynccontextmanager
async def on_containerd(state: str, notes: dict[str, Any]) -> AsyncIterator[Node]:
    fake = FakeContainerd(
        labels=test_containerd.LABELS, task=OnContainerd.tasks[state], leases=notes
    )
    async with test_containerd.runtime(fake, clock=Hasty()) as runtime:
        yield OnContainerd(runtime, fake, test_containerd.identity())


@asynccontextmanager
async def on_docker(state: str, notes: dict[str, Any]) -> AsyncIterator[Node]:
    fake = FakeDocker(labels=test_docker.LABELS, status=OnDocker.statuses[state], volumes=notes)
    async with test_docker.runtime(fake, clock=Hasty()) as runtime:
        yield OnDocker(runtime, fake, test_docker.identity())


@pytest.fixture(params=[on_containerd, on_docker], ids=["containerd", "docker"])
def opened(request: pytest.FixtureRequest) -> Any:
    """`opened(state, notes)`: a node with a container in that state."""

    def make(state: str = "running", notes: dict[str, Any] | None = None) -> Any:
        return request.param(state, {} if notes is None else notes)

    return make


def box(node: Node) -> Box:
    """The node's box; `locate` would not find one that is gone."""
    return Box(id=ID, image="sha256:" + "5" * 64, upper=Path("/nowhere"))


async def test_a_freeze_is_noted_before_and_forgotten_after(opened: Any) -> None:
    async with opened() as node:
        found = await node.runtime.locate(node.identity)
        async with node.runtime.frozen(found, commit="c1") as freeze:
            assert (node.state, dict(node.notes)) == ("paused", {"sentinel-c1": NOTE})
        assert (node.state, dict(node.notes)) == ("running", {})
    assert freeze.seconds > 0


@pytest.mark.parametrize("state", ["gone", "stopped", "paused"])
async def test_only_a_running_box_is_paused_and_resumed(opened: Any, state: str) -> None:
    async with opened(state) as node:
        async with node.runtime.frozen(box(node), commit="c1"):
            pass
        assert (node.count("pause"), node.count("resume")) == (0, 0)
        assert (node.state, dict(node.notes)) == (state, {})


async def test_a_box_is_not_paused_before_that_is_noted(opened: Any) -> None:
    async with opened() as node:
        node.fail("note", always=True)
        with pytest.raises(CommitFailure):
            async with node.runtime.frozen(box(node), commit="c1"):
                pytest.fail("the block must not run")
        assert (node.state, node.count("pause")) == ("running", 0)


async def test_a_box_that_cannot_be_paused_is_not_read(opened: Any) -> None:
    async with opened() as node:
        node.fail("pause", always=True)
        with pytest.raises(CommitFailure, match=r"pausing the box failed: .*as the test wants it"):
            async with node.runtime.frozen(box(node), commit="c1"):
                pytest.fail("the block must not run")
        assert (node.state, dict(node.notes)) == ("running", {})


@pytest.mark.parametrize("call", ["note", "pause"])
async def test_what_a_busy_runtime_could_not_do_is_tried_again(opened: Any, call: str) -> None:
    """runc says "unable to freeze" where a box's processes get no processor for some milliseconds."""
    async with opened() as node:
        node.fail(call)
        async with node.runtime.frozen(box(node), commit="c1"):
            assert (node.state, dict(node.notes)) == ("paused", {"sentinel-c1": NOTE})
        assert (node.state, dict(node.notes)) == ("running", {})


async def test_a_pause_that_fails_slowly_is_not_tried_for_long() -> None:
    """With cgroups v2 runc takes ten seconds to fail, in which the box's processes stand still."""
    clock = Hasty()

    class Slow:
        tries = 0
        noted = False

        async def state(self, container: str) -> State:
            return State.RUNNING

        async def pause(self, container: str) -> None:
            self.tries += 1
            clock.elapsed += 10.0
            raise RuntimeFailure("timed out while it froze")

        async def note(self, note: Note) -> None:
            self.noted = True

        async def forget(self, key: str) -> None:
            self.noted = False

    slow = Slow()
    with pytest.raises(CommitFailure, match="timed out while it froze") as caught:
        async with frozen(cast(Any, slow), ID, commit="c1", instance="", clock=clock):
            pytest.fail("the block must not run")
    assert caught.value.why is CommitReason.RUNTIME_ERROR
    assert (slow.tries, slow.noted) == (3, False)


async def test_a_commit_that_is_cancelled_while_its_box_is_being_paused_thaws_it(
    opened: Any,
) -> None:
    async with opened() as node:
        node.fake.slow = True

        async def hold() -> None:
            async with node.runtime.frozen(box(node), commit="c1"):
                pytest.fail("the block must not run")

        task = asyncio.create_task(hold())
        await node.fake.pausing.wait()
        task.cancel()
        # The task has gone on as far as it can without an answer.
        await asyncio.wait({task}, timeout=0.1)
        node.fake.paused.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (node.state, dict(node.notes), node.count("pause")) == ("running", {}, 1)


async def test_whatever_ends_the_block_thaws_the_box(opened: Any) -> None:
    async with opened() as node:
        held = asyncio.Event()

        async def hold() -> None:
            async with node.runtime.frozen(box(node), commit="c1"):
                held.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await held.wait()
        node.fail("resume")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (node.state, dict(node.notes), node.count("resume")) == ("running", {}, 2)


async def test_a_note_that_cannot_be_deleted_fails_nothing(opened: Any) -> None:
    async with opened() as node:
        async with node.runtime.frozen(box(node), commit="c1"):
            node.fail("forget")
        assert (node.state, list(node.notes)) == ("running", ["sentinel-c1"])
        assert await node.runtime.recover() == ()
        assert dict(node.notes) == {}


@pytest.mark.parametrize("state", STATES)
async def test_what_a_dead_agent_left_frozen_is_thawed(opened: Any, state: str) -> None:
    async with opened(state, {"sentinel-c1": dict(NOTE)}) as node:
        assert await node.runtime.recover() == ((ID,) if state == "paused" else ())
        assert await node.runtime.recover() == ()
        assert dict(node.notes) == {}
        assert node.state == ("running" if state == "paused" else state)


async def test_a_box_that_another_installation_froze_is_left_alone(opened: Any) -> None:
    theirs = NOTE | {"sentinel.wercker.com/instance": "theirs"}
    async with opened("paused", {"sentinel-c1": theirs}) as node:
        assert await node.runtime.recover() == ()
        assert (node.state, list(node.notes)) == ("paused", ["sentinel-c1"])


async def test_a_box_that_cannot_be_thawed_does_not_keep_the_agent_from_starting(
    opened: Any,
) -> None:
    async with opened("paused", {"sentinel-c1": dict(NOTE)}) as node:
        node.fail("resume", always=True)
        assert await node.runtime.recover() == ()
        assert (node.state, list(node.notes)) == ("paused", ["sentinel-c1"])
