"""The agent's commits on the lab's real node: what is in the image, what is not, and what is refused.

The agent's code runs in this process, at the node's containerd through the node container's root; its own DaemonSet,
where the chart is installed, does not see these commits, which carry no node label.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import tarfile
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from gzip import decompress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.cluster.conftest import Builds
from tests.install import NAMESPACE
from tests.kubectl import Kubectl, KubectlError
from tests.lab.state import Lab
from tests.unit.agent.halting import HaltingThreads, state_of
from tests.unit.agent.trees import tar_of
from tests.unit.registry import server

from sentinel.agent.commit import run_commit
from sentinel.agent.failures import CommitRefused
from sentinel.agent.runtimes.base import Identity
from sentinel.agent.runtimes.containerd import ContainerdRuntime
from sentinel.agent.runtimes.freezing import State
from sentinel.agent.spool import Spool
from sentinel.agent.threads import Threads
from sentinel.agent.tools import Tools
from sentinel.api.imagecommit import ACTIVE_LABEL, NODE_LABEL
from sentinel.clock import SystemClock, rfc3339
from sentinel.image.reference import Reference, parse_reference
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden
from sentinel.kube.resources import IMAGE_COMMITS
from sentinel.registry import RegistryClient
from sentinel.settings import NetworkSettings, Settings
from sentinel.settings.images import ImageSettings

GROUP = "sentinel.wercker.com"
SECRET = "hunter2-is-not-for-everybody"


@dataclass(frozen=True, kw_only=True)
class Node:
    """The lab's node as the agent needs it: its name, and its root as seen from here."""

    name: str
    root: str


@dataclass(frozen=True, kw_only=True)
class World:
    """A box pod in a namespace of its own, with its Build, and an agent's tools."""

    kubectl: Kubectl
    namespace: str
    tools: Tools
    registry: str
    build: dict[str, Any]
    pod: dict[str, Any]

    def box(self, script: str) -> str:
        """Run a script in the box; what it prints."""
        name = self.pod["metadata"]["name"]
        return self.kubectl(
            "exec", "-n", self.namespace, name, "-c", "box", "--", "sh", "-ec", script
        )

    @property
    def container_id(self) -> str:
        statuses = self.pod["status"]["containerStatuses"]
        return str(next(each["containerID"] for each in statuses if each["name"] == "box"))

    async def state(self) -> State:
        """What the box does now."""
        return await state_of(self.tools.runtime, self.container_id.removeprefix("containerd://"))

    def repository(self, name: str) -> str:
        return f"{self.registry}/{self.namespace}/{name}"

    def ask(self, name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> str:
        """Create an ImageCommit as the operator does; its name."""
        body = {
            "nodeName": self.pod["spec"]["nodeName"],
            "podName": self.pod["metadata"]["name"],
            "podUid": self.pod["metadata"]["uid"],
            "containerName": "box",
            "containerId": self.container_id,
            "repository": self.repository(name),
            "tags": ["b1", "green", "latest"],
            "config": {"labels": {"com.wercker.build": "b1"}},
            "baseImage": f"{self.pod['spec']['containers'][0]['image']}",
            "deadline": rfc3339(datetime.now(UTC) + timedelta(minutes=5)),
        } | spec
        self.kubectl.apply(
            {
                "apiVersion": f"{GROUP}/v1alpha1",
                "kind": "ImageCommit",
                "metadata": {
                    "name": name,
                    "namespace": self.namespace,
                    "labels": labels or {},
                    "ownerReferences": [owner(self.build)],
                },
                "spec": body,
            }
        )
        return name

    def status(self, name: str) -> dict[str, Any]:
        found = self.kubectl.get("imagecommit", name, namespace=self.namespace)
        assert found is not None
        status: dict[str, Any] = found.get("status", {})
        return status

    async def commit(self, name: str, **spec: Any) -> dict[str, Any]:
        """Ask for a commit and do it; its status."""
        self.ask(name, **spec)
        await run_commit(namespace=self.namespace, name=name, tools=self.tools)
        status = self.status(name)
        # A test that compares a part of it and fails must say why a commit failed.
        print(f"{name}: {status}")
        return status


def owner(build: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": build["apiVersion"],
        "kind": "Build",
        "name": build["metadata"]["name"],
        "uid": build["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


@pytest.fixture(scope="session")
def node(lab: Lab) -> Node:
    name = f"{lab.cluster}-control-plane"
    pid = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Pid}}", name],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **lab.environ()},
    ).stdout.strip()
    return Node(name=name, root=f"/proc/{pid}/root")


