"""Who may edit pods in one namespace can write labels, annotations, owner references and pods under our names.

None of it makes the operator act: the Build ends as NotVerified, and nothing is done to what is not ours.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.world import (
    KEYS,
    SPEC,
    UID,
    Box,
    Server,
    attempt_of,
    plan,
    run_of,
    sealed,
    status_of,
)

from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.engine import build as engine
from sentinel.engine.attempt import Attempt
from sentinel.engine.build import run_build
from sentinel.engine.commit import _check_request
from sentinel.engine.run import Run
from sentinel.errors import NotVerified
from sentinel.handlers import is_signed
from sentinel.kube.resources import Resource
from sentinel.plan.codec import encode
from sentinel.plan.names import PLAN_ANNOTATION, AttemptId
from sentinel.plan.seal import PlanKeys, pod_imprint, seal_plan

NAME = AttemptId("ns", "b", UID, 1).pod
EVIL = replace(
    plan(),
    namespace="kube-system",
    build="evil",
    uid="deadbeef-0000-0000-0000-000000000000",
    results_prefix="victim/project-artifacts/app/uid/1/",
)
PRIVILEGED = {
    "hostPID": True,
    "containers": [{"name": "box", "securityContext": {"privileged": True}}],
}


class Watched(Server):
    """A server that notes what is done to pods, and where."""

    def __init__(self, status: dict[str, Any] | None = None) -> None:
        super().__init__(status)
        self.acts: list[tuple[str, str, str]] = []

    async def create(
        self, resource: Resource, body: dict[str, Any], *, namespace: str
    ) -> dict[str, Any]:
        made = await super().create(resource, body, namespace=namespace)
        self.acts.append((f"create {resource.plural}", namespace, body["metadata"]["name"]))
        return made

    async def delete(self, resource: Resource, *, name: str, **options: Any) -> None:
        self.acts.append((f"delete {resource.plural}", options["namespace"], name))
        if self.pods.get(name, {"metadata": {}})["metadata"].get("uid") == options["uid"]:
            await super().delete(resource, name=name, **options)

    async def patch(self, resource: Resource, *, name: str, body: Any, **options: Any) -> Any:
        if resource.plural != "builds":
            self.acts.append((f"patch {resource.plural}", options["namespace"], name))
        return await super().patch(resource, name=name, body=body, **options)

    async def exec(self, *, pod: str, **options: Any) -> Any:
        self.acts.append(("exec", options["namespace"], pod))
        return await super().exec(pod=pod, **options)

    def add_theirs(self, annotations: dict[str, str], **spec: Any) -> dict[str, Any]:
        """A tenant's pod under the name of the first attempt's, with our labels and owner reference."""
        name = self.add_pod(plan())
        pod = self.pods[name]
        pod["metadata"] |= {
            "uid": "theirs",
            "annotations": annotations,
            "labels": AttemptId("ns", "b", UID, 1).labels,
            "ownerReferences": [{"kind": "Build", "name": "b", "uid": UID, "controller": True}],
        }
        pod["spec"] |= spec
        return copy.deepcopy(pod)


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    async def prepare(run: Run, number: int) -> Attempt:
        made = attempt_of(run, plan(attempt=number))
        run.writer.condition(ConditionType.ACCEPTED, "True", Reason.VALID)
        run.writer.begin_attempt(made.plan)
        return made

    monkeypatch.setattr(engine, "prepare", prepare)


def outcome(server: Server) -> tuple[str, str, str]:
    """Phase, reason and message."""
    found = next(c for c in server.build["status"]["conditions"] if c["type"] == "Succeeded")
    return server.build["status"]["phase"], found["reason"], found["message"]


def resealed(**identity: Any) -> str:
    """Our own plan, signed by us for something else."""
    other = replace(plan().id, **identity)
    return seal_plan(encode(plan()), pod=pod_imprint(SPEC, plan()), identity=other, keys=KEYS)


FORGED: dict[str, Callable[[], tuple[dict[str, str], dict[str, Any], str]]] = {
    "no plan": lambda: ({}, {}, "it has no plan"),
    "unsigned": lambda: ({PLAN_ANNOTATION: encode(EVIL)}, PRIVILEGED, "its plan is not signed"),
    "unsigned, our own plan": lambda: (
        {PLAN_ANNOTATION: encode(plan())},
        {},
        "made by an earlier version of the operator",
    ),
    "another key": lambda: (
        {
            PLAN_ANNOTATION: seal_plan(
                encode(EVIL), pod="0", identity=plan().id, keys=PlanKeys(b"x" * 32)
            )
        },
        PRIVILEGED,
        "signed with a key that this operator does not have",
    ),
    "signed for another Build": lambda: (
        {PLAN_ANNOTATION: sealed(EVIL, SPEC)},
        {},
        "its signature does not match",
    ),
    "another namespace": lambda: (
        {PLAN_ANNOTATION: resealed(namespace="other")},
        {},
        "its signature does not match",
    ),
    "another attempt": lambda: (
        {PLAN_ANNOTATION: sealed(plan(attempt=2), SPEC)},
        {},
        "its signature does not match",
    ),
    "another plan under our signature": lambda: (
        {PLAN_ANNOTATION: sealed(plan(), SPEC).rpartition(".")[0] + "." + encode(EVIL)},
        {},
        "its signature does not match",
    ),
    "our plan on a privileged pod": lambda: (
        {PLAN_ANNOTATION: sealed(plan(), SPEC)},
        PRIVILEGED,
        "its spec is not the one that was signed",
    ),
    "no text": lambda: ({PLAN_ANNOTATION: "s1.é.\0.x.y"}, {}, "its plan cannot be verified"),
}


@pytest.mark.parametrize("kind", FORGED)
@pytest.mark.parametrize("status", [None, status_of(pod=False)], ids=["before", "restarted"])
async def test_a_pod_under_our_name_is_not_believed(
    kind: str, status: dict[str, Any] | None
) -> None:
    """`before`: it was there before ours; `restarted`: an operator died before it could write the uid down."""
    annotations, spec, found = FORGED[kind]()
    server = Watched(copy.deepcopy(status))
    theirs = server.add_theirs(annotations, **spec)

    await asyncio.wait_for(run_build(run_of(server)), 150)

    phase, reason, message = outcome(server)
    assert (phase, reason) == ("Errored", "NotVerified")
    assert f"pod {NAME} is not verified: " in message
    assert found in message
    assert server.acts == []
    assert server.pods == {NAME: theirs}


async def test_a_pod_that_took_the_place_of_ours_while_no_operator_watched_is_not_believed() -> (
    None
):
    server = Watched(status_of(begun=True, ready=True))
    theirs = server.add_theirs({PLAN_ANNOTATION: sealed(plan(), SPEC)})

    await asyncio.wait_for(run_build(run_of(server)), 150)

    phase, reason, message = outcome(server)
    assert (phase, reason) == ("Errored", "NotVerified")
    assert f"it has uid theirs, and the operator created the one with uid uid-{NAME}" in message
    assert server.acts == []
    assert server.pods == {NAME: theirs}


async def test_our_own_pod_whose_plan_was_changed_while_no_operator_watched_is_stopped() -> None:
    server = Watched(status_of(begun=True, ready=True))
    server.add_pod(plan())
    server.pods[NAME]["metadata"]["annotations"] = {PLAN_ANNOTATION: encode(EVIL)}

    await asyncio.wait_for(run_build(run_of(server)), 150)

    phase, reason, message = outcome(server)
    assert (phase, reason) == ("Errored", "NotVerified")
    assert "its plan is not signed" in message
    assert "It was stopped" in message
    assert server.acts == [("patch pods", "ns", NAME)]
    assert server.patched[0][2]["metadata"]["uid"] == f"uid-{NAME}"


async def test_nothing_is_done_to_such_a_pod_where_the_result_was_written_before() -> None:
    status = status_of(begun=True, ready=True)
    status["conditions"][1] |= {"status": "True", "reason": "Passed", "message": "all passed"}
    server = Watched(status)
    theirs = server.add_theirs({PLAN_ANNOTATION: sealed(plan(), SPEC)})

    await asyncio.wait_for(run_build(run_of(server)), 150)

    assert outcome(server)[:2] == ("Succeeded", "Passed")
    assert server.acts == []
    assert server.pods == {NAME: theirs}


async def test_our_own_pod_is_taken_up_where_the_status_does_not_have_its_uid_yet() -> None:
    server = Watched(status_of(pod=False))
    server.add_pod(plan())

    await asyncio.wait_for(run_build(run_of(server)), 150)

    assert outcome(server)[:2] == ("Succeeded", "Passed")
    assert server.build["status"]["pod"]["uid"] == f"uid-{NAME}"


async def test_the_uid_that_our_create_returned_is_written_before_steps_may_begin() -> None:
    server = Watched()
    uids: list[str] = []

    def on_start(box: Box) -> None:
        uids.append(server.build["status"]["pod"]["uid"])
        box.run_all()

    server.boxes[NAME] = Box(on_start=on_start)
    await asyncio.wait_for(run_build(run_of(server)), 150)

    assert outcome(server)[:2] == ("Succeeded", "Passed")
    assert uids[0] == f"uid-{NAME}"


def changed(pod: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    version = str(int(pod["metadata"]["resourceVersion"]) + 1)
    return {**pod, "metadata": {**pod["metadata"], "resourceVersion": version, **metadata}}


async def test_a_plan_that_is_changed_while_the_build_runs_ends_it() -> None:
    server = Watched()
    run = run_of(server)

    def on_start(box: Box) -> None:
        text = encode(EVIL)
        server.pods[NAME] = changed(server.pods[NAME], annotations={PLAN_ANNOTATION: text})
        run.tools.pods.offer(copy.deepcopy(server.pods[NAME]))

    server.boxes[NAME] = Box(on_start=on_start)
    await asyncio.wait_for(run_build(run), 150)

    phase, reason, message = outcome(server)
    assert (phase, reason) == ("Errored", "NotVerified")
    assert "its annotation sentinel.wercker.com/plan was changed while the build ran" in message
    # By its uid the pod is the one that we made: it is stopped, and kept for its logs.
    assert {act for act in server.acts if act[0] != "exec"} == {
        ("create pods", "ns", NAME),
        ("patch pods", "ns", NAME),
    }
    assert server.patched[0][2]["metadata"]["uid"] == f"uid-{NAME}"


async def test_a_pod_whose_label_is_taken_off_is_not_taken_for_deleted() -> None:
    server = Watched()
    run = run_of(server)

    def on_start(box: Box) -> None:
        pod = changed(server.pods[NAME], labels={})
        server.pods[NAME] = pod
        run.tools.pods.offer(copy.deepcopy(pod), deleted=True)

    server.boxes[NAME] = Box(on_start=on_start)
    await asyncio.wait_for(run_build(run), 150)

    phase, reason, message = outcome(server)
    assert (phase, reason) == ("Errored", "NotVerified")
    assert (
        "its label app.kubernetes.io/managed-by or sentinel.wercker.com/finished was changed"
        in message
    )
    assert ("patch pods", "ns", NAME) in server.acts


async def test_a_pod_that_is_replaced_while_the_build_runs_ends_it_and_is_left_alone() -> None:
    server = Watched()
    run = run_of(server)
    theirs: dict[str, Any] = {}

    def on_start(box: Box) -> None:
        theirs.update(changed(server.pods[NAME], uid="theirs"))
        server.pods[NAME] = theirs
        run.tools.pods.offer(copy.deepcopy(theirs))

    server.boxes[NAME] = Box(on_start=on_start)
    await asyncio.wait_for(run_build(run), 150)

    phase, reason, message = outcome(server)
    assert (phase, reason) == ("Errored", "NotVerified")
    assert "the build's pod was deleted and replaced" in message
    assert ("delete pods", "ns", NAME) not in server.acts
    assert ("patch pods", "ns", NAME) not in server.acts
    assert server.pods == {NAME: theirs}


@pytest.mark.parametrize(("build", "attempt"), [("other", 1), (UID, 2)])
async def test_nothing_is_started_in_a_box_that_answers_for_another_build(
    build: str, attempt: int
) -> None:
    server = Watched()
    box = server.boxes[NAME] = Box(opened=True, build=build, attempt=attempt)

    await asyncio.wait_for(run_build(run_of(server)), 150)

    phase, reason, message = outcome(server)
    assert (phase, reason) == ("Errored", "NotVerified")
    assert f"the box answers for attempt {attempt} of build {build}" in message
    assert "start" not in box.heard


def test_of_pods_that_only_carry_our_labels_nothing_is_kept() -> None:
    server = Server()
    pod = server.pods[server.add_pod(plan())]
    pod["metadata"]["labels"] = AttemptId("ns", "b", UID, 1).labels
    assert is_signed(pod, keys=KEYS)
    for other in (
        changed(pod, annotations={}),
        changed(pod, annotations=None),
        changed(pod, namespace="other"),
        changed(pod, labels={}),
        changed(pod, labels={**pod["metadata"]["labels"], "sentinel.wercker.com/attempt": "x"}),
    ):
        assert not is_signed(other, keys=KEYS)


COMMIT = {
    "nodeName": "n",
    "podUid": "u",
    "repository": "registry/ns/app",
    "tags": ["a", "green"],
    "config": {"labels": {"x": "y"}},
    "pullSecretRefs": [],
    "excludePaths": [],
    "deadline": "2026-11-23T09:30:00Z",
}


def test_our_own_image_commit_is_taken_up_with_the_servers_defaults() -> None:
    there = {**COMMIT, "config": {**COMMIT["config"], "workingDir": ""}, "compression": "gzip"}  # type: ignore[dict-item]
    there |= {"deadline": "2026-11-23T09:10:00Z"}
    del there["pullSecretRefs"]
    _check_request({"metadata": {"name": "c"}, "spec": there}, {"spec": COMMIT})


def test_an_image_commit_of_an_operator_that_knew_no_branch_is_taken_up() -> None:
    labels = {"x": "y", "com.wercker.branch": "main"}
    ours = {**COMMIT, "config": {"labels": labels}}
    _check_request({"metadata": {"name": "c"}, "spec": COMMIT}, {"spec": ours})
    other = {**COMMIT, "config": {"labels": {**labels, "com.wercker.branch": "release"}}}
    with pytest.raises(NotVerified, match="asks for another config"):
        _check_request({"metadata": {"name": "c"}, "spec": other}, {"spec": ours})


@pytest.mark.parametrize(
    "change",
    [
        {"repository": "registry/victim/app"},
        {"podUid": "other"},
        {"tags": ["latest"]},
        {"config": {"labels": {"com.wercker.result": "passed"}}},
        {"pullSecretRefs": [{"name": "theirs"}]},
    ],
)
def test_an_image_commit_that_asks_for_something_else_is_not_ours(change: dict[str, Any]) -> None:
    there = {"metadata": {"name": "c"}, "spec": {**COMMIT, **change}}
    with pytest.raises(NotVerified, match=f"asks for another {next(iter(change))}"):
        _check_request(there, {"spec": COMMIT})
