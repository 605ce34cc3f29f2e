"""Our client against a real API server, kubelet and containerd: what `tests/unit/kube` scripts is what they do."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kubectl import Kubectl
from tests.lab.state import Lab

from sentinel.errors import NotYet, UserError
from sentinel.kube import errors
from sentinel.kube.client import Kube
from sentinel.kube.events import Recorder
from sentinel.kube.exec import Cut, ExecStream, Exited
from sentinel.kube.lease import LeaderLease
from sentinel.kube.resources import (
    CONFIG_MAPS,
    CORE_EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    Resource,
)

SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)

pytestmark = pytest.mark.cluster

CTR = ("exec", "sentinel-control-plane", "ctr", "-n", "k8s.io", "task")


@pytest.fixture
async def kube(lab: Lab) -> AsyncIterator[Kube]:
    async with await Kube.connect(user_agent="sentinel-test/1", kubeconfig=lab.kubeconfig) as kube:
        yield kube


def kubeconfig(lab: Lab) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(Path(lab.kubeconfig).read_text())
    return config


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"test": "client"}},
        "data": data,
    }


async def test_an_object_from_create_to_delete(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIG_MAPS, config_map("a", x="1"), namespace=namespace)
    with pytest.raises(errors.AlreadyExists, match='configmaps "a" already exists'):
        await kube.create(CONFIG_MAPS, config_map("a"), namespace=namespace)

    replaced = await kube.replace(CONFIG_MAPS, {**made, "data": {"x": "2"}})
    with pytest.raises(errors.Conflict, match="the object has been modified"):
        await kube.replace(CONFIG_MAPS, made)
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    with pytest.raises(errors.Conflict):
        await kube.patch(CONFIG_MAPS, name="a", namespace=namespace, body=stale)

    where: Any = {"name": "a", "namespace": namespace}
    await kube.patch(CONFIG_MAPS, **where, body={"data": {"y": "3"}})
    await kube.patch(
        CONFIG_MAPS,
        **where,
        body=[{"op": "replace", "path": "/data/x", "value": "4"}],
        kind="json",
    )
    await kube.patch(
        CONFIG_MAPS,
        **where,
        body={"apiVersion": "v1", "kind": "ConfigMap", "data": {"y": "5", "z": "6"}},
        kind="apply",
    )
    assert (await kube.get(CONFIG_MAPS, **where))["data"] == {"x": "4", "y": "5", "z": "6"}
    failed = [{"op": "test", "path": "/data/x", "value": "no"}]
    with pytest.raises(errors.Invalid):
        await kube.patch(CONFIG_MAPS, **where, body=failed, kind="json")

    # Another object of this name is not ours to delete, and ours is gone.
    await kube.delete(CONFIG_MAPS, **where, uid="00000000-0000-0000-0000-000000000000")
    await kube.get(CONFIG_MAPS, **where)
    await kube.delete(CONFIG_MAPS, **where, uid=replaced["metadata"]["uid"])
    await kube.delete(CONFIG_MAPS, **where)
    with pytest.raises(errors.NotFound, match=f"get configmaps {namespace}/a: "):
        await kube.get(CONFIG_MAPS, **where)


async def test_refusals_have_their_names(kube: Kube, namespace: str) -> None:
    with pytest.raises(errors.Invalid, match=r"create configmaps .*/Not_A_Name: "):
        await kube.create(CONFIG_MAPS, config_map("Not_A_Name"), namespace=namespace)
    with pytest.raises(errors.NotFound, match="nowhere"):
        await kube.create(CONFIG_MAPS, config_map("a"), namespace="nowhere")


async def test_lists_of_many_pages(kube: Kube, namespace: str) -> None:
    names = [f"m{n:02}" for n in range(7)]
    for name in names:
        await kube.create(CONFIG_MAPS, config_map(name), namespace=namespace)
    items, version = await kube.list(
        CONFIG_MAPS, namespace=namespace, labels="test=client", limit=3
    )
    assert [item["metadata"]["name"] for item in items] == names
    assert {(item["apiVersion"], item["kind"]) for item in items} == {("v1", "ConfigMap")}
    assert int(version) > 0
    one, _ = await kube.list(CONFIG_MAPS, namespace=namespace, fields="metadata.name=m03")
    assert [item["metadata"]["name"] for item in one] == ["m03"]
    crds, _ = await kube.list(CRDS)
    assert {crd["kind"] for crd in crds} == {"CustomResourceDefinition"}


async def test_a_watch_goes_on_where_the_list_ended(kube: Kube, namespace: str) -> None:
    _, version = await kube.list(CONFIG_MAPS, namespace=namespace, labels="test=client")
    large = "x" * 600_000
    await kube.create(CONFIG_MAPS, config_map("w", large=large), namespace=namespace)
    await kube.patch(CONFIG_MAPS, name="w", namespace=namespace, body={"data": {"a": "b"}})
    await kube.delete(CONFIG_MAPS, name="w", namespace=namespace)
    seen = []
    async with aclosing(
        kube.watch(CONFIG_MAPS, namespace=namespace, labels="test=client", resource_version=version)
    ) as events:
        async for kind, body in events:
            if kind != "BOOKMARK":
                seen.append((kind, len(body["data"]["large"]), body["data"].get("a")))
            if kind == "DELETED":
                break
    size = len(large)
    assert seen == [("ADDED", size, None), ("MODIFIED", size, "b"), ("DELETED", size, "b")]


async def test_a_watch_from_what_is_not_a_version_is_refused(kube: Kube) -> None:
    with pytest.raises(errors.ApiError, match=r"watch namespaces: .*not-a-version"):
        async for _ in kube.watch(NAMESPACES, resource_version="not-a-version"):
            pass


def box(lab: Lab, command: list[str]) -> dict[str, Any]:
    image = f"{lab.registry}/box/busybox:1"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "initContainers": [{"name": "init", "image": image, "command": ["true"]}],
            "containers": [{"name": "box", "image": image, "command": command}],
        },
    }


async def make_pod(kube: Kube, lab: Lab, namespace: str, command: list[str]) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                await kube.create(PODS, box(lab, command), namespace=namespace)
                return
            except errors.Forbidden:  # the namespace's service account comes a moment later
                await asyncio.sleep(0.1)


async def until_started(kube: Kube, namespace: str) -> None:
    """Try a command as the session does: as soon as it can be, whatever the pod's status says."""
    async with asyncio.timeout(240):
        while True:
            try:
                assert await run(kube, namespace, ["true"]) == (b"", Exited(0), b"")
                return
            except NotYet:
                await asyncio.sleep(0.05)
            except errors.Unavailable as error:
                # A handshake that a busy machine was too slow for has no status; what the server answers has one.
                if error.status:
                    raise


