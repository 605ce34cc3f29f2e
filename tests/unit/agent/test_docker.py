"""The Docker runtime when the engine is not as it must be, or fails at the wrong moment."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agent.fake_containerd import short
from tests.unit.agent.fake_docker import IMAGE, ROOT, FakeDocker, box_layers, serving

from sentinel.agent.failures import CommitFailure, CommitRefused
from sentinel.agent.runtimes.base import Identity
from sentinel.agent.runtimes.docker import DockerRuntime
from sentinel.api.reasons import CommitReason
from sentinel.clock import Clock, SystemClock
from sentinel.image.reference import parse_reference

ID = short("box")
LABELS = {
    "io.kubernetes.pod.uid": "uid-1",
    "io.kubernetes.pod.namespace": "team",
    "io.kubernetes.pod.name": "b-1",
    "io.kubernetes.container.name": "box",
    "io.kubernetes.docker.type": "container",
}


def identity(container_id: str = f"docker://{ID}") -> Identity:
    return Identity(
        namespace="team",
        pod_name="b-1",
        pod_uid="uid-1",
        container_name="box",
        container_id=container_id,
    )


@asynccontextmanager
async def runtime(fake: FakeDocker, *, clock: Clock | None = None) -> AsyncIterator[DockerRuntime]:
    # A socket's path may have 107 characters, fewer than pytest's folders.
    with tempfile.TemporaryDirectory(prefix="agent-") as folder:
        async with serving(fake, Path(folder) / "d.sock"):
            opened = DockerRuntime(
                socket=f"{folder}/d.sock", state=ROOT, clock=clock or SystemClock()
            )
            try:
                yield opened
            finally:
                await opened.close()


async def test_a_box_is_found_with_its_image_and_directories() -> None:
    fake = FakeDocker(labels=LABELS, mounts=["/mnt/work"], tmpfs={"/scratch": ""})
    async with runtime(fake) as engine:
        assert await engine.version() == "Docker Engine 20.10.24"
        box = await engine.locate(identity())
    layers = Path(ROOT) / "overlay2"
    assert (box.id, box.image, box.platform, box.base) == (ID, IMAGE, ("linux", "arm64"), None)
    assert box.upper == layers / "box/diff"
    assert box.lowers == tuple(layers / name / "diff" for name in ("box-init", "l2", "l1"))
    assert {"/mnt/work", "/scratch", "/proc", "/etc/hosts"} <= box.mounts


@pytest.mark.parametrize(
    ("state", "why", "words"),
    [
        ({"driver": "overlayfs"}, CommitReason.UNSUPPORTED, "storage driver 'overlayfs'"),
        ({"driver": "btrfs"}, CommitReason.UNSUPPORTED, "storage driver 'btrfs'"),
        ({"below": {}}, CommitReason.UNSUPPORTED, "does not stand on the layers"),
        (
            {"layers": box_layers() | {"LowerDir": f"{ROOT}/overlay2/l2/diff"}},
            CommitReason.UNSUPPORTED,
            "does not stand on the layers",
        ),
        ({"layers": {}}, CommitReason.UNSUPPORTED, "does not stand on the layers"),
        ({"layers": box_layers() | {"UpperDir": "/etc"}}, CommitReason.UNSUPPORTED, "lie at /etc"),
        (
            {"layers": box_layers() | {"UpperDir": f"{ROOT}/overlay2/../../etc"}},
            CommitReason.UNSUPPORTED,
            f"not under {ROOT}/overlay2",
        ),
        ({"status": None}, CommitReason.POD_GONE, "has no container"),
        ({"failures": {"inspect_image": 404}}, CommitReason.UNSUPPORTED, "was removed"),
        (
            {"failures": {"inspect_container": 500}},
            CommitReason.RUNTIME_ERROR,
            "reading the container failed: .*as the test wants it",
        ),
    ],
)
async def test_a_box_that_would_give_a_wrong_image_is_not_committed(
    state: dict[str, Any], why: CommitReason, words: str
) -> None:
    async with runtime(FakeDocker(labels=LABELS, **state)) as engine:
        with pytest.raises(CommitFailure, match=words) as caught:
            await engine.locate(identity())
    assert caught.value.why is why


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"driver": "overlayfs"}, "turn its feature containerd-snapshotter off"),
        ({"root": "/data/docker"}, "keeps its data at /data/docker, not at /var/lib/docker"),
        ({"root": f"{ROOT}/100000.100000"}, "userns-remap"),
        ({"failures": {"info": 500}}, "as the test wants it"),
    ],
)
async def test_an_agent_does_not_start_on_an_engine_that_it_cannot_commit_from(
    state: dict[str, Any], words: str
) -> None:
    async with runtime(FakeDocker(**state)) as engine:
        with pytest.raises(CommitFailure, match=words):
            await engine.version()


async def test_an_engine_that_does_not_answer_is_a_runtime_error(tmp_path: Path) -> None:
    engine = DockerRuntime(socket=f"{tmp_path}/none.sock", state=ROOT, clock=SystemClock())
    with pytest.raises(CommitFailure, match="for its version failed: no socket at unix:///"):
        await engine.version()
    await engine.close()


@pytest.mark.parametrize("label", LABELS)
async def test_every_label_must_agree(label: str) -> None:
    async with runtime(FakeDocker(labels=LABELS | {label: "other"})) as engine:
        with pytest.raises(CommitRefused, match=f"its label {label} is 'other'"):
            await engine.locate(identity())


async def test_a_container_of_another_runtime_is_named() -> None:
    async with runtime(FakeDocker()) as engine:
        with pytest.raises(CommitFailure, match="'containerd://1' is not Docker Engine's"):
            await engine.locate(identity("containerd://1"))


async def test_an_engine_keeps_no_layers() -> None:
    async with runtime(FakeDocker()) as engine:
        base = parse_reference("registry.lab:5000/team/box:1")
        assert not await engine.has_blob("sha256:x", base=base)
        with pytest.raises(CommitFailure, match="does not keep sha256:x"):
            engine.read_blob("sha256:x")