def settings_for(lab: Lab, node: Node, spool: Path) -> Settings:
    return Settings(
        node_name=node.name,
        pod_name="agent-under-test",
        # The node's own agent leaves its boxes alone, and it leaves theirs.
        instance=f"test-{uuid.uuid4().hex[:8]}",
        runtime_root=node.root,
        spool=str(spool),
        images=ImageSettings(insecure_registries=[lab.registry], allowed_repositories=["*"]),
        # Registries of the tests' own.
        network=NetworkSettings(allowed=["127.0.0.0/8"]),
    )


@asynccontextmanager
async def opened_tools(lab: Lab, node: Node, spool: Path) -> AsyncIterator[Tools]:
    settings = settings_for(lab, node, spool)
    clock = SystemClock()
    runtime = ContainerdRuntime(
        socket=settings.containerd_socket,
        state=settings.containerd_state,
        root=settings.runtime_root,
        instance=settings.instance,
        clock=clock,
    )
    try:
        async with await Kube.connect(
            user_agent="sentinel-agent/test", kubeconfig=lab.kubeconfig
        ) as kube:
            yield Tools(
                threads=Threads(clock),
                kube=kube,
                runtime=runtime,
                settings=settings,
                clock=clock,
                boot_id=str(uuid.uuid4()),
                spool=Spool(spool),
            )
    finally:
        await runtime.close()


def make_box(
    kubectl: Kubectl, namespace: str, image: str, *, build: dict[str, Any], **spec: Any
) -> dict[str, Any]:
    """A pod like a build's: Secrets in the environment and in a mount, emptyDirs, an idle command. Waits for it."""
    name = f"box-{uuid.uuid4().hex[:6]}"
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "ownerReferences": [owner(build)],
            },
            "spec": {
                "restartPolicy": "Never",
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "box",
                        "image": image,
                        "command": ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"],
                        "env": [{"name": "TOKEN", "value": SECRET}],
                        "volumeMounts": [
                            {"name": "tokens", "mountPath": "/run/sentinel/tokens"},
                            {"name": "work", "mountPath": "/mnt/wercker"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "tokens", "secret": {"secretName": "tokens"}},
                    {"name": "work", "emptyDir": {}},
                ],
                **spec,
            },
        }
    )
    return kubectl.wait_for(
        "pod",
        name,
        namespace=namespace,
        until=lambda raw: raw.get("status", {}).get("phase") == "Running",
    )


@pytest.fixture
def build(lab: Lab, served: Kubectl, namespace: str) -> dict[str, Any]:
    """A Build to own things. No node fits its pod, so that an operator, if there is one, does not end it."""
    served.apply(pull_secret(namespace, '{"auths": {}}'))
    Builds(lab, served, namespace).apply(
        "b1",
        url=Builds(lab, served, namespace).script("true"),
        image={"commit": "never", "pushSecretRef": {"name": "push"}},
        pod={"nodeSelector": {"sentinel-test/nowhere": "yes"}},
    )
    served.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "tokens", "namespace": namespace},
            "stringData": {"api": SECRET},
        },
    )
    found = served.get("build", "b1", namespace=namespace)
    assert found is not None
    return found


@pytest.fixture
async def world(
    lab: Lab, node: Node, kubectl: Kubectl, namespace: str, build: dict[str, Any], tmp_path: Path
) -> AsyncIterator[World]:
    pod = make_box(kubectl, namespace, f"{lab.registry}/box/debian:12", build=build)
    async with opened_tools(lab, node, tmp_path) as tools:
        yield World(
            kubectl=kubectl,
            namespace=namespace,
            tools=tools,
            registry=lab.registry,
            build=build,
            pod=pod,
        )


async def pulled(
    world: World, reference: Reference
) -> tuple[dict[str, Any], list[tarfile.TarInfo]]:
    """An image's config, and the members of its last layer, as the registry has them."""
    async with RegistryClient(insecure=[world.registry]) as client:
        manifest = await client.get_image_manifest(reference)
        config = await client.get_blob(reference, manifest.config, limit=1 << 20)
        last = manifest.layers[-1].digest
        layer = b"".join([part async for part in client.stream_blob(reference, last)])
    with tar_of(decompress(layer)) as tar:
        return json.loads(config), tar.getmembers()


