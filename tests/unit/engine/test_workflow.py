"""WorkflowRuns brought further against an API server in memory: read once, created once, ended with a reason."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from tests.unit.clocks import Hasty
from tests.unit.engine.world import KEYS
from tests.unit.plan.test_workflow import COMMIT, UID, YML

from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.config.load import load, workflow_of
from sentinel.engine.board import Board
from sentinel.engine.run import Tools
from sentinel.engine.sweep import sweep_runs
from sentinel.engine.workflow import Reconciler
from sentinel.engine.workflows import MOST_FAILURES, Workflows
from sentinel.errors import InfrastructureError, TransientError
from sentinel.kube.errors import AlreadyExists, Conflict, Forbidden, NotFound, Unavailable
from sentinel.kube.resources import Resource
from sentinel.plan.history import History
from sentinel.plan.workflow import RUN_UID_LABEL
from sentinel.resolver.messages import (
    EnvFileFound,
    Failure,
    SourceAnswer,
    WorkflowAnswer,
    WorkflowRequest,
)
from sentinel.resolver.shelf import Known
from sentinel.settings import Settings

KEY = ("ns", "run")
SOURCE = SourceAnswer(commit=COMMIT, branch="main", subject="Say hello")


class World:
    """One WorkflowRun, its Builds, and a resolver that answers `answer`. `failing` are errors of the next calls."""

    def __init__(self, **spec: Any) -> None:
        git = {"url": "https://example.com/o/r.git", "ref": "main"}
        self.raw: dict[str, Any] = {
            "apiVersion": "sentinel.wercker.com/v1alpha1",
            "kind": "WorkflowRun",
            "metadata": {
                "name": "run",
                "namespace": "ns",
                "uid": UID,
                "generation": 1,
                "resourceVersion": "1",
            },
            "spec": {"source": {"git": git}, **spec},
        }
        self.builds: dict[str, dict[str, Any]] = {}
        self.answer: WorkflowAnswer | Exception = WorkflowAnswer(
            source=SOURCE, workflow=workflow_of(load(YML.encode()), "")
        )
        self.asked: list[WorkflowRequest] = []
        self.failing: dict[str, list[Exception]] = {}
        self.events: list[str] = []
        self.writes = 0
        self.deleted: list[str] = []
        tools = Tools(
            kube=cast(Any, self),
            settings=Settings(),
            clock=cast(Any, Hasty()),
            store=None,
            builds=Board(),
            pods=Board(),
            commits=Board(),
            keys=KEYS,
            resolver=cast(Any, self),
            shelf=cast(Any, None),
            known=Known(),
        )
        self.tools = tools
        self.reconciler = Reconciler(tools, cast(Any, self))

    @asynccontextmanager
    async def session(self, *, namespace: str, build: str) -> AsyncIterator[Any]:
        yield self

    async def workflow(self, request: WorkflowRequest) -> WorkflowAnswer:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def record(self, raw: Any, *, reason: str, note: str, **_: Any) -> None:
        self.events.append(reason)

    def _fail(self, what: str) -> None:
        if self.failing.get(what):
            raise self.failing[what].pop(0)

    async def get(self, resource: Resource, *, name: str, namespace: str) -> dict[str, Any]:
        self._fail("get")
        of = self.builds if resource.plural == "builds" else {"run": self.raw}
        if name not in of:
            raise NotFound(f"no {name}")
        return copy.deepcopy(of[name])

    async def each(self, resource: Resource, *, labels: str = "", **_: Any) -> AsyncIterator[Any]:
        if resource.plural == "workflowruns":
            yield copy.deepcopy(self.raw)
            return
        assert labels == f"{RUN_UID_LABEL}={UID}"
        for raw in list(self.builds.values()):
            if (raw["metadata"].get("labels") or {}).get(RUN_UID_LABEL) == UID:
                yield copy.deepcopy(raw)

    async def create(
        self, resource: Resource, body: dict[str, Any], *, namespace: str
    ) -> dict[str, Any]:
        self._fail("create")
        name = body["metadata"]["name"]
        if name in self.builds:
            raise AlreadyExists(f"{name} exists")
        made = copy.deepcopy(body)
        made["metadata"]["uid"] = f"uid-{name}"
        self.builds[name] = made
        return made

    async def patch(self, resource: Resource, *, name: str, body: Any, **_: Any) -> None:
        self.builds[name]["spec"] |= body["spec"]

    async def delete(self, resource: Resource, *, name: str, **_: Any) -> None:
        self.deleted.append(name)

    async def replace(
        self, resource: Resource, body: dict[str, Any], *, subresource: str
    ) -> dict[str, Any]:
        self._fail("replace")
        assert subresource == "status"
        if body["metadata"]["resourceVersion"] != self.raw["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        self.writes += 1
        version = str(int(self.raw["metadata"]["resourceVersion"]) + 1)
        metadata = {**self.raw["metadata"], "resourceVersion": version}
        self.raw = {**self.raw, "metadata": metadata, "status": copy.deepcopy(body["status"])}
        return copy.deepcopy(self.raw)

    async def go(self) -> list[str]:
        """Reconcile; the names of all Builds."""
        await self.reconciler.reconcile(KEY)
        return sorted(self.builds)

    def end(self, name: str, phase: str = "Succeeded", reason: str = "Passed") -> None:
        self.builds[name]["status"] = {
            "phase": phase,
            "conditions": [
                {
                    "type": "Succeeded",
                    "status": "True" if phase == "Succeeded" else "False",
                    "reason": reason,
                },
                {"type": "Finished", "status": "True", "reason": "Completed"},
            ],
        }

    @property
    def status(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.raw["status"])

    def condition(self, type_: str) -> tuple[str, str]:
        found = next(c for c in self.status["conditions"] if c["type"] == type_)
        return found["status"], found["reason"]


async def test_from_source_to_the_end() -> None:
    w = World()
    assert await w.go() == ["run-1-build"]
    assert w.status["source"]["commit"] == COMMIT
    assert (w.status["workflow"], w.status["phase"], w.status["progress"]) == (
        "ci",
        "Running",
        "0/4",
    )
    w.end("run-1-build")
    assert len(await w.go()) == 3
    for name in ("run-2-unit", "run-3-system"):
        w.end(name)
    assert len(await w.go()) == 4
    w.end("run-4-deploy")
    await w.go()
    assert (w.status["phase"], w.status["progress"]) == ("Succeeded", "4/4")
    assert w.condition("Succeeded") == ("True", "Passed")
    assert w.condition("Finished") == ("True", "Completed")
    assert w.events == ["Accepted", *["Created"] * 4, "Finished"]
    assert len(w.asked) == 1
    writes = w.writes
    await w.go()
    assert w.writes == writes


async def test_nothing_new_writes_nothing() -> None:
    w = World()
    await w.go()
    writes = w.writes
    for _ in range(3):
        await w.go()
    assert w.writes == writes


@pytest.mark.parametrize("what", ["get", "create", "replace"])
async def test_whatever_is_cut_off_is_done_again_and_nothing_twice(what: str) -> None:
    """Each call fails once, at each place; a new operator begins from the top."""
    for place in range(6):
        w = World()
        w.failing[what] = [cast(Exception, None)] * place
        # Only the call at `place` fails.
        calls = 0
        error = Unavailable("the API server is away")

        def fail(kind: str, w: World = w, error: Exception = error, place: int = place) -> None:
            nonlocal calls
            if kind == what:
                calls += 1
                if calls == place + 1:
                    raise error

        w._fail = fail  # type: ignore[method-assign]
        for _ in range(12):
            try:
                await w.go()
            except TransientError:
                continue
            for raw in w.builds.values():
                if "status" not in raw:
                    w.end(raw["metadata"]["name"])
                    break
        assert w.status["phase"] == "Succeeded", (what, place)
        assert sorted(w.builds) == ["run-1-build", "run-2-unit", "run-3-system", "run-4-deploy"]


@pytest.mark.parametrize(
    ("kind", "reason", "phase"),
    [
        ("user", Reason.CONFIG_INVALID, "Failed"),
        ("infrastructure", Reason.SOURCE_UNAVAILABLE, "Errored"),
    ],
)
async def test_a_source_without_a_workflow_ends_the_run(
    kind: Any, reason: Reason, phase: str
) -> None:
    w = World()
    w.answer = WorkflowAnswer(
        source=SOURCE, failure=Failure(kind=kind, reason=reason, message="no")
    )
    assert await w.go() == []
    assert (w.status["phase"], w.condition("Accepted")) == (phase, ("False", reason))
    assert w.condition("Finished")[0] == "True"
    assert w.status["source"]["commit"] == COMMIT
    await w.go()
    assert len(w.asked) == 1


async def test_a_retry_of_a_run_that_was_never_accepted_reads_again() -> None:
    w = World()
    good, w.answer = w.answer, InfrastructureError("away", reason=Reason.SOURCE_UNAVAILABLE)
    await w.go()
    assert w.status["phase"] == "Errored"
    w.answer = good
    w.raw["spec"]["retry"] = 1
    assert await w.go() == ["run-1-build-r1"]
    assert w.condition("Finished") == ("False", "Running")
    assert w.condition("Accepted") == ("True", "Valid")
    assert "completionTime" not in w.status


async def test_a_finished_run_goes_on_when_it_is_retried_and_only_then() -> None:
    w = World()
    await w.go()
    w.end("run-1-build", "Failed", "ExitCode")
    await w.go()
    assert w.status["phase"] == "Failed"
    await w.go()
    assert list(w.builds) == ["run-1-build"]
    w.raw["spec"] |= {"retry": 1, "cancel": True}
    await w.go()
    assert list(w.builds) == ["run-1-build"]
    w.raw["spec"]["cancel"] = False
    assert await w.go() == ["run-1-build", "run-1-build-r1"]
    assert w.status["phase"] == "Running"
    assert w.status["retry"] == 1


async def test_a_cancel_reaches_its_builds() -> None:
    w = World()
    await w.go()
    w.raw["spec"]["cancel"] = True
    await w.go()
    assert w.builds["run-1-build"]["spec"]["cancel"] is True
    w.end("run-1-build", "Cancelled", "Cancelled")
    await w.go()
    assert w.status["phase"] == "Cancelled"
    assert list(w.builds) == ["run-1-build"]


async def test_a_run_that_is_cancelled_before_it_was_read_reads_nothing() -> None:
    w = World(cancel=True)
    assert await w.go() == []
    assert w.asked == []
    assert (w.status["phase"], w.condition("Finished")[0]) == ("Cancelled", "True")


async def test_a_build_of_another_with_the_same_name_is_not_taken_for_ours() -> None:
    other = {
        "apiVersion": "sentinel.wercker.com/v1alpha1",
        "kind": "Build",
        "metadata": {"name": "run-1-build", "namespace": "ns", "uid": "x"},
        "spec": {"source": {"git": {"url": "https://evil.example.com/x.git"}}},
    }
    w = World()
    w.builds["run-1-build"] = other
    await w.go()
    assert w.status["phase"] == "Failed"
    assert "was not made for this run" in w.status["pipelines"][0]["message"]
    forged = copy.deepcopy(other)
    forged["metadata"]["ownerReferences"] = [
        {"kind": "WorkflowRun", "uid": UID, "controller": True, "name": "run"}
    ]
    w = World()
    w.builds["run-1-build"] = forged
    await w.go()
    assert w.status["phase"] == "Failed"


@pytest.mark.parametrize("name", ["run-1-build", "run-4-deploy"])
async def test_a_build_that_passes_itself_off_as_the_runs_own_is_not_counted(name: str) -> None:
    """Name, label and owner can be written by anyone who may create Builds; nothing that was not asked for passes."""
    w = World()
    ours = (await w.go())[0]
    forged = copy.deepcopy(w.builds[ours])
    forged["metadata"]["name"] = name
    forged["spec"] = {"source": {"git": {"url": "https://example.com/o/r.git"}}, "config": "box: x"}
    w.builds[name] = forged
    w.end(name)
    for _ in range(2):
        for each in await w.go():
            if each != name:
                w.end(each)
    await w.go()
    pipelines = {each["name"]: each for each in w.status["pipelines"]}
    if name == ours:
        assert (pipelines["build"]["phase"], w.status["phase"]) == ("Cancelled", "Cancelled")
    else:
        assert w.status["phase"] == "Failed"
        assert "was not made for this run" in pipelines["deploy"]["message"]


async def test_our_own_build_from_before_a_restart_is_taken() -> None:
    w = World()
    await w.go()
    labels = w.builds["run-1-build"]["metadata"].pop("labels")
    w.raw["status"]["pipelines"][0] |= {"build": "", "phase": "Waiting"}
    await w.go()
    assert w.status["pipelines"][0]["build"] == "run-1-build"
    assert labels[RUN_UID_LABEL] == UID


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ('builds "x" is forbidden: exceeded quota: q, requested: count/builds=1', ""),
        ('admission webhook "w" denied the request: no', "Failed"),
    ],
)
async def test_what_the_api_server_denies(text: str, phase: str) -> None:
    w = World()
    w.failing["create"] = [Forbidden(text, status=403, text=text)]
    if phase:
        await w.go()
        assert w.status["phase"] == phase
        assert w.status["pipelines"][0]["reason"] == "AdmissionDenied"
        return
    with pytest.raises(TransientError):
        await w.go()
    assert w.status["pipelines"][0].get("build") is None
    assert await w.go() == ["run-1-build"]


async def test_a_right_that_the_server_does_not_know_yet_fails_no_pipeline() -> None:
    text = 'builds is forbidden: User "system:serviceaccount:s:o" cannot create resource "builds"'
    w = World()
    w.failing["create"] = [Forbidden(text, status=403, text=text)]
    with pytest.raises(Forbidden):
        await w.go()
    assert await w.go() == ["run-1-build"]


async def test_a_run_that_is_deleted_while_it_is_looked_at_is_let_go() -> None:
    w = World()
    w.failing["replace"] = [NotFound("no run")]
    assert await w.go() == []


async def test_env_files_come_with_the_answer() -> None:
    text = YML.replace("      - name: build\n", "      - name: build\n        envFile: E\n")
    w = World()
    w.answer = WorkflowAnswer(
        source=SOURCE,
        workflow=workflow_of(load(text.encode()), ""),
        env_files=(EnvFileFound(name="E", text="X_A=1\n"),),
    )
    await w.go()
    assert w.builds["run-1-build"]["spec"]["env"] == [{"name": "A", "value": "1"}]


async def test_a_spec_that_cannot_be_read_ends_the_run() -> None:
    w = World(retries={"infrastructure": "many"})
    await w.go()
    assert (w.status["phase"], w.condition("Accepted")) == ("Failed", ("False", "InvalidSpec"))


async def test_a_run_that_is_gone_or_going_is_left_alone() -> None:
    w = World()
    w.raw["metadata"]["deletionTimestamp"] = "2026-11-23T09:00:00Z"
    assert await w.go() == []
    await w.reconciler.reconcile(("ns", "other"))


class Heard:
    """A reconciler that notes what it is asked for."""

    def __init__(self, *errors: Exception) -> None:
        self.seen: list[str] = []
        self.given_up: list[str] = []
        self.errors = list(errors)
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def reconcile(self, key: tuple[str, str]) -> None:
        self.seen.append(key[1])
        await self.may_end.wait()
        if self.errors:
            raise self.errors.pop(0)

    async def give_up(self, key: tuple[str, str], why: str) -> None:
        self.given_up.append(why)


@pytest.fixture
async def queue(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setattr("sentinel.engine.workflows.BACKOFF", Backoff(first=0.0, longest=0.0))
    tasks: list[asyncio.Task[None]] = []

    def make(heard: Heard) -> Workflows:
        made = Workflows(heard)
        tasks.append(asyncio.create_task(made.run()))
        return made

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run(name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name, "uid": f"u-{name}"}}


def owned(name: str, phase: str, *, of: str = "a") -> dict[str, Any]:
    owner = {"kind": "WorkflowRun", "name": of, "uid": f"u-{of}"}
    meta = {"namespace": "ns", "name": name, "uid": f"u-{name}", "ownerReferences": [owner]}
    return {"metadata": meta, "status": {"phase": phase}}


async def settle() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


async def test_one_run_is_never_looked_at_twice_at_once_and_no_news_is_lost(queue: Any) -> None:
    heard = Heard()
    w = queue(heard)
    heard.may_end.clear()
    w.offer(run("a"))
    await settle()
    for _ in range(3):
        w.offer(run("a"))
    await settle()
    assert heard.seen == ["a"]
    heard.may_end.set()
    await settle()
    assert heard.seen == ["a", "a"]


async def test_a_namespace_whose_servers_are_slow_does_not_hold_up_others(queue: Any) -> None:
    heard = Heard()
    heard.may_end.clear()
    w = queue(heard)
    for n in range(20):
        w.offer(run(f"slow-{n}"))
    await settle()
    other = run("other")
    other["metadata"]["namespace"] = "another"
    w.offer(other)
    await settle()
    assert heard.seen == ["slow-0", "slow-1", "slow-2", "slow-3", "other"]
    heard.may_end.set()
    async with asyncio.timeout(150):
        while len(heard.seen) < 21:
            await asyncio.sleep(0)


async def test_only_another_phase_of_a_build_is_news(queue: Any) -> None:
    heard = Heard()
    w = queue(heard)
    for phase in ("Queued", "Queued", "Running", "Running", "Running"):
        w.built(owned("b", phase))
        await settle()
    assert heard.seen == ["a", "a"]
    w.built(owned("b", "Running"), deleted=True)
    w.built({"metadata": {"namespace": "ns", "name": "other", "uid": "x"}})
    await settle()
    assert heard.seen == ["a", "a", "a"]


async def test_a_run_we_fail_with_is_tried_again_and_in_the_end_ended(queue: Any) -> None:
    heard = Heard(TransientError("away"), *(RuntimeError("secret") for _ in range(MOST_FAILURES)))
    w = queue(heard)
    w.offer(run("a"))
    async with asyncio.timeout(150):
        while not heard.given_up:
            await asyncio.sleep(0.01)
    assert "secret" not in heard.given_up[0]
    assert heard.given_up[0].startswith("RuntimeError")


async def test_an_api_server_that_is_away_never_ends_a_run(queue: Any) -> None:
    heard = Heard(*(TransientError("away") for _ in range(3 * MOST_FAILURES)))
    w = queue(heard)
    w.offer(run("a"))
    async with asyncio.timeout(150):
        while heard.errors:
            await asyncio.sleep(0.01)
    assert heard.given_up == []


async def test_giving_up_is_written() -> None:
    w = World()
    await w.reconciler.give_up(KEY, "KeyError")
    assert (w.status["phase"], w.condition("Succeeded")) == ("Errored", ("False", "Internal"))


async def test_the_resync_offers_unfinished_runs_and_deletes_those_past_their_time() -> None:
    w = World(ttlAfterFinished="1m")
    heard: list[str] = []

    class Offers:
        def offer(self, raw: dict[str, Any]) -> None:
            heard.append(raw["metadata"]["name"])

    await sweep_runs(w.tools, cast(Any, Offers()), History())
    assert (heard, w.deleted) == (["run"], [])
    w.answer = InfrastructureError("away", reason=Reason.SOURCE_UNAVAILABLE)
    await w.go()
    await sweep_runs(w.tools, cast(Any, Offers()), History())
    assert (heard, w.deleted) == (["run"], [])
    cast(Hasty, w.tools.clock).elapsed += 61
    await sweep_runs(w.tools, cast(Any, Offers()), History())
    assert w.deleted == ["run"]
