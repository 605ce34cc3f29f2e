"""One contract for every container runtime, each with a real one: the box is found, frozen, committed, pushed, thawed.

containerd is that of the lab's node, with a pod of its kubelet. Docker Engine is the one that the lab runs on, with a
container that has the labels which cri-dockerd sets. The API server is a fake: what it has is the same for both.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
from tests.install import ROOT, environ
from tests.kubectl import Kubectl, KubectlError
from tests.lab.state import Lab
from tests.unit.agent.halting import HaltingThreads, state_of
from tests.unit.agent.trees import tar_of
from tests.unit.fakeapi import FakeApi

from sentinel.agent.app import make_runtime
from sentinel.agent.commit import run_commit
from sentinel.agent.runtimes.base import Identity, Runtime
from sentinel.agent.runtimes.freezing import CONTAINER_LABEL, State
from sentinel.agent.spool import Spool
from sentinel.agent.threads import Threads
from sentinel.agent.tools import Tools
from sentinel.api import API_VERSION
from sentinel.clock import SystemClock, rfc3339
from sentinel.image.reference import parse_reference
from sentinel.registry import RegistryClient
from sentinel.settings import Settings
from sentinel.settings.images import ImageSettings

SECRET = "hunter2-is-not-for-everybody"
IDLE = "trap exit TERM; while :; do sleep 1; done"
OWNER = {
    "apiVersion": API_VERSION,
    "kind": "Build",
    "name": "b",
    "uid": "build-uid",
    "controller": True,
}

CHANGES = """
mkdir -p /made/deep && echo content > /made/deep/file && ln /made/deep/file /made/other
ln -s deep/file /made/link && mkfifo /made/pipe && chmod 4755 /made/other && chown 7:8 /made/deep
rm /etc/group && rm -r /home && mkdir /home && echo new > /home/new
truncate -s 3000000 /made/sparse && touch -d '2020-02-02 02:02:02' /made/sparse
echo private > /mnt/work/private
"""

LISTING = """
cd / && find etc made home root var | grep -v -e etc/hosts -e etc/hostname -e etc/resolv.conf -e etc/mtab | sort |
while read path; do
  if [ -d "$path" ]; then stat -c '%n %A %u:%g' "$path"; continue; fi
  stat -c '%N %A %u:%g %h %Y' "$path"
  if [ -f "$path" ]; then md5sum "$path"; fi
done
"""
"""Every file's type, mode, owner, links, time and content, as the box sees it; what the runtimes mount is left out."""


class Node(Protocol):
    """A node with one box, and how to run an image on it."""

    settings: Settings
    pod: dict[str, Any]

    @property
    def identity(self) -> Identity: ...

    def box(self, script: str) -> str:
        """Run a script in the box; what it prints."""

    def end(self) -> None:
        """Kill the box's processes and wait until it has ended. The container stays."""

    def run(self, image: str, script: str) -> str:
        """Pull an image by its digest and run a script in it; what it prints."""

    def things(self) -> list[str]:
        """The images, containers and notes of the runtime."""


@dataclass
class Containerd:
    """The lab's node, with a pod."""

    lab: Lab
    kubectl: Kubectl
    settings: Settings
    pod: dict[str, Any]

    @property
    def identity(self) -> Identity:
        return identity_of(self.pod)

    def box(self, script: str) -> str:
        meta = self.pod["metadata"]
        return self.kubectl(
            "exec", "-n", meta["namespace"], meta["name"], "-c", "box", "--", "sh", "-ec", script
        )

    def end(self) -> None:
        # What runs in a box is killed with it, this shell too where it is still there.
        with suppress(KubectlError):
            self.box("kill -TERM 1")
        self._ended(self.pod["metadata"]["name"])

    def run(self, image: str, script: str) -> str:
        meta = self.pod["metadata"]
        name = f"run-{uuid.uuid4().hex[:6]}"
        self.kubectl.apply(pod_of(meta["namespace"], name, image, command=script))
        self._ended(name)
        return self.kubectl("logs", "-n", meta["namespace"], name)

    def _ended(self, name: str) -> None:
        self.kubectl.wait_for(
            "pod",
            name,
            namespace=self.pod["metadata"]["namespace"],
            until=lambda raw: raw.get("status", {}).get("phase") in ("Succeeded", "Failed"),
        )

    def things(self) -> list[str]:
        # The node is the other tests' too: only what a commit itself could leave.
        leases = ("docker", "exec", self.settings.node_name, "ctr", "-n", "k8s.io", "leases", "ls")
        found = command(*leases, env=environ(self.lab)).splitlines()
        return [line for line in found if self.identity.container_id.partition("//")[2] in line]