async def test_a_commit_holds_the_boxs_changes_and_nothing_of_the_pod(
    world: World, record_property: Any
) -> None:
    world.box(
        "mkdir -p /pipeline/source && echo 'int main;' > /pipeline/source/main.c && rm /etc/debian_version"
        " && echo work > /mnt/wercker/file && head -c 2000000 /dev/urandom > /pipeline/output"
    )
    world.ask("full")
    begun = time.perf_counter()
    await run_commit(namespace=world.namespace, name="full", tools=world.tools)
    total = round((time.perf_counter() - begun) * 1000)
    status = world.status("full")
    assert (status["phase"], status["reason"]) == ("Succeeded", "Committed"), status
    print(f"frozen {status['frozenMilliseconds']} ms, whole {total} ms, {status['message']}")
    record_property("frozen_ms", status["frozenMilliseconds"])
    record_property("total_ms", total)
    reference = parse_reference(f"{world.repository('full')}:b1")
    config, members = await pulled(world, reference)
    names = {member.name for member in members}
    assert status["tags"] == [{"name": tag, "pushed": True} for tag in ("b1", "green", "latest")]
    assert {"pipeline/source/main.c", "pipeline/output", "etc/.wh.debian_version"} <= names
    # Neither the kubelet's files nor the places of mounts, nor what lay in them.
    assert not [name for name in names if name.startswith(("mnt", "run", "dev", "proc", "sys"))]
    assert not names & {"etc/hosts", "etc/hostname", "etc/resolv.conf"}
    base, _ = await pulled(world, parse_reference(f"{world.registry}/box/debian:12"))
    labels = (base["config"]["Labels"] or {}) | {"com.wercker.build": "b1"}
    assert config["config"] == base["config"] | {"Labels": labels}
    assert SECRET not in json.dumps(config)
    assert config["rootfs"]["diff_ids"][:-1] == base["rootfs"]["diff_ids"]
    async with RegistryClient(insecure=[world.registry]) as client:
        digests = {
            (await client.look_up(reference.tagged(tag))).digest
            for tag in ("b1", "green", "latest")
        }
    assert digests == {status["digest"]}
    assert world.box("cat /pipeline/source/main.c").strip() == "int main;", "the box runs on"


async def test_the_image_runs_as_a_pod(world: World) -> None:
    world.box("mkdir -p /pipeline && echo 'made in the box' > /pipeline/said && rm -r /media")
    status = await world.commit("runs")
    world.kubectl(
        "run",
        "second",
        "-n",
        world.namespace,
        "--restart=Never",
        f"--image={world.repository('runs')}@{status['digest']}",
        "--command",
        "--",
        "sh",
        "-c",
        "exec 2>&1; cat /pipeline/said; ls -d /media /mnt/wercker; env",
    )
    world.kubectl.wait_for(
        "pod",
        "second",
        namespace=world.namespace,
        until=lambda raw: raw.get("status", {}).get("phase") in ("Succeeded", "Failed"),
    )
    said = world.kubectl("logs", "-n", world.namespace, "second")
    assert said.startswith("made in the box\n")
    assert "cannot access '/media'" in said
    assert "cannot access '/mnt/wercker'" in said
    assert SECRET not in said


async def test_the_same_box_gives_the_same_layer(world: World) -> None:
    world.box("echo content > /file")
    first, second = [await world.commit(name) for name in ("one", "two")]
    assert first["layerDigest"] == second["layerDigest"]


async def test_an_ended_box_is_committed_too(world: World) -> None:
    world.box("echo last words > /said")
    # What runs in a box is killed with it, this shell too where it is still there.
    with suppress(KubectlError):
        world.box("kill -TERM 1")
    pod = world.pod["metadata"]["name"]
    world.kubectl.wait_for(
        "pod",
        pod,
        namespace=world.namespace,
        until=lambda raw: raw["status"]["phase"] != "Running",
    )
    status = await world.commit("ended")
    _, members = await pulled(world, parse_reference(f"{world.repository('ended')}:b1"))
    assert (status["phase"], status["frozenMilliseconds"]) == ("Succeeded", 0)
    assert "said" in {member.name for member in members}


