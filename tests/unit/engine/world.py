"""A Build in its middle: an API server in memory that has pods and the Build, and a box that answers its exec.

The box speaks boxkit's protocol over streams in memory. What it does with steps is the test's to say.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from tests.unit.clocks import START, Hasty
from tests.unit.fakeapi import FakeApi

from sentinel.api.build import Build
from sentinel.engine.attempt import Attempt
from sentinel.engine.board import Board
from sentinel.engine.lookup import Lookup
from sentinel.engine.reporter import Reporter
from sentinel.engine.run import Run, Tools
from sentinel.engine.status import StatusWriter
from sentinel.errors import NotYet
from sentinel.kube.resources import Resource
from sentinel.plan.codec import encode
from sentinel.plan.model import ImageFacts, Plan, PlanSource, PlanStep
from sentinel.plan.names import PLAN_ANNOTATION, UID_LABEL, AttemptId
from sentinel.plan.seal import PlanKeys, pod_imprint, seal_plan
from sentinel.resolver.shelf import Known
from sentinel.session.frames import FrameDecoder, JsonFrame, encode_json
from sentinel.settings import Settings

UID = "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa"
KEYS = PlanKeys(bytes(range(32)))
RUNNING = {
    "phase": "Running",
    "conditions": [{"type": "Initialized", "status": "True"}],
    "containerStatuses": [{"name": "box", "state": {"running": {}}}],
}


def plan(*names: str, attempt: int = 1) -> Plan:
    """A plan with these script steps."""
    steps = tuple(
        PlanStep(
            ordinal=n,
            id=f"{name}-{n}",
            owner="wercker",
            name="script",
            display_name=name,
            phase="main",
            kind="script",
            command_timeout=60,
            no_response_timeout=60,
        )
        for n, name in enumerate(names or ("one", "two"), start=1)
    )
    return Plan(
        build="b",
        namespace="ns",
        uid=UID,
        attempt=attempt,
        pipeline="build",
        source=PlanSource(url="https://example.com/o/r.git", commit="c" * 40),
        box=ImageFacts(name="box", reference="box@sha256:0"),
        steps=steps,
        pending_timeout=900,
        build_timeout=3600,
    )


SPEC = {"containers": [{"name": "box"}]}
"""The spec of `Server.add_pod`."""


def sealed(of: Plan, spec: dict[str, Any]) -> str:
    """The plan's annotation on a pod with that spec, as the operator signs it."""
    return seal_plan(encode(of), pod=pod_imprint(spec, of), identity=of.id, keys=KEYS)


