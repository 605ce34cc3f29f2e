"""What the kubelet still has of a box's output, split by step."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.engine.world import UID, Box, Server, attempt_of, plan, run_of, status_of

from sentinel.api.build import PodStatus, Results, StepStatus
from sentinel.api.reasons import Reason
from sentinel.engine import finish, salvage
from sentinel.engine.box import box_session
from sentinel.engine.salvage import PARTIAL, output_kept, salvage_logs, split_log
from sentinel.errors import InfrastructureError
from sentinel.kube.errors import NotFound, Unavailable
from sentinel.session.journal import SessionState, UploadState

FIRST = b'--- sentinel step=1 offset=0 id=a-1 name="first"\n'
SECOND = b'--- sentinel step=2 offset=0 id=b-2 name="second \\"x\\""\n'
FORGED = b"--- sentinel step=2 offset=0 id=x name=y\n"
LONG = b"--- sentinel step=%s offset=0 id=x name=\n" % (b"9" * 5000)
ARABIC = "--- sentinel step=\u0662 offset=0 id=b-2 name=\n".encode()
STEPS = {1: "a-1", 2: "b-2"}


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        (FIRST + b"one\n" + SECOND + b"two\n", {1: b"one\n", 2: b"two\n"}),
        # The end of a line that was cut off, and a step that said nothing.
        (FIRST + SECOND + b"tw", {1: b"", 2: b"tw\n"}),
        # The kubelet turned the log over: nothing says whose the first bytes are.
        (b"rest of one\n" + SECOND + b"two\n", {2: b"two\n"}),
        # Lines that a step prints, after our own.
        (FIRST + b"one\n" + FIRST + b"more\n", {1: b"one\n" + FIRST + b"more\n"}),
        (FIRST + FORGED + b"mine\n", {1: FORGED + b"mine\n"}),
        # More digits than int() takes, and digits that are not ours.
        (FIRST + LONG, {1: LONG}),
        (FIRST + ARABIC, {1: ARABIC}),
        (b"", {}),
        (b"\xff\x00 no header", {}),
    ],
)
def test_output_is_split_by_its_headers(printed: bytes, found: dict[int, bytes]) -> None:
    assert split_log(printed, STEPS) == found


class Node(Server):
    """A server whose kubelet has the output of a box."""

    async def get(self, resource: Any, *, name: str, namespace: str | None = None) -> Any:
        ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        return {
            "metadata": {"name": name, "namespace": namespace, "uid": "u", "creationTimestamp": ""},
            "spec": {"nodeName": "n", "containers": [{"name": "box"}]},
            "status": {"containerStatuses": [{"name": "box", "state": ended}]},
        }

    async def logs(self, **_: Any) -> bytes:
        return FIRST + b"one\n" + SECOND + b"two\n"


class Store:
    def __init__(self, *, broken: bool = False) -> None:
        self.objects = {"r/step/a-1/log.txt": b"the whole log\n"}
        self.broken = broken

    async def head(self, key: str) -> object | None:
        return self.objects.get(key)

    async def put(self, key: str, data: bytes) -> None:
        if self.broken:
            raise InfrastructureError("the store is away")
        self.objects[key] = data


async def test_nothing_is_read_from_a_pod_that_is_not_ours() -> None:
    store = Store()
    run = run_of(Node())
    run.tools = replace(run.tools, store=cast(Any, store))
    run.writer.change(
        pod=PodStatus(uid="ours", attempt=1),
        results=Results(prefix="r/"),
        steps=[StepStatus(id="b-2", name="second", start_time="2026-11-27T10:00:01Z")],
    )

    assert await salvage_logs(run, 1, reason=Reason.NOT_VERIFIED, message="replaced")

    assert store.objects["r/step/b-2/log.txt"] == PARTIAL


@pytest.mark.parametrize("broken", [False, True])
async def test_only_what_the_store_lacks_is_put_there_and_says_what_it_is(broken: bool) -> None:
    store = Store(broken=broken)
    run = run_of(Node())
    run.tools = replace(run.tools, store=cast(Any, store))
    run.writer.change(
        pod=PodStatus(uid="u", attempt=1),
        results=Results(prefix="r/"),
        steps=[
            StepStatus(id="a-1", name="first", start_time="2026-11-27T10:00:00Z"),
            StepStatus(id="b-2", name="second", start_time="2026-11-27T10:00:01Z"),
            StepStatus(id="c-3", name="third"),
        ],
    )

    assert (
        await salvage_logs(run, 1, reason=Reason.POD_EVICTED, message="low on memory") is not broken
    )

    assert store.objects == {
        "r/step/a-1/log.txt": b"the whole log\n",
        **({} if broken else {"r/step/b-2/log.txt": b"two\n" + PARTIAL}),
    }


@pytest.mark.parametrize("phase", ["Running", "Failed"])
async def test_an_evicted_pods_log_is_partial_where_its_node_has_nothing_any_more(
    phase: str,
) -> None:
    """A pod that may still be read later keeps its log; an evicted one has none."""

    class Evicted(Node):
        async def get(self, resource: Any, *, name: str, namespace: str | None = None) -> Any:
            raw = await super().get(resource, name=name, namespace=namespace)
            return {**raw, "status": {**raw["status"], "phase": phase}}

        async def logs(self, **_: Any) -> bytes:
            raise Unavailable("the kubelet cannot find the file")

    store = Store()
    run = run_of(Evicted())
    run.tools = replace(run.tools, store=cast(Any, store))
    run.writer.change(
        pod=PodStatus(uid="u", attempt=1),
        results=Results(prefix="r/"),
        steps=[StepStatus(id="b-2", name="second", start_time="2026-11-27T10:00:01Z")],
    )

    safe = await salvage_logs(run, 1, reason=Reason.STORAGE_LIMIT_EXCEEDED, message="full")

    assert safe is (phase == "Failed")
    assert store.objects.get("r/step/b-2/log.txt") == (PARTIAL if safe else None)


async def test_a_step_whose_header_the_node_has_was_not_skipped() -> None:
    """A box that is killed may take the last records of its journal with it."""
    store = Store()
    run = run_of(Node())
    run.tools = replace(run.tools, store=cast(Any, store))
    run.writer.change(
        pod=PodStatus(uid="u", attempt=1),
        results=Results(prefix="r/"),
        steps=[
            StepStatus(id="a-1", name="first", start_time="2026-11-27T10:00:00Z", state="Passed"),
            StepStatus(id="b-2", name="second", state="Skipped", reason="Skipped"),
            StepStatus(id="c-3", name="third", state="Skipped", reason="Skipped"),
        ],
    )
    assert await salvage_logs(run, 1, reason=Reason.POD_EVICTED, message="low on memory")
    assert [(s.state, s.reason) for s in run.writer.status.steps] == [
        ("Passed", ""),
        ("Failed", "PodEvicted"),
        ("Skipped", "Skipped"),
    ]
    assert store.objects["r/step/b-2/log.txt"] == b"two\n" + PARTIAL


async def test_logs_of_a_pod_that_is_gone_are_marked_as_missing() -> None:
    class Gone(Node):
        async def get(self, resource: Any, *, name: str, namespace: str | None = None) -> Any:
            raise NotFound("no pod")

    store = Store()
    run = run_of(Gone())
    run.tools = replace(run.tools, store=cast(Any, store))
    run.writer.change(
        pod=PodStatus(uid="u", attempt=1),
        results=Results(prefix="r/"),
        steps=[StepStatus(id="b-2", name="second", start_time="2026-11-27T10:00:01Z")],
    )
    assert await salvage_logs(run, 1, reason=Reason.POD_DELETED, message="deleted")
    assert store.objects["r/step/b-2/log.txt"] == PARTIAL


@pytest.mark.parametrize("refused", [False, True])
async def test_what_a_stopping_box_had_printed_is_read_at_once(refused: bool) -> None:
    """The kubelet removes the output of an evicted pod with its containers. What the store refused is kept too."""

    class Removed(Server):
        asked = 0

        async def logs(self, **_: Any) -> bytes:
            self.asked += 1
            return FIRST + b"one\n" if self.asked == 1 else b"unable to retrieve container logs"

    box = Box(opened=True)
    box.record("opened", build=UID, attempt=1, plan="", shell="/bin/bash")
    made = plan("first")
    made = replace(made, steps=(replace(made.steps[0], id="a-1"),))
    server = Removed(status_of(ready=True, begun=True))
    server.add_pod(made, box=box)
    store = Store()
    del store.objects["r/step/a-1/log.txt"]
    run = run_of(server)
    run.tools = replace(run.tools, store=cast(Any, store))
    run.tools.pods.offer(next(iter(server.pods.values())))
    run.writer.change(
        results=Results(prefix="r/"),
        steps=[StepStatus(id="a-1", name="first", start_time="2026-11-27T10:00:00Z")],
    )
    attempt = attempt_of(run, made)
    async with box_session(attempt) as session, output_kept(attempt):
        assert server.asked == 0
        if refused:
            box.record("upload-refused", what="log/1", status=403, text="denied")
        box.record("stopping")
        await session.wait_for(lambda state: state.stopping is not None)
    server.pods.clear()
    assert await salvage_logs(run, 1, reason=Reason.POD_EVICTED, message="full")
    assert store.objects["r/step/a-1/log.txt"] == b"one\n" + PARTIAL


async def test_a_log_that_was_refused_may_have_been_stored_since() -> None:
    """The record of it may be lost with the stream."""
    run = run_of(Server(status_of(ready=True, begun=True)))
    run.tools = replace(run.tools, store=cast(Any, Store()))
    refused = SessionState(uploads={"log/1": UploadState(state="refused", text="HTTP 403")})
    made = replace(plan("first"), results_prefix="r/")
    attempt = attempt_of(run, made, session=SimpleNamespace(state=refused))
    assert await finish._stored(attempt, 1, "a-1")
    assert not await finish._stored(attempt, 1, "b-2")


def test_of_a_long_output_the_end_is_kept_and_of_what_is_stored_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(salvage, "KEPT_BYTES", 10)
    found = {1: b"stored", 2: b"0123456789abcdef", 3: b"last\n"}
    assert salvage._ends(found, stored={"log/1"}) == {
        3: b"last\n",
        2: salvage.CUT + b"bcdef",
    }