async def test_base_layers_are_copied_to_another_registry_that_wants_a_login(
    world: World, tmp_path: Path
) -> None:
    world.box("echo content > /file")
    with server.registry(tmp_path / "other", login=True) as other:
        push = {"push": server.docker_config(other)}
        world.kubectl.apply(pull_secret(world.namespace, push["push"]))
        status = await world.commit(
            "far", repository=f"{other}/team/far", pushSecretRef={"name": "push"}
        )
        refused = await world.commit("nologin", repository=f"{other}/team/far")
    assert status["phase"] == "Succeeded", status
    assert len(status["tags"]) == 3
    assert (refused["phase"], refused["reason"]) == ("Failed", "AuthFailed")
    assert "denied push to" in refused["message"]


def pull_secret(namespace: str, config: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "push", "namespace": namespace},
        "stringData": {".dockerconfigjson": config},
    }


async def test_a_registry_that_is_away_fails_the_commit_before_the_box_is_frozen(
    world: World,
) -> None:
    status = await world.commit("away", repository="127.0.0.1:1/team/away")
    assert (status["phase"], status["reason"]) == ("Failed", "RegistryUnavailable")
    assert status.get("frozenMilliseconds", 0) == 0


async def test_a_box_that_changed_too_much_is_left_running(world: World) -> None:
    world.box("truncate -s 40G /sparse")
    status = await world.commit("sparse")
    assert (status["phase"], status["reason"]) == ("Failed", "TooBig")
    assert "/sparse" in status["message"]
    excluded = await world.commit("excluded", excludePaths=["/sparse"])
    assert excluded["phase"] == "Succeeded"


MUST_NOT: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "another-node": ({"nodeName": "elsewhere"}, ("Refused", "NotOwned")),
    "another-pod": ({"podUid": "0000"}, ("Refused", "PodGone")),
    "no-pod": ({"podName": "nobody"}, ("Refused", "PodGone")),
    "restarted": ({"containerId": "containerd://" + "0" * 64}, ("Refused", "NotOwned")),
    "another-container": ({"containerName": "other"}, ("Refused", "NotOwned")),
    "stolen-push-secret": ({"pushSecretRef": {"name": "tokens"}}, ("Refused", "NotOwned")),
    "stolen-pull-secret": ({"pullSecretRefs": [{"name": "tokens"}]}, ("Refused", "NotOwned")),
    "bad-name": ({"repository": "registry.lab:5000/a//b"}, ("Refused", "RepositoryNotAllowed")),
    "too-late": ({"deadline": "2020-01-01T00:00:00Z"}, ("Refused", "Deadline")),
    "no-secret": ({"pushSecretRef": {"name": "push"}}, ("Failed", "AuthFailed")),
}


async def test_what_must_not_be_committed_is_not(world: World) -> None:
    world.kubectl("delete", "secret", "push", "-n", world.namespace)
    statuses = {name: await world.commit(name, **change) for name, (change, _) in MUST_NOT.items()}
    ends = {name: (status["phase"], status["reason"]) for name, status in statuses.items()}
    assert ends == {name: end for name, (_, end) in MUST_NOT.items()}
    assert not [name for name, status in statuses.items() if "digest" in status]


async def test_builds_push_only_where_the_operator_lets_their_namespace(world: World) -> None:
    allowed = ImageSettings(
        insecure_registries=[world.registry],
        allowed_repositories=[f"{world.registry}/{{namespace}}/*"],
    )
    settings = world.tools.settings.model_copy(update={"images": allowed})
    theirs = replace(world, tools=replace(world.tools, settings=settings))
    mine = await theirs.commit("mine")
    other = await theirs.commit("other", repository=f"{world.registry}/somebody/else")
    assert (mine["phase"], other["phase"], other["reason"]) == (
        "Succeeded",
        "Refused",
        "RepositoryNotAllowed",
    )
    assert f"allowed are {world.registry}/{world.namespace}/*" in other["message"]


async def test_a_container_of_another_pod_is_refused_by_its_labels(
    world: World, lab: Lab, kubectl: Kubectl, namespace: str
) -> None:
    other = make_box(kubectl, namespace, f"{lab.registry}/box/busybox:1", build=world.build)
    theirs = str(other["status"]["containerStatuses"][0]["containerID"])
    who = Identity(
        namespace=namespace,
        pod_name=world.pod["metadata"]["name"],
        pod_uid=world.pod["metadata"]["uid"],
        container_name="box",
        container_id=theirs,
    )
    with pytest.raises(CommitRefused, match=r"its label io\.kubernetes\.pod\.uid"):
        await world.tools.runtime.locate(who)


