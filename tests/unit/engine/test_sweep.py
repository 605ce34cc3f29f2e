"""The resync: nothing is forgotten, nothing outlives its Build, and no Build ends it for the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import pytest
from tests.unit.clocks import START, Hasty
from tests.unit.engine.world import KEYS
from tests.unit.fakeapi import FakeApi

from sentinel.clock import rfc3339
from sentinel.engine import sweep as engine_sweep
from sentinel.engine.board import Board
from sentinel.engine.run import Tools
from sentinel.engine.supervisor import Supervisor
from sentinel.engine.sweep import sweep
from sentinel.kube.errors import Forbidden, Unavailable
from sentinel.plan.names import (
    FINISHED_LABEL,
    INSTANCE_LABEL,
    PLAN_ANNOTATION,
    UID_LABEL,
    AttemptId,
)
from sentinel.plan.seal import seal_plan, sign_object
from sentinel.resolver.shelf import Known
from sentinel.settings import Settings

UID = "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa"
OTHER = "11111111-9b1c-4e7e-8a55-3d2f10c4b7aa"


def build(name: str, *, uid: str = UID, finished: bool = False, **fields: Any) -> dict[str, Any]:
    marks = {FINISHED_LABEL: "true"} if finished else {}
    return {
        "metadata": {"namespace": "ns", "name": name, "uid": uid, "labels": marks},
        "spec": {},
        **fields,
    }


def ended(name: str, ttl: str, *, uid: str = UID, ago: float = 60) -> dict[str, Any]:
    when = rfc3339(START - timedelta(seconds=ago))
    finished = {"type": "Finished", "status": "True"}
    spec, status = {"ttlAfterFinished": ttl}, {"completionTime": when, "conditions": [finished]}
    return build(name, uid=uid, finished=True, spec=spec, status=status)


def made(kind: str, *, of: str = "b", uid: str = UID, attempt: int = 1) -> dict[str, Any]:
    identity = AttemptId("ns", of, uid, attempt)
    name = identity.pod if kind == "pods" else identity.commit
    metadata = {
        "namespace": "ns",
        "name": name,
        "uid": f"uid-{name}",
        "labels": identity.labels,
    }
    if kind == "pods":
        text = seal_plan("plan", pod="digest", identity=identity, keys=KEYS)
        metadata["annotations"] = {PLAN_ANNOTATION: text}
    return {"metadata": metadata}


def holder(kind: str, name: str, *, attempt: int, signed: bool = True) -> dict[str, Any]:
    """A ConfigMap or Secret of Build `b`."""
    body = {"kind": kind, "metadata": {"namespace": "ns", "name": name, "uid": f"uid-{name}"}}
    identity = AttemptId("ns", "b", UID, attempt)
    return sign_object(body, identity=identity, keys=KEYS) if signed else body


class Offers:
    """A supervisor that fails with some Builds."""

    def __init__(self, *bad: str) -> None:
        self.bad, self.offered = bad, [""][:0]

    def offer(self, raw: dict[str, Any]) -> None:
        if raw["metadata"]["name"] in self.bad:
            raise OverflowError("Python int too large to convert to C int")
        self.offered.append(raw["metadata"]["name"])


def tools(kube: FakeApi, **settings: Any) -> Tools:
    return Tools(
        kube=cast(Any, kube),
        settings=Settings(**settings),
        clock=cast(Any, Hasty()),
        store=None,
        builds=Board(),
        pods=Board(),
        commits=Board(),
        keys=KEYS,
        resolver=cast(Any, None),
        shelf=cast(Any, None),
        known=Known(),
    )


async def run(kube: FakeApi, supervisor: Offers | None = None, **settings: Any) -> Offers:
    supervisor = supervisor or Offers()
    await sweep(tools(kube, **settings), cast(Supervisor, supervisor))
    return supervisor


async def test_one_bad_build_does_not_end_the_resync() -> None:
    kube = FakeApi(
        builds=[
            build("bad"),
            build("good"),
            ended("endless", "99999999999h", uid="endless"),
            ended("silent", "5s", uid="silent"),
            ended("old", "5s", uid="old"),
        ]
    )
    kube.fail("delete", "silent", Unavailable("the API server is away"))

    supervisor = await run(kube, Offers("bad"))

    assert supervisor.offered == ["good"]
    assert kube.deleted == [("builds", "old")]


async def test_what_builds_left_that_are_gone_is_deleted() -> None:
    kube = FakeApi(
        builds=[build("lives", uid=OTHER)],
        pods=[made("pods"), made("pods", of="lives", uid=OTHER)],
        imagecommits=[made("imagecommits"), made("imagecommits", of="lives", uid=OTHER)],
        configmaps=[holder("ConfigMap", "b-6f0d3a52-1-steps", attempt=1)],
        secrets=[holder("Secret", "b-6f0d3a52-pull", attempt=0)],
    )

    await run(kube)

    assert sorted(kube.deleted) == [
        ("configmaps", "b-6f0d3a52-1-steps"),
        ("imagecommits", "b-6f0d3a52-1-end"),
        ("pods", "b-6f0d3a52-1"),
        ("secrets", "b-6f0d3a52-pull"),
    ]


async def test_a_finished_build_keeps_its_pod() -> None:
    kube = FakeApi(builds=[ended("b", "168h")], pods=[made("pods")])
    await run(kube)
    assert kube.deleted == []


async def test_pods_that_only_have_our_labels_are_left_alone() -> None:
    named = made("pods")
    named["metadata"]["name"] = "database"
    strange = made("pods")
    strange["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "sentinel"}
    unsigned = made("pods")
    del unsigned["metadata"]["annotations"]
    copied = made("pods", attempt=2)
    copied["metadata"]["annotations"] = made("pods")["metadata"]["annotations"]
    for raw in (named, strange, unsigned, copied):
        kube = FakeApi(pods=[raw])
        await run(kube)
        assert kube.deleted == []


async def test_objects_that_only_have_the_names_of_ours_are_left_alone() -> None:
    kube = FakeApi(
        pods=[made("pods")],
        configmaps=[holder("ConfigMap", "b-6f0d3a52-1-steps", attempt=1, signed=False)],
        secrets=[holder("Secret", "b-6f0d3a52-pull", attempt=0, signed=False)],
    )
    await run(kube)
    assert kube.deleted == [("pods", "b-6f0d3a52-1")]


async def test_pods_are_listed_before_the_builds_that_they_belong_to() -> None:
    kube = FakeApi()
    await run(kube)
    listed = [plural for plural, _ in kube.listed]
    # The first are the pods that build images.
    assert listed == ["pods", "pods", "imagecommits", "builds", "builds"]


async def test_an_operator_of_some_namespaces_lists_nothing_cluster_wide() -> None:
    kube = FakeApi()
    await run(kube, namespaces=["a", "b"], pod_namespace="sentinel-system")
    assert {namespace for _, namespace in kube.listed} == {"a", "b", "sentinel-system"}


def builder(name: str, *, uid: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": "image-build", UID_LABEL: uid}
    return {
        "metadata": {
            "namespace": "sentinel-system",
            "name": name,
            "uid": f"uid-{name}",
            "labels": labels,
        }
    }


@pytest.mark.parametrize("address", ["tcp://buildkit:1234", ""])
async def test_pods_that_build_images_for_builds_that_have_ended_are_deleted(address: str) -> None:
    """Also after BuildKit was taken out of the settings."""
    kube = FakeApi(
        builds=[build("runs"), build("done", uid=OTHER, finished=True)],
        pods=[
            builder("runs-1-image1", uid=UID),
            builder("done-1-image1", uid=OTHER),
            builder("gone-1-image1", uid="gone"),
        ],
    )
    buildkit = {"address": address, "tls_secret": "client"}

    await run(kube, engine={"buildkit": buildkit})

    assert kube.deleted == [("pods", "done-1-image1"), ("pods", "gone-1-image1")]


async def test_without_buildkit_the_release_namespace_may_be_denied() -> None:
    """An operator of some namespaces has a right to its own namespace's pods only for BuildKit."""

    class Denying(FakeApi):
        async def each(self, resource: Any, **fields: Any) -> AsyncIterator[Any]:
            if fields.get("namespace") == "sentinel-system":
                raise Forbidden("pods is forbidden", status=403, text="forbidden")
            async for raw in super().each(resource, **fields):
                yield raw

    kube = Denying(builds=[ended("old", "5s")])
    await run(kube, namespaces=["a"], pod_namespace="sentinel-system")
    assert kube.deleted == [("builds", "old")]


