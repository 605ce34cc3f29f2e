"""The containerd runtime when containerd says what it must not, or fails at the wrong moment."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.unit.agent.fake_containerd import DIFF_ID, FakeContainerd, serving, short
from tests.unit.clocks import Hasty

from sentinel.agent.failures import CommitFailure, CommitRefused
from sentinel.agent.runtimes.base import Identity
from sentinel.agent.runtimes.containerd import ContainerdRuntime, chain_id
from sentinel.agent.runtimes.freezing import COMMIT_LABEL, CONTAINER_LABEL
from sentinel.api.reasons import CommitReason
from sentinel.clock import Clock, SystemClock
from sentinel.image.reference import parse_reference

ID = short("box")
LABELS = {
    "io.kubernetes.pod.uid": "uid-1",
    "io.kubernetes.pod.namespace": "team",
    "io.kubernetes.pod.name": "b-1",
    "io.kubernetes.container.name": "box",
    "io.cri-containerd.kind": "container",
}


def identity(container_id: str = f"containerd://{ID}") -> Identity:
    return Identity(
        namespace="team",
        pod_name="b-1",
        pod_uid="uid-1",
        container_name="box",
        container_id=container_id,
    )


@asynccontextmanager
async def runtime(
    fake: FakeContainerd, *, clock: Clock | None = None
) -> AsyncIterator[ContainerdRuntime]:
    # A socket's path may have 107 characters, fewer than pytest's folders.
    with tempfile.TemporaryDirectory(prefix="agent-") as folder:
        async with serving(fake, Path(folder) / "c.sock"):
            opened = ContainerdRuntime(
                socket=f"{folder}/c.sock", state=fake.state, clock=clock or SystemClock()
            )
            try:
                yield opened
            finally:
                await opened.close()


async def test_a_box_is_found_with_its_base_image_and_directories() -> None:
    fake = FakeContainerd(
        labels=LABELS, spec={"mounts": [{"destination": "/proc"}, {"destination": "/etc/hosts"}]}
    )
    async with runtime(fake) as containerd:
        box = await containerd.locate(identity())
    assert (box.id, box.upper, box.lowers, box.mounts) == (
        ID,
        Path("/var/lib/containerd/snapshots/7/fs"),
        (Path("/var/lib/containerd/snapshots/1/fs"),),
        frozenset({"/proc", "/etc/hosts"}),
    )
    assert box.base is not None
    assert box.image == box.base.manifest.config.digest == fake.image_ref
    assert len(box.base.manifest.layers) == 1


@pytest.mark.parametrize(
    ("state", "why", "words"),
    [
        (
            {"image_ref": "sha256:" + "9" * 64},
            CommitReason.UNSUPPORTED,
            "is not the one the node has",
        ),
        ({"image_ref": "debian:12"}, CommitReason.UNSUPPORTED, "has no ImageRef"),
        ({"parent": "sha256:other"}, CommitReason.UNSUPPORTED, "does not stand on the layers"),
        ({"mount_type": "bind"}, CommitReason.UNSUPPORTED, "overlay's upper directory"),
        ({"upper": "/etc"}, CommitReason.UNSUPPORTED, "lie at /etc, not under"),
        (
            {"upper": "/var/lib/containerd/../../etc"},
            CommitReason.UNSUPPORTED,
            "not under /var/lib/containerd",
        ),
        (
            {"spec": {"linux": {"uidMappings": [{"containerID": 0}]}}},
            CommitReason.UNSUPPORTED,
            "user namespace",
        ),
        (
            {"failures": {"GetContainer": grpc.StatusCode.NOT_FOUND}},
            CommitReason.POD_GONE,
            "has no container",
        ),
        (
            {"failures": {"GetImage": grpc.StatusCode.NOT_FOUND}},
            CommitReason.RUNTIME_ERROR,
            "NOT_FOUND: as the test wants it",
        ),
        (
            {"failures": {"Mounts": grpc.StatusCode.UNAVAILABLE}},
            CommitReason.RUNTIME_ERROR,
            "UNAVAILABLE: as the test wants it",
        ),
    ],
)
async def test_a_box_that_would_give_a_wrong_image_is_not_committed(
    state: dict[str, Any], why: CommitReason, words: str
) -> None:
    async with runtime(FakeContainerd(labels=LABELS, **state)) as containerd:
        with pytest.raises(CommitFailure, match=words) as caught:
            await containerd.locate(identity())
    assert caught.value.why is why


@pytest.mark.parametrize("label", LABELS)
async def test_every_label_must_agree(label: str) -> None:
    fake = FakeContainerd(labels=LABELS | {label: "other"})
    async with runtime(fake) as containerd:
        with pytest.raises(CommitRefused, match=f"its label {label} is 'other'"):
            await containerd.locate(identity())


async def test_a_container_of_another_runtime_is_named() -> None:
    async with runtime(FakeContainerd()) as containerd:
        with pytest.raises(CommitFailure, match="'docker://1' is not containerd's"):
            await containerd.locate(identity("docker://1"))


async def test_a_dead_agents_box_that_is_still_being_paused_is_thawed_when_it_is() -> None:
    fake = FakeContainerd(task=5, leases={"sentinel-c1": {COMMIT_LABEL: "c1", CONTAINER_LABEL: ID}})

    class Clock(Hasty):
        async def sleep(self, seconds: float) -> None:
            if len(self.slept) == 3:
                fake.task = 4
            await super().sleep(seconds)

    async with runtime(fake, clock=Clock()) as containerd:
        assert await containerd.recover() == (ID,)
    assert (fake.task, fake.leases) == (2, {})


@pytest.mark.parametrize("state", [2, 4])
async def test_a_state_that_containerd_does_not_know_is_asked_for_again(state: int) -> None:
    """On a busy node the shim does not answer in time, and containerd says UNKNOWN: the box has not ended."""
    fake = FakeContainerd(labels=LABELS, task=2)

    class Clock(Hasty):
        async def sleep(self, seconds: float) -> None:
            fake.task = state
            await super().sleep(seconds)

    async with runtime(fake, clock=Clock()) as containerd:
        box = await containerd.locate(identity())
        if state == 2:
            fake.task = 0
        async with containerd.frozen(box, commit="c1"):
            assert fake.task == 4
            # The next to be asked is whether it is paused.
            fake.task = 0 if state == 4 else 4
        assert (fake.task, fake.leases) == (2, {})


async def test_a_box_whose_pausing_does_not_end_keeps_its_note_and_not_the_agent_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake = FakeContainerd(task=5, leases={"sentinel-c1": {COMMIT_LABEL: "c1", CONTAINER_LABEL: ID}})
    async with runtime(fake, clock=Hasty()) as containerd:
        assert await containerd.recover() == ()
    assert list(fake.leases) == ["sentinel-c1"]
    assert f"container {ID} may still be paused" in caplog.text
    assert "has not finished pausing it" in caplog.text


async def test_freezing_is_not_broken_off_by_a_deadline() -> None:
    """containerd hands deadlines on, and kills the runc that freezes."""
    fake = FakeContainerd(labels=LABELS)
    async with runtime(fake) as containerd:
        box = await containerd.locate(identity())
        async with containerd.frozen(box, commit="c1"):
            pass
    # A call without a deadline has one that is years away.
    limited = {method for method, seconds in fake.deadlines.items() if seconds and seconds < 3600}
    assert fake.deadlines.keys() - limited == {"PauseTask", "ResumeTask"}


SOURCES = {
    "sha256:ours": {"containerd.io/distribution.source.registry.lab:5000": "team/a,team/box"},
    "sha256:theirs": {"containerd.io/distribution.source.registry.lab:5000": "secret/box"},
    "sha256:elsewhere": {"containerd.io/distribution.source.other.example": "team/box"},
    "sha256:imported": {"containerd.io/uncompressed": "sha256:x"},
}


async def test_a_layer_of_another_repository_is_not_read_from_the_node() -> None:
    """A tenant's manifest may name the digest of any layer that the node happens to have."""
    base = parse_reference("registry.lab:5000/team/box:1")
    async with runtime(FakeContainerd(sources=SOURCES)) as containerd:
        held = {each: await containerd.has_blob(each, base=base) for each in (*SOURCES, "none")}
        loose = [each for each in SOURCES if await containerd.has_blob(each, base=None)]
    assert [each for each, there in held.items() if there] == ["sha256:ours"]
    assert loose == ["sha256:imported"]


def test_chain_ids_are_those_of_the_image_spec() -> None:
    """The empty chain, a single layer, and sha256("a b") for two."""
    assert chain_id([]) == ""
    assert chain_id([DIFF_ID]) == DIFF_ID
    assert chain_id(["a", "b"]) == f"sha256:{short('a b')}"