async def test_an_ended_commit_is_not_done_again(world: World) -> None:
    before = await world.commit("once")
    await run_commit(namespace=world.namespace, name="once", tools=world.tools)
    assert world.status("once") == before


async def test_a_stopped_agent_thaws_the_box_and_leaves_the_commit_to_the_next(
    world: World,
) -> None:
    world.box("echo content > /file")
    world.ask("stopped")
    threads = HaltingThreads()
    tools = replace(world.tools, threads=threads)
    work = asyncio.create_task(run_commit(namespace=world.namespace, name="stopped", tools=tools))
    await threads.halted(work)
    assert await world.state() is State.PAUSED
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert world.box("echo runs").strip() == "runs"
    assert world.status("stopped")["phase"] == "Claimed"
    await run_commit(namespace=world.namespace, name="stopped", tools=world.tools)
    status = world.status("stopped")
    assert (status["phase"], status["claim"]["attempt"]) == ("Succeeded", 2)


@asynccontextmanager
async def silent_registry() -> AsyncIterator[str]:
    """A registry that has every blob, takes uploads, and never answers them; gives host:port."""

    async def serve(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "/upload"})
        if request.method == "PUT":
            await asyncio.Event().wait()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_registry_that_does_not_answer_holds_no_other_commit(world: World) -> None:
    world.box("echo content > /file")
    async with silent_registry() as silent:
        world.ask("slow", repository=f"{silent}/team/slow")
        slow = asyncio.create_task(
            run_commit(namespace=world.namespace, name="slow", tools=world.tools)
        )
        while (await read_status(world, "slow")).get("phase") != "Pushing":
            assert not slow.done(), world.status("slow")
            await asyncio.sleep(0.05)
        quick = await world.commit("quick")
        assert (quick["phase"], slow.done()) == ("Succeeded", False), quick
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
    assert world.box("echo runs").strip() == "runs"


async def test_an_agent_writes_only_its_own_nodes_commits(
    sentinel: Lab, world: World, node: Node
) -> None:
    """A token that is stolen from one node cannot write the commits of another (ValidatingAdmissionPolicy)."""
    world.ask("ours")
    world.ask("others", nodeName="another-node")
    world.ask("early", nodeName="another-node")
    pods = world.kubectl.list(
        "pods", namespace=NAMESPACE, selector="app.kubernetes.io/component=agent"
    )
    (agent,) = [
        pod["metadata"]["name"]
        for pod in pods
        if pod["spec"]["nodeName"] == node.name and "deletionTimestamp" not in pod["metadata"]
    ]
    account = ("create", "token", "sentinel-agent", "-n", NAMESPACE)
    bound = world.kubectl(*account, "--bound-object-kind=Pod", f"--bound-object-name={agent}")
    loose = world.kubectl(*account)
    status = {"status": {"message": "written by a test"}}
    forged = {"metadata": {"labels": {NODE_LABEL: "another-node"}}}
    retired = {"metadata": {"labels": {ACTIVE_LABEL: "false"}}}
    async with (
        opened_kube(world.kubectl, bound) as ours,
        opened_kube(world.kubectl, loose) as unbound,
    ):
        # A policy that was installed just now holds a moment later.
        with suppress(Forbidden):
            while True:
                await patch(ours, world, "early", status, subresource="status")
                await asyncio.sleep(0.2)
        await patch(ours, world, "ours", status, subresource="status")
        await patch(ours, world, "ours", retired)
        with pytest.raises(Forbidden, match="the agent's token is of node"):
            await patch(ours, world, "others", status, subresource="status")
        with pytest.raises(Forbidden, match="the agent's token is of node ''"):
            await patch(unbound, world, "ours", status, subresource="status")
        with pytest.raises(Forbidden, match="agents change the label"):
            await patch(ours, world, "ours", forged)
        with pytest.raises(Forbidden, match="agents change the label"):
            await patch(ours, world, "ours", {"metadata": {"finalizers": ["example.com/keep"]}})
    assert world.status("ours")["message"] == "written by a test"
    assert world.status("others") == {}


async def patch(
    kube: Kube, world: World, name: str, body: dict[str, Any], *, subresource: str = ""
) -> None:
    await kube.patch(
        IMAGE_COMMITS, namespace=world.namespace, name=name, body=body, subresource=subresource
    )


