"""Builds that count: each step appends its number to a file in the box, the last one and an after-step print it.

A step that ran twice or not at all shows in the stored log. A build is watched from outside all the while, by the
API and by an attach of our own beside the operator's, so that its journal can be compared with its status.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from sentinel.clock import rfc3339
from sentinel.errors import NotYet, SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.kube.resources import BUILDS, IMAGE_COMMITS, NAMESPACES, PODS, Resource
from sentinel.plan.names import AttemptId
from sentinel.session.client import Session
from sentinel.session.journal import SessionState
from sentinel.session.stream import ByteStream
from tests.chaos.findings import Findings
from tests.kubectl import condition, finished
from tests.lab import git
from tests.lab.state import Lab

STEPS = 20
"""Counting steps; one more prints what they counted."""
BOXKIT = ["/run/sentinel/kit/boxkit", "attach"]
HANG = 360.0
"""Seconds after which a build that has not ended hangs. It takes ten with nothing in its way, on an idle machine."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a build does: `failing` is the counting step that exits with 3, `output` MiB are left in the output."""

    url: str
    steps: int = STEPS
    failing: int = 0
    commit: bool = False
    output: int = 0

    @property
    def counted(self) -> str:
        """What the file holds at the end."""
        return " ".join(str(n) for n in range(1, (self.failing or self.steps) + 1))

    @property
    def main(self) -> int:
        return self.steps + 1