async def test_only_the_last_builds_of_an_application_stay() -> None:
    source = {"source": {"git": {"url": "https://example.com/acme/shop.git"}}}
    builds = [ended(f"b{n}", "168h", uid=f"u{n}", ago=3600 - n) for n in range(4)]
    for each in builds:
        each["spec"] |= source
    child = build("child", uid="child", spec={**source, "parent": {"name": "b0"}})
    kube = FakeApi(builds=[*builds, child])

    await run(kube, retention={"failed_builds_history_limit": 1})

    # b0 is what an unfinished Build goes on from.
    assert kube.deleted == [("builds", "b1"), ("builds", "b2")]


async def test_a_sweep_deletes_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_sweep, "MOST_DELETED", 2)
    kube = FakeApi(builds=[ended(f"b{n}", "1s", uid=f"u{n}", ago=100 - n) for n in range(3)])
    await run(kube)
    assert kube.deleted == [("builds", "b0"), ("builds", "b1")]
    await run(kube)
    assert kube.deleted[2:] == [("builds", "b2")]


async def test_an_installation_with_a_name_leaves_the_builds_of_others_alone() -> None:
    ours = build("ours", uid="uid-ours")
    ours["metadata"]["labels"][INSTANCE_LABEL] = "second"
    theirs = ended("theirs", "5s", uid="uid-theirs")
    theirs["metadata"]["labels"][INSTANCE_LABEL] = "first"
    unnamed = build("unnamed", uid="uid-unnamed")
    commit = made("imagecommits", of="gone", uid=OTHER)
    commit["metadata"]["labels"][INSTANCE_LABEL] = "first"
    # Made for it before this installation had a name: no orphan.
    pod = made("pods", of="unnamed", uid="uid-unnamed")
    kube = FakeApi(builds=[ours, theirs, unnamed], pods=[pod], imagecommits=[commit])

    supervisor = await run(kube, instance="second")

    assert supervisor.offered == ["ours"]
    assert kube.deleted == []