@dataclass
class Docker:
    """The lab's engine, with a container like those that cri-dockerd makes."""

    lab: Lab
    settings: Settings
    pod: dict[str, Any]
    id: str
    label: str
    pulled: set[str] = field(default_factory=set)

    @property
    def identity(self) -> Identity:
        return identity_of(self.pod)

    def box(self, script: str) -> str:
        return self.docker("exec", self.id, "sh", "-ec", script)

    def end(self) -> None:
        self.docker("kill", self.id)
        self.docker("wait", self.id)

    def run(self, image: str, script: str) -> str:
        self.pulled.add(image)
        return self.docker("run", "--rm", *limits(self.label), image, "sh", "-ec", script)

    def things(self) -> list[str]:
        # By labels: other tests have boxes and images of their own on this engine.
        mine = f"label={self.label}"
        note = f"label={CONTAINER_LABEL}={self.id}"
        image = f"label=com.wercker.build={self.identity.pod_name}"
        return [
            *self.docker("volume", "ls", "-q", "--filter", note).split(),
            *self.docker("images", "-aq", "--filter", image).split(),
            *self.docker("ps", "-aq", "--filter", mine).split(),
        ]

    def docker(self, *args: str) -> str:
        return command("docker", *args, env=environ(self.lab))

    def clear(self) -> None:
        for image in self.pulled:
            self.docker("rmi", image)


def command(*args: str, env: dict[str, str]) -> str:
    done = subprocess.run(args, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{' '.join(args)[:200]}: {done.stderr}"
    return done.stdout


def limits(label: str) -> list[str]:
    return ["--label", label, "--network=none", "--memory=64m", "--pids-limit=64", "--cpus=1"]


def identity_of(pod: dict[str, Any]) -> Identity:
    meta = pod["metadata"]
    return Identity(
        namespace=meta["namespace"],
        pod_name=meta["name"],
        pod_uid=meta["uid"],
        container_name="box",
        container_id=pod["status"]["containerStatuses"][0]["containerID"],
    )


def pod_of(namespace: str, name: str, image: str, *, command: str = IDLE) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "box",
                    "image": image,
                    "command": ["sh", "-c", command],
                    "env": [{"name": "TOKEN", "value": SECRET}],
                    "volumeMounts": [{"name": "work", "mountPath": "/mnt/work"}],
                }
            ],
            "volumes": [{"name": "work", "emptyDir": {}}],
        },
    }


def settings_of(lab: Lab, node: str, **more: Any) -> Settings:
    images = ImageSettings(insecure_registries=[lab.registry], allowed_repositories=["*"])
    # Agents of other installations leave its boxes alone, and it leaves theirs.
    instance = f"test-{uuid.uuid4().hex[:8]}"
    return Settings(node_name=node, instance=instance, images=images, **more)


@contextmanager
def on_containerd(lab: Lab, namespace: str, *, image: str = "box/busybox:1") -> Iterator[Node]:
    kubectl = Kubectl(lab)
    name = f"{lab.cluster}-control-plane"
    pid = command("docker", "inspect", "-f", "{{.State.Pid}}", name, env=environ(lab)).strip()
    kubectl.apply(pod_of(namespace, "box", f"{lab.registry}/{image}"))
    pod = kubectl.wait_for(
        "pod",
        "box",
        namespace=namespace,
        until=lambda raw: raw.get("status", {}).get("phase") == "Running",
    )
    yield Containerd(lab, kubectl, settings_of(lab, name, runtime_root=f"/proc/{pid}/root"), pod)