async def start(
    kube: Kube, namespace: str, command: list[str], *, pod: str = "p", container: str = "box"
) -> ExecStream:
    return await kube.exec(namespace=namespace, pod=pod, container=container, command=command)


async def finish(stream: ExecStream) -> tuple[bytes, Cut | Exited | None, bytes]:
    chunks = []
    while chunk := await stream.read():
        chunks.append(chunk)
    await stream.close()
    return b"".join(chunks), stream.ending, stream.stderr


async def run(
    kube: Kube, namespace: str, command: list[str], *, pod: str = "p", container: str = "box"
) -> tuple[bytes, Cut | Exited | None, bytes]:
    stream = await start(kube, namespace, command, pod=pod, container=container)
    try:
        return await finish(stream)
    finally:
        await stream.close()


async def test_commands_in_a_pod(kube: Kube, lab: Lab, namespace: str) -> None:
    await make_pod(kube, lab, namespace, ["sh", "-c", "echo started; exec sleep 600"])
    # Only NotYet on the way there, from the first moment on.
    await until_started(kube, namespace)

    out, ending, err = await run(
        kube, namespace, ["sh", "-c", "echo out; echo err >&2; exit 3", "a b"]
    )
    assert (out, err) == (b"out\n", b"err\n")
    assert isinstance(ending, Exited)
    assert ending.code == 3

    data = os.urandom(3 * 1024 * 1024)
    stream = await start(kube, namespace, ["head", "-c", str(len(data))])
    feeding = asyncio.create_task(stream.write(data))
    assert await finish(stream) == (data, Exited(0), b"")
    await feeding

    with pytest.raises(errors.ApiError, match="no such file or directory") as caught:
        await run(kube, namespace, ["/nope"])
    assert type(caught.value) is errors.ApiError
    with pytest.raises(errors.ApiError, match="container nope is not valid for pod p"):
        await run(kube, namespace, ["true"], container="nope")
    with pytest.raises(errors.NotFound):
        await run(kube, namespace, ["true"], pod="nope")
    with pytest.raises(NotYet):
        await run(kube, namespace, ["true"], container="init")

    # The kubelet takes an exec up to a second before it reports the container, and logs only afterwards.
    async with asyncio.timeout(120):
        while (
            not (await kube.get(PODS, name="p", namespace=namespace))["status"]
            .get("containerStatuses", [{}])[0]
            .get("started")
        ):
            await asyncio.sleep(0.05)
        # A command may run before the container's own has printed.
        while not (log := await kube.logs(namespace=namespace, pod="p", container="box")):
            await asyncio.sleep(0.05)
    assert log == b"started\n"
    with pytest.raises(errors.ApiError):
        await kube.logs(namespace=namespace, pod="p", container="box", previous=True)

    stream = await start(kube, namespace, ["sh", "-c", "echo up; exec sleep 600"])
    assert await stream.read() == b"up\n"
    await kube.delete(PODS, name="p", namespace=namespace, grace_seconds=0)
    assert await stream.read() == b""
    assert stream.ending is not None
    assert stream.ending != Exited(0)
    await stream.close()


