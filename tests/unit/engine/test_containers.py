"""internal/docker-run and docker-kill what is added to the pod, and what becomes of it."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from tests.unit.engine.world import Server, attempt_of, plan, run_of

from sentinel.api.build import PodStatus
from sentinel.engine.attempt import Attempt
from sentinel.engine.containers import kill_container, run_container
from sentinel.engine.ourstep import Verdict
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import Resource
from sentinel.plan.model import PlanStep
from sentinel.resolver.messages import FactsAnswer, FactsRequest, ImageFound

IMAGE = f"docker.io/library/redis@sha256:{'a' * 64}"


@dataclass
class Box:
    """A session of which only the environment and the log are used."""

    notes: dict[str, str] = field(default_factory=dict)

    async def environment(self) -> list[tuple[str, str]]:
        return []

    async def note(self, key: str, text: str) -> None:
        self.notes.setdefault(key, text)


class Registry:
    """A resolver that knows one image."""

    @asynccontextmanager
    async def session(self, **_: str) -> AsyncIterator[Registry]:
        yield self

    async def facts(self, request: FactsRequest) -> FactsAnswer:
        found = ImageFound(digest=f"sha256:{'a' * 64}", cmd=("redis-server",))
        return FactsAnswer(images=(found,))


class Api(Server):
    """An API server whose kubelet brings each ephemeral container into `state`, and ends it when it is killed."""

    def __init__(self, **state: Any) -> None:
        super().__init__()
        self.state = state
        self.refusal: Exception | None = None
        self.killed: list[tuple[str, list[str]]] = []
        self.attempt: Attempt | None = None

    def report(self, name: str, pod: str, state: dict[str, Any]) -> None:
        raw = self.pods[pod]
        statuses = raw["status"].setdefault("ephemeralContainerStatuses", [])
        statuses[:] = [each for each in statuses if each["name"] != name]
        statuses.append({"name": name, "state": state})
        version = str(int(raw["metadata"]["resourceVersion"]) + 1)
        raw["metadata"] = {**raw["metadata"], "resourceVersion": version}
        assert self.attempt is not None
        self.attempt.tools.pods.offer(copy.deepcopy(raw))

    async def patch(self, resource: Resource, *, name: str, body: Any, **_: Any) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        test, add = body
        assert test["value"] == self.pods[name]["metadata"]["uid"]
        spec = self.pods[name]["spec"]
        if add["path"].endswith("/-"):
            spec["ephemeralContainers"].append(add["value"])
        else:
            assert "ephemeralContainers" not in spec
            spec["ephemeralContainers"] = add["value"]
        self.report(spec["ephemeralContainers"][-1]["name"], name, self.state)
        return {}

    async def exec(self, *, pod: str, container: str, command: list[str], **_: Any) -> Any:
        self.killed.append((container, command))
        self.report(container, pod, {"terminated": {"exitCode": 137}})
        return Ended()


class Ended:
    async def read(self) -> bytes:
        return b""

    async def close(self) -> None:
        pass


def begin(api: Api) -> Attempt:
    of = plan()
    pod = api.add_pod(of)
    run = run_of(api)
    run.tools = replace(run.tools, resolver=cast(Any, Registry()))
    run.writer.change(pod=PodStatus(name=pod, uid=f"uid-{pod}"))
    api.attempt = attempt_of(run, of, session=Box())
    api.attempt.tools.pods.offer(copy.deepcopy(api.pods[pod]))
    return api.attempt


def step(verb: str, name: str, *, ordinal: int = 1, **properties: str) -> PlanStep:
    return replace(
        plan().steps[0],
        ordinal=ordinal,
        kind="operator",
        name=verb,
        display_name=name,
        properties=tuple(properties.items()),
    )


def containers(api: Api) -> list[str]:
    (pod,) = api.pods.values()
    return [each["name"] for each in pod["spec"].get("ephemeralContainers", [])]


async def test_containers_are_added_once_and_the_last_of_a_name_is_killed() -> None:
    api = Api(running={})
    attempt = begin(api)

    first = await run_container(attempt, step("docker-run", "db", image="redis"))
    again = await run_container(attempt, step("docker-run", "db", image="redis"))
    await run_container(attempt, step("docker-run", "db", image="redis", ordinal=4))

    assert first == again == Verdict(0, f"container db runs {IMAGE}")
    assert containers(api) == ["run-1-db", "run-4-db"]
    killed = await kill_container(attempt, step("docker-kill", "db", ordinal=5))
    assert killed == Verdict(0, "container db has ended")
    assert api.killed == [("run-4-db", ["/run/sentinel/kit/boxkit", "kill"])]
    # One that has ended is left alone.
    assert (await kill_container(attempt, step("docker-kill", "db", ordinal=6))).exit_code == 0
    assert len(api.killed) == 1


@pytest.mark.parametrize(
    ("state", "code", "message"),
    [
        ({"terminated": {"exitCode": 0}}, 0, "has ended already, with code 0"),
        ({"terminated": {"exitCode": 3}}, 0, "has ended already, with code 3"),
        (
            {"terminated": {"exitCode": 127, "message": "boxkit run: no such program"}},
            1,
            "the container's program cannot be run: boxkit run: no such program",
        ),
        (
            {"waiting": {"reason": "ErrImagePull", "message": "denied"}},
            1,
            "the container cannot be started: ErrImagePull: denied",
        ),
    ],
)
async def test_what_becomes_of_a_container(state: dict[str, Any], code: int, message: str) -> None:
    verdict = await run_container(begin(Api(**state)), step("docker-run", "db", image="redis"))

    assert (verdict.exit_code, message in verdict.message) == (code, True), verdict


async def test_a_container_that_the_namespace_forbids_fails_the_step() -> None:
    api = Api()
    attempt = begin(api)
    api.refusal = Forbidden('violates PodSecurity "restricted:latest"')

    verdict = await run_container(attempt, step("docker-run", "db", image="redis"))

    assert verdict.exit_code == 1
    assert 'violates PodSecurity "restricted:latest"' in verdict.message


async def test_a_pod_that_goes_while_a_container_is_added_fails_the_step() -> None:
    api = Api()
    attempt = begin(api)
    api.refusal = NotFound("no pod")

    verdict = await run_container(attempt, step("docker-run", "db", image="redis"))

    assert verdict == Verdict(1, "the build's pod is gone")


async def test_nothing_is_added_to_a_pod_that_took_the_place_of_ours() -> None:
    api = Api(running={})
    attempt = begin(api)
    (pod,) = api.pods.values()
    pod["metadata"]["uid"] = "another"

    verdict = await run_container(attempt, step("docker-run", "db", image="redis"))

    assert verdict == Verdict(1, "the build's pod is gone")
    assert containers(api) == []


async def test_there_must_be_a_container_to_kill() -> None:
    verdict = await kill_container(begin(Api()), step("docker-kill", "db"))

    assert verdict == Verdict(1, "there is no container 'db' that internal/docker-run started")