@contextmanager
def on_docker(lab: Lab, namespace: str, *, image: str = "box/busybox:1") -> Iterator[Node]:
    mark = uuid.uuid4().hex[:8]
    label, env = f"sentinel-test={mark}", environ(lab)
    names = {
        "pod.uid": f"uid-{mark}",
        "pod.namespace": namespace,
        "pod.name": f"box-{mark}",
        "container.name": "box",
        "docker.type": "container",
    }
    labels = [
        arg for key, text in names.items() for arg in ("--label", f"io.kubernetes.{key}={text}")
    ]
    image = f"{lab.registry}/{image}"
    options = [*limits(label), *labels, "--env", f"TOKEN={SECRET}", "--volume=/mnt/work"]
    container = command("docker", "run", "-d", *options, image, "sh", "-c", IDLE, env=env).strip()
    pod = pod_of(namespace, f"box-{mark}", image)
    pod["metadata"]["uid"] = f"uid-{mark}"
    status = {"name": "box", "containerID": f"docker://{container}"}
    pod |= {"status": {"phase": "Running", "containerStatuses": [status]}}
    pod["spec"]["nodeName"] = "docker-node"
    settings = settings_of(
        lab,
        "docker-node",
        agent_runtime="docker",
        docker_socket=lab.docker_host.removeprefix("unix://"),
        docker_state=command("docker", "info", "-f", "{{.DockerRootDir}}", env=env).strip(),
    )
    node = Docker(lab, settings, pod, container, label)
    try:
        yield node
    finally:
        command("docker", "rm", "-f", "-v", container, env=env)
        node.clear()


NODES = {"containerd": on_containerd, "docker": on_docker}