@dataclass
class Box:
    """boxkit, as far as the engine sees it. `heard` has the type of every request, in order."""

    heard: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    opened: bool = False
    build: str = UID
    attempt: int = 1
    on_start: Callable[[Box], None] = lambda box: box.run_all()
    queued: list[int] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def record(self, kind: str, **fields: Any) -> None:
        """Append to the journal."""
        time = "2026-11-23T09:00:00.000000001Z"
        record = {"type": "record", "seq": len(self.records) + 1, "time": time, "kind": kind}
        self.records.append({**record, **fields})
        self.changed.set()
        self.changed = asyncio.Event()

    def open_for(self, *, build: str = UID, attempt: int = 1) -> None:
        """What the first `open` does."""
        self.opened, self.build, self.attempt = True, build, attempt
        self.record("opened", build=build, attempt=attempt, plan="", shell="/bin/bash")

    def run_all(self, *, reason: str = "Passed") -> None:
        """Start and end every queued step that has not ended."""
        ended = {each["ordinal"] for each in self.records if each["kind"] == "finished"}
        for ordinal in self.queued:
            if ordinal in ended:
                continue
            self.record("started", ordinal=ordinal)
            log = {"bytes": 0, "sha256": "", "dropped": 0}
            usage = {"seconds": 0, "cpuSeconds": 0, "peakMemoryBytes": 0}
            end = {"exit": 0, "reason": reason, "message": "", "log": log, "usage": usage}
            self.record("finished", ordinal=ordinal, **end)

    def answer(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        kind = message["type"]
        self.heard.append(kind)
        if kind == "hello":
            welcome = {"type": "welcome", "protocol": 1, "seq": len(self.records)}
            known = {"build": self.build, "attempt": self.attempt} if self.opened else {}
            return [{**welcome, **known}]
        if kind == "open" and not self.opened:
            self.open_for(build=message["build"], attempt=message["attempt"])
        if kind == "start":
            for step in message["steps"]:
                if step["ordinal"] not in self.queued:
                    self.queued.append(step["ordinal"])
                    self.record("queued", ordinal=step["ordinal"], id=step["id"], phase="main")
            self.on_start(self)
        if kind == "cancel":
            self.record("cancelled", reason=message["reason"], after=False)
            for ordinal in self.queued:
                self.record("skipped", ordinal=ordinal, reason="Cancelled", message="")
        if kind == "close":
            self.record("closed", pending=[], reason="Closed")
        return [{"type": "ok", "id": message.get("id", 0)}] if message.get("id") else []


class BoxStream:
    """One attach."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._decoder = FrameDecoder()
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._sent: int | None = None

    async def read(self) -> bytes:
        while True:
            if not self._out.empty():
                return self._out.get_nowait()
            if self._sent is not None and self._sent < len(self._box.records):
                new = self._box.records[self._sent :]
                self._sent = len(self._box.records)
                return b"".join(map(encode_json, new))
            waits = [
                asyncio.ensure_future(self._box.changed.wait()),
                asyncio.ensure_future(self._out.get()),
            ]
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if waits[1] in done:
                return cast(bytes, waits[1].result())

    async def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            assert isinstance(frame, JsonFrame)
            answers = self._box.answer(frame.message)
            if frame.message["type"] == "hello":
                self._sent = int(frame.message["since"])
            for each in answers:
                self._out.put_nowait(encode_json(each))

    async def close(self) -> None:
        pass


class Server(FakeApi):
    """The API server with one Build, its pods by name, and execs into `boxes` by pod name.

    Its kubelet runs every pod that is created at once, and every node is ready.
    """

    def __init__(self, status: dict[str, Any] | None = None) -> None:
        build = {
            "apiVersion": "sentinel.wercker.com/v1alpha1",
            "kind": "Build",
            "metadata": {
                "name": "b",
                "namespace": "ns",
                "uid": UID,
                "generation": 1,
                "resourceVersion": "1",
            },
            "spec": {"source": {"git": {"url": "https://example.com/o/r.git"}}},
            "status": status or {},
        }
        super().__init__(builds=[build], pods=[])
        self.pods = self.objects["pods"]
        self.boxes: dict[str, Box] = {}

    @property
    def build(self) -> dict[str, Any]:
        return self.find("builds", "b")

    @property
    def writes(self) -> list[dict[str, Any]]:
        """Every status that was written."""
        return [body["status"] for body in self.replaced]

    def add_pod(self, of: Plan, *, age: float = 0.0, box: Box | None = None) -> str:
        """The pod of that attempt, running. Its name."""
        name = AttemptId("ns", "b", UID, of.attempt).pod
        created = (START - timedelta(seconds=age)).isoformat().replace("+00:00", "Z")
        self.pods[name] = {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"uid-{name}",
                "resourceVersion": "7",
                "creationTimestamp": created,
                "labels": {UID_LABEL: UID},
                "annotations": {PLAN_ANNOTATION: sealed(of, SPEC)},
            },
            "spec": {"nodeName": "node-1", **SPEC},
            "status": dict(RUNNING),
        }
        self.boxes[name] = box or Box()
        return name

    async def get(
        self, resource: Resource, *, name: str, namespace: str | None = None
    ) -> dict[str, Any]:
        if resource.plural == "nodes":
            return {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        return await super().get(resource, name=name, namespace=namespace)

    async def create(
        self, resource: Resource, body: dict[str, Any], *, namespace: str | None = None
    ) -> dict[str, Any]:
        made = await super().create(resource, body, namespace=namespace)
        if resource.plural != "pods":
            return made
        name = made["metadata"]["name"]
        pod = self.pods[name]
        pod["metadata"]["creationTimestamp"] = "2026-11-23T09:00:00Z"
        pod["spec"]["nodeName"] = "node-1"
        pod["status"] = dict(RUNNING)
        self.boxes.setdefault(name, Box())
        return copy.deepcopy(pod)

    def write(self, status: dict[str, Any]) -> None:
        """Another client writes the Build's status."""
        self.change("builds", "b", status=status)

    async def exec(self, *, pod: str, **_: Any) -> BoxStream:
        if pod not in self.pods:
            raise NotYet(f"no pod {pod}")
        return BoxStream(self.boxes[pod])


@dataclass
class Heard(Reporter):
    """Attempts that were reported as lost."""

    lost: list[tuple[int, str, bool]] = field(default_factory=list)

    def attempt_lost(self, *, attempt: int, reason: Any, message: str, again: bool) -> None:
        self.lost.append((attempt, str(reason), again))


def run_of(server: Server, *, clock: Hasty | None = None, **spec: Any) -> Run:
    """A Run of the server's Build as it stands."""
    server.build["spec"] |= spec
    clock = clock or Hasty()
    tools = Tools(
        kube=cast(Any, server),
        settings=Settings(),
        clock=cast(Any, clock),
        store=None,
        builds=Board(),
        pods=Board(),
        commits=Board(),
        keys=KEYS,
        resolver=cast(Any, None),
        shelf=cast(Any, None),
        known=Known(),
    )
    raw = copy.deepcopy(server.build)
    return Run(
        build=Build.parse(raw),
        tools=tools,
        writer=StatusWriter(
            kube=cast(Any, server), builds=tools.builds, clock=cast(Any, clock), raw=raw
        ),
        report=Heard(),
    )


def lookup_of(run: Run) -> Lookup:
    """What looks up the images and steps of that Run."""
    return Lookup(build=run.build, tools=run.tools, references=run.references)


def attempt_of(run: Run, of: Plan | None = None, *, session: Any = None) -> Attempt:
    """An attempt of that Run, with a session where the test has one."""
    attempt = Attempt(run=run, plan=of or plan())
    if session is not None:
        attempt.session = session
    return attempt


def status_of(
    attempt: int = 1, *, ready: bool = False, begun: bool = False, pod: bool = True
) -> dict[str, Any]:
    """What an operator that is gone had written."""
    stamp = "2026-11-23T09:00:00Z"

    def condition(type_: str, status: str, reason: str) -> dict[str, Any]:
        return {"type": type_, "status": status, "reason": reason, "lastTransitionTime": stamp}

    name = AttemptId("ns", "b", UID, attempt).pod
    conditions = [
        condition("Accepted", "True", "Valid"),
        condition("Succeeded", "Unknown", "Running" if begun else "Pending"),
    ]
    if ready:
        conditions.append(condition("PodReady", "True", "Ready"))
    made = {"name": name, "uid": f"uid-{name}"} if pod else {}
    return {
        "phase": "Running" if begun else "Starting",
        "startTime": stamp,
        "conditions": conditions,
        "pod": {**made, "attempt": attempt},
    }
