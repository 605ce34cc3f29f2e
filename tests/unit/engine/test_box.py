"""When the operator reaches for a box, and when it does not yet."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.world import plan

from sentinel.engine.board import Board
from sentinel.engine.box import connector
from sentinel.engine.boxsteps import open_message, stale
from sentinel.errors import NotYet
from sentinel.kube.errors import NotFound
from sentinel.layout import BOXKIT
from sentinel.plan.environment import ResolvedEnvironment


class FakeKube:
    """Notes every exec, and answers with what it was given."""

    def __init__(self, answer: Any = "stream") -> None:
        self.execs: list[dict[str, Any]] = []
        self._answer = answer

    async def exec(self, **arguments: Any) -> Any:
        self.execs.append(arguments)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def pod(version: int, **conditions: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ci", "name": "p", "uid": "u", "resourceVersion": str(version)},
        "spec": {"nodeName": "n"} if conditions else {},
        "status": {"conditions": [{"type": t, "status": s} for t, s in conditions.items()]},
    }


def connect_to(kube: FakeKube, pods: Board) -> Any:
    return connector(kube, pods, namespace="ci", pod="p", uid=lambda: "u")  # type: ignore[arg-type]


async def test_no_exec_is_spent_before_the_init_containers_are_done() -> None:
    kube, pods = FakeKube(), Board()
    connect = connect_to(kube, pods)
    for raw in (
        None,
        pod(1),
        pod(2, PodScheduled="True"),
        pod(3, PodScheduled="True", Initialized="False"),
    ):
        if raw is not None:
            pods.offer(raw)
        with pytest.raises(NotYet):
            await connect()
    assert kube.execs == []


async def test_a_box_is_reached_for_before_the_kubelet_says_that_it_runs() -> None:
    kube, pods = FakeKube(), Board()
    pods.offer(pod(4, PodScheduled="True", Initialized="True", ContainersReady="False"))
    assert await connect_to(kube, pods)() == "stream"
    assert kube.execs == [
        {"namespace": "ci", "pod": "p", "container": "box", "command": [BOXKIT, "attach"]}
    ]


async def test_a_pod_that_is_gone_is_not_reached_for() -> None:
    kube, pods = FakeKube(), Board()
    pods.offer(pod(5, Initialized="True"), deleted=True)
    with pytest.raises(NotYet):
        await connect_to(kube, pods)()
    assert kube.execs == []


async def test_a_container_that_does_not_exist_yet_is_not_a_failure() -> None:
    kube, pods = FakeKube(NotFound("no container box", status=404)), Board()
    pods.offer(pod(6, Initialized="True"))
    with pytest.raises(NotYet, match="no container box"):
        await connect_to(kube, pods)()


@pytest.mark.parametrize(
    ("base_path", "emptied"),
    [
        ("/pipeline/source", True),
        ("/go/src/github.com/acme/hello", True),
        ("/app", False),
        ("/usr", False),
        ("/usr/local/lib/app", False),
        ("/home/app", False),
    ],
)
def test_the_source_of_the_build_that_left_the_image_goes(base_path: str, emptied: bool) -> None:
    assert (base_path in stale(base_path, cached=True)) is emptied
    assert {"/pipeline/output", "/report"} <= set(stale(base_path, cached=True))


def test_what_is_restored_to_is_not_emptied_beside_it() -> None:
    assert "/pipeline/cache" not in stale("/pipeline/source", cached=True)
    assert "/pipeline/cache" in stale("/pipeline/source", cached=False)


def test_the_proxy_of_uploads_is_the_operators_whatever_the_build_sets() -> None:
    environment = ResolvedEnvironment(env=(("https_proxy", "http://evil:1"),), masks=())

    message = open_message(
        plan("build"), environment, store=True, ca="PEM", proxy="http://proxy:3128"
    ).message()

    assert (message["proxy"], message["ca"]) == ("http://proxy:3128", "PEM")