@pytest.fixture(params=NODES)
def node(request: pytest.FixtureRequest, lab: Lab, namespace: str) -> Iterator[Node]:
    with NODES[request.param](lab, namespace) as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent on that node, and the API server that it sees."""

    tools: Tools
    api: FakeApi
    repository: str

    async def commit(self, name: str, **spec: Any) -> dict[str, Any]:
        """Ask for a commit and do it; its status."""
        self.ask(name, **spec)
        await self.work(name)
        return self.status(name)

    async def work(self, name: str) -> None:
        await run_commit(namespace=self.namespace, name=name, tools=self.tools)

    @property
    def namespace(self) -> str:
        (pod,) = self.api.objects["pods"].values()
        return str(pod["metadata"]["namespace"])

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.find("imagecommits", name)["status"]
        return found

    def ask(self, name: str, **spec: Any) -> None:
        (pod,) = self.api.objects["pods"].values()
        who = identity_of(pod)
        self.api.add(
            "imagecommits",
            {
                "metadata": {
                    "name": name,
                    "namespace": who.namespace,
                    "uid": uuid.uuid4().hex,
                    "resourceVersion": "1",
                    "ownerReferences": [OWNER],
                },
                "spec": {
                    "nodeName": pod["spec"]["nodeName"],
                    "podName": who.pod_name,
                    "podUid": who.pod_uid,
                    "containerName": "box",
                    "containerId": who.container_id,
                    "repository": self.repository,
                    "tags": [name, "latest"],
                    "config": {"labels": {"com.wercker.build": who.pod_name}},
                    "baseImage": pod["spec"]["containers"][0]["image"],
                    "deadline": rfc3339(datetime.now(UTC) + timedelta(minutes=5)),
                    **spec,
                },
                "status": {},
            },
        )


@pytest.fixture
async def agent(node: Node, lab: Lab, tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_of(node, lab, tmp_path) as made:
        yield made


@asynccontextmanager
async def agent_of(node: Node, lab: Lab, spool: Path) -> AsyncIterator[Agent]:
    """An agent on a node."""
    meta = {**node.pod["metadata"], "ownerReferences": [OWNER]}
    name = {"name": "b", "namespace": meta["namespace"], "uid": "build-uid"}
    build = {"metadata": name, "spec": {"image": {"commit": "always"}}}
    api = FakeApi(pods=[{**node.pod, "metadata": meta}], builds=[build], imagecommits=[])
    async with opened(node.settings) as runtime:
        tools = Tools(
            kube=cast(Any, api),
            runtime=runtime,
            settings=node.settings,
            clock=SystemClock(),
            boot_id=str(uuid.uuid4()),
            spool=Spool(spool),
            threads=Threads(SystemClock()),
        )
        repository = f"{lab.registry}/runtimes/{uuid.uuid4().hex[:8]}"
        yield Agent(tools=tools, api=api, repository=repository)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Runtime]:
    runtime = make_runtime(settings, SystemClock())
    try:
        yield runtime
    finally:
        await runtime.close()


async def test_an_image_of_any_runtime_is_the_box_on_every_runtime(
    node: Node, agent: Agent, lab: Lab, namespace: str
) -> None:
    node.box(CHANGES)
    before = node.things()
    status = await agent.commit("b1")
    assert (status["phase"], status["reason"]) == ("Succeeded", "Committed"), status
    assert status["frozenMilliseconds"] > 0
    assert node.things() == before
    base, image = [
        await config_of(lab, f"{lab.registry}/box/busybox:1"),
        await config_of(lab, f"{agent.repository}:b1"),
    ]
    labels = base["config"]["Labels"] | {"com.wercker.build": node.identity.pod_name}
    assert image["config"] == base["config"] | {"Labels": labels}
    assert SECRET not in json.dumps(image)
    assert image["rootfs"]["diff_ids"][:-1] == base["rootfs"]["diff_ids"]
    names = await changes_of(lab, f"{agent.repository}:b1")
    assert {"made/deep/file", "etc/.wh.group", "home/.wh..wh..opq"} <= names
    # Neither what lay in a volume, nor the places where the runtime mounted something.
    assert {name.partition("/")[0] for name in names} == {"etc", "home", "made"}
    assert not [name for name in names if name.startswith("etc/") and name != "etc/.wh.group"]
    listing = node.box(LISTING)
    assert "made/deep/file" in listing
    assert "etc/group" not in listing
    reference = f"{agent.repository}@{status['digest']}"
    assert node.run(reference, LISTING) == listing
    other = "docker" if isinstance(node, Containerd) else "containerd"
    with NODES[other](lab, namespace) as elsewhere:
        assert elsewhere.run(reference, LISTING) == listing


async def config_of(lab: Lab, name: str) -> dict[str, Any]:
    reference = parse_reference(name)
    async with RegistryClient(insecure=[lab.registry]) as client:
        manifest = await client.get_image_manifest(reference)
        parsed: dict[str, Any] = json.loads(
            await client.get_blob(reference, manifest.config, limit=1 << 20)
        )
    return parsed


async def changes_of(lab: Lab, name: str) -> set[str]:
    """What the last layer of an image has."""
    reference = parse_reference(name)
    async with RegistryClient(insecure=[lab.registry]) as client:
        manifest = await client.get_image_manifest(reference)
        stream = client.stream_blob(reference, manifest.layers[-1].digest)
        packed = b"".join([part async for part in stream])
    with tar_of(gzip.decompress(packed)) as tar:
        return {member.name for member in tar.getmembers()}


async def test_a_stopped_agent_thaws_the_box_and_the_next_one_commits_it(
    node: Node, agent: Agent
) -> None:
    node.box("echo content > /file")
    before = node.things()
    agent.ask("stopped")
    threads = HaltingThreads()
    halting = replace(agent, tools=replace(agent.tools, threads=threads))
    work = asyncio.create_task(halting.work("stopped"))
    await threads.halted(work)
    container = node.identity.container_id.partition("//")[2]
    assert await state_of(agent.tools.runtime, container) is State.PAUSED
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (node.box("echo runs").strip(), node.things()) == ("runs", before)
    assert agent.status("stopped")["phase"] == "Claimed"
    await agent.work("stopped")
    assert agent.status("stopped")["phase"] == "Succeeded"
    node.end()
    status = await agent.commit("ended")
    assert (status["phase"], status["frozenMilliseconds"]) == ("Succeeded", 0), status


FREEZE = """
import asyncio, json, sys
from sentinel.agent.app import make_runtime
from sentinel.agent.runtimes.base import Identity
from sentinel.clock import SystemClock
from sentinel.settings import Settings

async def freeze(settings, who):
    runtime = make_runtime(Settings.model_validate_json(settings), SystemClock())
    box = await runtime.locate(Identity(**json.loads(who)))
    async with runtime.frozen(box, commit="killed"):
        print("frozen", flush=True)
        await asyncio.Event().wait()

asyncio.run(freeze(*sys.argv[1:]))
"""


async def test_a_box_left_frozen_by_a_killed_agent_is_thawed_by_the_next(node: Node) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FREEZE),
        *(node.settings.model_dump_json(), json.dumps(vars(node.identity))),
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"frozen\n"
    process.kill()
    await process.wait()
    container = node.identity.container_id.partition("//")[2]
    async with opened(node.settings) as runtime:
        assert await state_of(runtime, container) is State.PAUSED
        assert await runtime.recover() == (container,)
        assert await runtime.recover() == ()
    assert node.box("echo runs").strip() == "runs"