@asynccontextmanager
async def opened_kube(kubectl: Kubectl, token: str) -> AsyncIterator[Kube]:
    """A client that authenticates with a token and nothing else."""
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    for user in config["users"]:
        user["user"] = {"token": token.strip()}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(config, file)
        file.flush()
        async with await Kube.connect(
            user_agent="sentinel-agent/test", kubeconfig=file.name
        ) as kube:
            yield kube


@pytest.mark.alone
async def test_an_agent_killed_while_the_box_is_frozen_is_made_good_by_the_next(
    sentinel: Lab, world: World, node: Node
) -> None:
    """The chart's own agent, killed as the kernel would: the box stands still until its successor comes."""
    world.box("head -c 400000000 /dev/zero > /zeroes")
    agent = agent_process(sentinel, world.kubectl, node)
    name = await stopped_in_a_freeze(world, node, agent)
    os.kill(agent, signal.SIGKILL)
    assert await world.state() is State.PAUSED, "it is not thawed before the next agent starts"
    world.kubectl.wait_for(
        "imagecommit",
        name,
        namespace=world.namespace,
        until=lambda raw: raw["status"].get("completionTime"),
    )
    status = world.status(name)
    assert (status["phase"], status["claim"]["attempt"]) == ("Succeeded", 2), status
    assert world.box("echo runs").strip() == "runs"
    container = world.container_id.removeprefix("containerd://")
    assert f"container {container} was left paused" in world.kubectl(
        "logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=agent", "--tail=-1"
    )


async def stopped_in_a_freeze(world: World, node: Node, agent: int) -> str:
    """Stop the agent's process while it has the box frozen, in as many commits as it takes; the commit's name.

    A freeze takes half a second, in which this process may not get a processor.
    """
    number = 0
    while True:
        number += 1
        name = world.ask(f"killed-{number}", labels={NODE_LABEL: node.name, ACTIVE_LABEL: "true"})
        while not (status := await read_status(world, name)).get("completionTime"):
            if await world.state() is State.PAUSED:
                os.kill(agent, signal.SIGSTOP)
                while not is_stopped(agent):
                    await asyncio.sleep(0.002)
                if await world.state() is State.PAUSED:
                    return name
                os.kill(agent, signal.SIGCONT)
            await asyncio.sleep(0.002)
        assert status["phase"] == "Succeeded", status


def is_stopped(process: int) -> bool:
    """Whether a signal has stopped a process: it gets there when it is given a processor."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def read_status(world: World, name: str) -> dict[str, Any]:
    """The status of a commit, for loops: `World.status` starts a program."""
    raw = await world.tools.kube.get(IMAGE_COMMITS, namespace=world.namespace, name=name)
    status: dict[str, Any] = raw.get("status", {})
    return status


def agent_process(lab: Lab, kubectl: Kubectl, node: Node) -> int:
    """The pid on this machine of the main process of the agent's container, found through the node's containerd."""
    pods = kubectl.list("pods", namespace=NAMESPACE, selector="app.kubernetes.io/component=agent")
    ids = {
        each["containerID"].removeprefix("containerd://")
        for pod in pods
        for each in pod["status"]["containerStatuses"]
    }
    tasks = on_node(lab, node, "ctr", "-n", "k8s.io", "tasks", "ls")
    found = [line.split() for line in tasks.splitlines()]
    inner = [pid for container, pid, *_ in found if container in ids]
    assert len(inner) == 1, tasks
    namespace = on_node(lab, node, "readlink", f"/proc/{inner[0]}/ns/pid").strip()
    outer = [
        process.name
        for process in Path("/proc").glob("[0-9]*")
        if pid_namespace(process) == namespace and process_ids(process)[-2:] == [inner[0], "1"]
    ]
    assert len(outer) == 1, outer
    return int(outer[0])


def pid_namespace(process: Path) -> str:
    """The pid namespace of a process; "" where the process has ended."""
    try:
        return str((process / "ns" / "pid").readlink())
    except OSError:
        return ""


def process_ids(process: Path) -> list[str]:
    """The pids of a process, from this machine's to that in its innermost pid namespace."""
    lines = (process / "status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith("NSpid:"))


def on_node(lab: Lab, node: Node, *command: str) -> str:
    """Run a command in the node's container; what it prints."""
    return subprocess.run(
        ["docker", "exec", node.name, *command],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **lab.environ()},
    ).stdout