def publish(
    lab: Lab,
    dice: random.Random,
    *,
    steps: int = STEPS,
    shortest: float = 0.05,
    longest: float = 0.3,
    failing: int = 0,
    commit: bool = False,
    output: int = 0,
) -> Shape:
    """A project of counting steps that last from `shortest` to `longest` seconds each."""
    lines = [f"box: {lab.registry}/box/debian:12", "build:", "  steps:"]
    for n in range(1, steps + 1):
        code = f"echo {n} >>/count; sleep {dice.uniform(shortest, longest):.3f}"
        code += "; exit 3" if n == failing else ""
        lines.append(f"    - script: {{name: c{n}, code: {json.dumps(code)}}}")
    show = "echo $(cat /count)"
    if output:
        show += f"; head -c {output << 20} /dev/zero >$WERCKER_OUTPUT_DIR/zeros"
    lines.append(f"    - script: {{name: show, code: {json.dumps(show)}}}")
    lines.append("  after-steps:")
    lines.append("    - script: {name: after, code: 'echo a >>/after; sleep 0.6'}")
    tell = "echo $WERCKER_RESULT: $(cat /count) $(cat /after)"
    lines.append(f"    - script: {{name: tell, code: {json.dumps(tell)}}}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "wercker.yml").write_text("\n".join(lines) + "\n")
        url = git.publish(lab, Path(folder), f"chaos-{uuid.UUID(int=dice.getrandbits(128)).hex}")
    return Shape(url=url, steps=steps, failing=failing, commit=commit, output=output)


@dataclass
class Watched:
    """The newest state of every object of a kind in a namespace, and the uids of all that ever were."""

    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)
    """Name by uid."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, raw: dict[str, Any]) -> None:
        self.latest[raw["metadata"]["name"]] = raw
        self.uids[raw["metadata"]["uid"]] = raw["metadata"]["name"]
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(kw_only=True)
class Counted:
    """One build of a shape."""

    ground: Ground
    shape: Shape
    raw: dict[str, Any]
    state: SessionState = field(default_factory=SessionState)

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def latest(self) -> dict[str, Any]:
        return self.ground.builds.latest.get(self.name, self.raw)

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.latest.get("status") or {})

    @property
    def finished(self) -> bool:
        return finished(self.latest)

    def stage(self) -> str:
        """Where in engine/build.py this build stands, from its status, its ImageCommit and its journal."""
        if self.finished:
            return "over"
        if condition(self.latest, "Accepted").get("status") != "True":
            return "preparing"
        if self.state.opened is None:
            return "pod starting"
        if not self.state.done(range(1, self.shape.main + 1)):
            return "steps"
        if self.shape.commit and not self.ground.committed(self.name):
            return "committing"
        if not self.shape.failing and "output" not in self.state.collected:
            return "storing"
        if not self.state.done(range(1, self.shape.main + 3)):
            return "after-steps"
        return "closing"

    async def follow(self) -> None:
        """Hear the journal to its end, by an attach of our own."""
        name = AttemptId("", self.name, self.raw["metadata"]["uid"], 1).pod

        async def connect() -> ByteStream:
            try:
                return await self.ground.kube.exec(
                    namespace=self.ground.namespace, pod=name, container="box", command=BOXKIT
                )
            except NotFound as e:
                raise NotYet(e.message) from e

        def heard(_: object) -> None:
            self.state = session.state
            self.ground.journal.set()
            self.ground.journal = asyncio.Event()

        async with (session := Session(connect, on_record=heard)):
            with suppress(SentinelError):
                await session.wait_for(lambda state: state.closed is not None)


@dataclass(kw_only=True)
class Ground:
    """A namespace with builds in it. `async with ground_of(lab) as ground:`"""

    lab: Lab
    kube: Kube
    namespace: str
    builds: Watched = field(default_factory=Watched)
    commits: Watched = field(default_factory=Watched)
    pods: Watched = field(default_factory=Watched)
    journal: asyncio.Event = field(default_factory=asyncio.Event)
    made: list[Counted] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def build(self, shape: Shape, *, follow: bool = True, **spec: Any) -> Counted:
        """Create a Build; `spec` adds to it."""
        commit = "end" if shape.commit else "never"
        body = {
            "apiVersion": BUILDS.api_version,
            "kind": "Build",
            "metadata": {"name": f"c{len(self.made) + 1}", "namespace": self.namespace},
            "spec": {
                "source": {"git": {"url": shape.url}},
                "image": {"commit": commit},
                # The operator's end must not wait for an hour where a test waits for minutes.
                "timeouts": {"pending": "4m", "build": "10m"},
                **spec,
            },
        }
        made = Counted(ground=self, shape=shape, raw={})
        self.made.append(made)
        made.raw = await self._create(body)
        if follow:
            self.spawn(made.follow())
        return made

    def spawn(self, work: Any) -> None:
        """A task that ends with the field."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def active(self) -> list[Counted]:
        """The builds that have not finished."""
        return [each for each in self.made if each.raw and not each.finished]

    def committed(self, build: str) -> bool:
        """Whether the ImageCommit of a build has ended."""
        for raw in self.commits.latest.values():
            if raw["metadata"]["ownerReferences"][0]["name"] == build:
                return (raw.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        return False

    async def until(self, holds: Callable[[], bool], *, seconds: float) -> bool:
        """Wait until `holds`, looked at whenever an object or a journal changes; False when the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():
                    news = (
                        self.builds.changed,
                        self.journal,
                        self.commits.changed,
                        self.pods.changed,
                    )
                    waits = {asyncio.create_task(each.wait()) for each in news}
                    try:
                        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for wait in waits:
                            wait.cancel()
                return True
        return holds()

    async def all_over(self, findings: Findings, *, seconds: float = HANG) -> None:
        """Wait for every build's end; those that do not come to one hang."""
        await self.until(lambda: not self.active, seconds=seconds)
        for each in self.active:
            step = each.status.get("currentStep", "")
            findings.bad["hang"].append(f"{each.name} in {each.stage()} {step}: {each.status}")

    async def check(self, findings: Findings) -> None:
        """Compare every build that ended with what its shape says."""
        findings.builds += len(self.made)
        logs = Logs(self.lab)
        for each in self.made:
            if each.finished:
                await asyncio.to_thread(_check, each, logs, findings)
        journals = sum(each.state.closed is not None for each in self.made)
        findings.more["journals_heard"] = findings.more.get("journals_heard", 0) + journals

    async def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        while True:
            try:
                return await self.kube.create(BUILDS, body, namespace=self.namespace)
            except AlreadyExists:
                return await self.kube.get(
                    BUILDS, namespace=self.namespace, name=body["metadata"]["name"]
                )
            except SentinelError:
                await asyncio.sleep(0.5)

    async def watch(self, resource: Resource, into: Watched) -> None:
        """Keep `into` at what the API server has, through its restarts."""
        while True:
            with suppress(SentinelError):
                items, version = await self.kube.list(resource, namespace=self.namespace)
                for raw in items:
                    into.take(raw)
                async for kind, raw in self.kube.watch(
                    resource, namespace=self.namespace, resource_version=version
                ):
                    if kind in ("ADDED", "MODIFIED"):
                        into.take(raw)
            await asyncio.sleep(0.2)


@asynccontextmanager
async def ground_of(lab: Lab) -> AsyncIterator[Ground]:
    """A fresh namespace that is watched; deleted at the end, without waiting for it."""
    namespace = f"chaos-{uuid.uuid4().hex[:8]}"
    async with await Kube.connect(user_agent="sentinel-chaos", kubeconfig=lab.kubeconfig) as kube:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await kube.create(NAMESPACES, body)
        here = Ground(lab=lab, kube=kube, namespace=namespace)
        for resource, into in (
            (BUILDS, here.builds),
            (IMAGE_COMMITS, here.commits),
            (PODS, here.pods),
        ):
            here.spawn(here.watch(resource, into))
        try:
            yield here
        finally:
            tasks = list(here._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await kube.delete(NAMESPACES, name=namespace)


class Logs:
    """Stored logs, by a build's status and a step's display name."""

    def __init__(self, lab: Lab) -> None:
        self._bucket = lab.s3_bucket
        self._client = boto3.client(
            "s3",
            endpoint_url=lab.s3_endpoint,
            aws_access_key_id=lab.s3_access_key,
            aws_secret_access_key=lab.s3_secret_key,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def text(self, status: dict[str, Any], step: str) -> str:
        """The log, or a word for why there is none."""
        found = next((s for s in status.get("steps", []) if s.get("displayName") == step), None)
        prefix = (status.get("results") or {}).get("prefix")
        if found is None or not prefix:
            return "no such step"
        try:
            key = f"{prefix}step/{found['id']}/log.txt"
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            body: bytes = answer["Body"].read()
            return body.decode()
        except self._client.exceptions.NoSuchKey:
            return "no such log"


def _check(each: Counted, logs: Logs, findings: Findings) -> None:
    """One build that ended: its phase, its steps, its logs, its objects, and its journal against its status."""
    bad, shape, status, name = findings.bad, each.shape, each.status, each.name
    phase, reason = status["phase"], condition(each.latest, "Succeeded").get("reason", "")
    due = "Failed" if shape.failing else "Succeeded"
    if phase != due:
        kind = "false_green" if phase == "Succeeded" else "wrong_end"
        message = condition(each.latest, "Succeeded").get("message", "")
        bad[kind].append(f"{name} is {phase} ({reason}: {message}), {due} was due")
        return
    expected = {f"c{n}": "Passed" for n in range(1, shape.steps + 1)}
    if shape.failing:
        expected |= {f"c{n}": "Skipped" for n in range(shape.failing, shape.steps + 1)}
        expected[f"c{shape.failing}"] = "Failed"
    expected |= {
        "show": "Skipped" if shape.failing else "Passed",
        "after": "Passed",
        "tell": "Passed",
    }
    states = {s["displayName"]: s["state"] for s in status["steps"]}
    if states != expected:
        bad["lost"].append(f"{name}: steps {states}")
    result = "failed" if shape.failing else "passed"
    expected = {"tell": f"{result}: {shape.counted} a\n"}
    if not shape.failing:
        expected["show"] = f"{shape.counted}\n"
    for step, text in expected.items():
        got = logs.text(status, step)
        if got != text:
            twice = len(got.split()) > len(text.split()) and not got.startswith("no such")
            bad["doubled" if twice else "lost"].append(f"{name}: log of {step} is {got!r}")
    owners: dict[str, set[str]] = defaultdict(set)
    for kind, watched in (("pod", each.ground.pods), ("ImageCommit", each.ground.commits)):
        for uid, object_ in watched.uids.items():
            if watched.latest[object_]["metadata"]["ownerReferences"][0]["name"] == name:
                owners[kind].add(uid)
    if len(owners["pod"]) != 1 or len(owners["ImageCommit"]) != int(shape.commit):
        bad["doubled"].append(f"{name}: objects {dict(owners)}")
    if shape.commit and not shape.failing and not (status.get("image") or {}).get("digest"):
        bad["lost"].append(f"{name}: no image in its status")
    if shape.output and not ((status.get("results") or {}).get("output") or {}).get("sizeBytes"):
        bad["lost"].append(f"{name}: no output in its status")
    _compare(each, findings)


def _compare(each: Counted, findings: Findings) -> None:
    """The journal, where we heard it all, and the status that the operator made of it."""
    if each.state.closed is None:
        return
    for ordinal, step in enumerate(each.status["steps"], start=1):
        known = each.state.steps.get(ordinal)
        if known is None:
            findings.bad["journal_mismatch"].append(f"{each.name}: step {ordinal} is in no record")
            continue
        said = (known.reason or "Skipped", known.exit if (known.exit or 0) >= 0 else None)
        times = tuple(rfc3339(t) if t is not None else "" for t in (known.started, known.finished))
        wrote = (step.get("reason", ""), step.get("exitCode"))
        written = (step.get("startTime", ""), step.get("completionTime", ""))
        if (said, times) != (wrote, written):
            findings.bad["journal_mismatch"].append(
                f"{each.name}: step {ordinal}: journal {said} {times}, status {wrote} {written}"
            )
