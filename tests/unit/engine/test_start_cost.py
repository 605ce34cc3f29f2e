"""What a start or a failover costs: requests and bytes that do not follow the number of Builds that have ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from tests.unit.clocks import Hasty
from tests.unit.engine.test_sweep import Offers, build, made, tools
from tests.unit.kube.server import Server, kubeconfig, obj

from sentinel.engine.supervisor import Supervisor
from sentinel.engine.sweep import sweep, sweep_runs
from sentinel.engine.workflows import Workflows
from sentinel.kube.client import MOST_PAGE_BYTES, Kube
from sentinel.kube.resources import BUILDS, IMAGE_COMMITS, PODS, WORKFLOW_RUNS
from sentinel.kube.watches import check_installed

METADATA = "as=PartialObjectMetadataList"


class Lists:
    """Answers lists, page by page and by the finished label, as the API server does. `pages` are their sizes."""

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects
        self.pages: list[int] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        found = self.objects.get(plural, [])
        for part in filter(None, request.query.get("labelSelector", "").split(",")):
            key, _, value = part.partition("=")
            negative = key.endswith("!")
            found = [
                raw
                for raw in found
                if (raw["metadata"].get("labels", {}).get(key.rstrip("!")) == value) != negative
            ]
        first = int(request.query.get("continue") or 0)
        after = first + int(request.query.get("limit") or len(found))
        items = found[first:after]
        if METADATA in request.headers["Accept"]:
            items = [{"metadata": raw["metadata"]} for raw in items]
        more = str(after) if after < len(found) else ""
        answer = obj({"kind": "List", "metadata": {"continue": more}, "items": items})
        self.pages.append(len(cast(bytes, answer.body)))
        return answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def kube(server: Server, tmp_path: Path) -> AsyncIterator[Kube]:
    config = kubeconfig(tmp_path / "kubeconfig", server.url, {})
    async with await Kube.connect(user_agent="t", kubeconfig=config, clock=Hasty()) as kube:
        yield kube


@pytest.mark.timeout(240)
async def test_7000_builds_and_3000_kept_pods_cost_50_requests(server: Server, kube: Kube) -> None:
    text = "x" * 6500  # 7 KB in all, as a Build with a few steps has
    builds = [
        build(f"b{n}", uid=f"uid-{n}", finished=True, status={"message": text}) for n in range(6990)
    ]
    builds += [build(f"new{n}", uid=f"new-{n}") for n in range(10)]
    pods = [
        {**made("pods", of=f"b{n}", uid=f"uid-{n}"), "spec": {"text": "x" * 10_000}}
        for n in range(3000)
    ]
    lists = Lists(builds=builds, pods=pods)
    server.handler = lists
    workflows = Workflows(cast(Any, None))
    supervisor = Offers()
    its_tools = tools(cast(Any, kube))

    await check_installed(kube, BUILDS, IMAGE_COMMITS, WORKFLOW_RUNS)
    history = await sweep(its_tools, cast(Supervisor, supervisor))
    await sweep_runs(its_tools, workflows, history)

    assert supervisor.offered == [f"new{n}" for n in range(10)]
    assert {seen.method for seen in server.seen} == {"GET"}
    assert len(server.seen) <= 50, [seen.path for seen in server.seen]
    assert max(lists.pages) <= MOST_PAGE_BYTES


async def test_a_page_of_large_objects_is_asked_for_again_with_fewer(
    server: Server, kube: Kube
) -> None:
    small = [build(f"s{n}", uid=f"s-{n}") for n in range(60)]
    large = [build(f"l{n}", uid=f"l-{n}", status={"message": "x" * 1_400_000}) for n in range(30)]
    lists = Lists(builds=small + large)
    server.handler = lists
    found = [raw["metadata"]["name"] async for raw in kube.each(BUILDS)]
    assert found == [raw["metadata"]["name"] for raw in small + large]
    # Fifty small ones; the rest would be 42 MB and is not read to its end; then ten at a time.
    limits = [int(seen.query["limit"][0]) for seen in server.seen]
    assert limits[:2] == [50, 500]
    assert limits[-1] == 10


async def test_metadata_alone_is_asked_for_where_nothing_else_is_needed(
    server: Server, kube: Kube
) -> None:
    server.handler = Lists(pods=[{**made("pods"), "spec": {"text": "x"}}])
    (found,) = [raw async for raw in kube.each(PODS, metadata_only=True)]
    assert set(found) == {"apiVersion", "kind", "metadata"}


async def test_a_workflow_run_that_has_ended_costs_no_request() -> None:
    asked: list[Any] = []

    class Reconciler:
        async def reconcile(self, key: Any) -> None:
            asked.append(key)

        async def give_up(self, key: Any, why: str) -> None:
            raise AssertionError

    workflows = Workflows(Reconciler())
    task = asyncio.create_task(workflows.run())
    ended = {"conditions": [{"type": "Finished", "status": "True"}]}
    for name, spec, status in (
        ("over", {}, ended),
        ("over-again", {"retry": 1}, {**ended, "retry": 1}),
        ("retried", {"retry": 2}, {**ended, "retry": 1}),
        ("running", {}, {}),
    ):
        metadata = {"namespace": "ns", "name": name}
        workflows.offer({"metadata": metadata, "spec": spec, "status": status})
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    assert sorted(name for _, name in asked) == ["retried", "running"]