async def test_a_frozen_container_is_reported(kube: Kube, lab: Lab, namespace: str) -> None:
    await make_pod(kube, lab, namespace, ["sleep", "600"])
    await until_started(kube, namespace)
    pod: dict[str, Any] = {}
    async with asyncio.timeout(120):
        while not pod.get("status", {}).get("containerStatuses", [{}])[0].get("containerID"):
            pod = await kube.get(PODS, name="p", namespace=namespace)
            await asyncio.sleep(0.05)
    container = pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]

    def ctr(verb: str) -> None:
        subprocess.run(
            ["docker", *CTR, verb, container],
            env={**os.environ, **lab.environ()},
            check=True,
            capture_output=True,
        )

    await asyncio.to_thread(ctr, "pause")
    try:
        with pytest.raises(errors.Paused, match="cannot exec in a paused state"):
            await run(kube, namespace, ["true"])
    finally:
        await asyncio.to_thread(ctr, "resume")
    assert await run(kube, namespace, ["true"]) == (b"", Exited(0), b"")


async def test_a_token_without_rights_gets_their_names(
    kube: Kube, lab: Lab, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    await kube.create(SERVICE_ACCOUNTS, account, namespace=namespace)
    token = kubectl("-n", namespace, "create", "token", "nobody").strip()
    config = kubeconfig(lab)
    (tmp_path / "token").write_text(token)
    config["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
    (tmp_path / "k").write_text(yaml.safe_dump(config))
    async with await Kube.connect(user_agent="t", kubeconfig=str(tmp_path / "k")) as nobody:
        with pytest.raises(errors.Forbidden, match=f"{namespace}:nobody.*cannot get") as caught:
            await nobody.get(PODS, name="p", namespace=namespace)
        assert caught.value.status == 403
        with pytest.raises(errors.Forbidden, match="pods/exec"):
            await start(nobody, namespace, ["true"])
        (tmp_path / "token").write_text("rubbish")
        (tmp_path / "k").write_text(yaml.safe_dump(config))
    async with await Kube.connect(user_agent="t", kubeconfig=str(tmp_path / "k")) as stranger:
        with pytest.raises(errors.Forbidden) as caught:
            await stranger.get(PODS, name="p", namespace=namespace)
        assert caught.value.status == 401


async def test_a_certificate_of_another_authority_is_refused(lab: Lab, tmp_path: Path) -> None:
    config = kubeconfig(lab)
    del config["clusters"][0]["cluster"]["certificate-authority-data"]
    (tmp_path / "k").write_text(yaml.safe_dump(config))
    async with await Kube.connect(user_agent="t", kubeconfig=str(tmp_path / "k")) as kube:
        with pytest.raises(errors.Unavailable, match="certificate verify failed"):
            await kube.list(NAMESPACES)


async def test_a_lease_has_one_leader_and_goes_on_when_it_is_released(
    kube: Kube, namespace: str
) -> None:
    def candidate(identity: str) -> LeaderLease:
        return LeaderLease(
            kube,
            name="op",
            namespace=namespace,
            identity=identity,
            # A renewal that a busy machine delays must not lose the Lease: what expires is tested in tests/unit/kube.
            duration=120,
            renew_deadline=90,
            retry=0.2,
        )

    first, second = candidate("a"), candidate("b")
    await first.acquire()
    renewing = asyncio.create_task(first.run())
    waiting = asyncio.create_task(second.acquire())
    seen: set[str] = set()
    async with asyncio.timeout(120):
        while len(seen) < 4:
            lease = await kube.get(LEASES, name="op", namespace=namespace)
            assert lease["spec"]["holderIdentity"] == "a"
            seen.add(lease["spec"]["renewTime"])
            await asyncio.sleep(0.1)
        assert (first.leading, waiting.done()) == (True, False)
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await first.release()
        await waiting
    assert (second.leading, second.epoch) == (True, 2)


async def test_events_stand_where_kubectl_describe_finds_them(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIG_MAPS, config_map("a"), namespace=namespace)
    regarding = {**made, "apiVersion": "v1", "kind": "ConfigMap"}
    recorder = Recorder(kube, instance="test")
    for _ in range(3):
        recorder.record(regarding, reason="Tried", action="Try", note="again", type="Warning")
    await recorder.close(seconds=120)
    assert recorder.dropped == 0
    uid = made["metadata"]["uid"]
    events, _ = await kube.list(
        CORE_EVENTS, namespace=namespace, fields=f"involvedObject.uid={uid}"
    )
    (event,) = events
    assert (event["reason"], event["message"], event["type"]) == ("Tried", "again", "Warning")
    assert event["series"]["count"] == 3
    assert event["reportingComponent"] == "sentinel.wercker.com/operator"


async def test_a_kubeconfig_that_does_not_exist_is_the_users_to_fix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no kubeconfig at"):
        await Kube.connect(user_agent="t", kubeconfig=str(tmp_path / "none"))
