"""internal/docker-build from the context to the verdict, with an API server, a box and a store in memory."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.engine.world import Server, attempt_of, plan, run_of

from sentinel.engine.attempt import Attempt
from sentinel.engine.guard import guarded
from sentinel.engine.imagebuild import build_image, forget_build
from sentinel.engine.internalsteps import do_ours
from sentinel.engine.ourstep import Verdict
from sentinel.kube.errors import AlreadyExists, Forbidden, NotFound, Unavailable
from sentinel.kube.resources import Resource
from sentinel.plan.model import PlanStep
from sentinel.session.records import Collected, CollectFailed
from sentinel.settings import Settings

DIGEST = "sha256:" + "d" * 64
DONE = {"exitCode": 0, "message": json.dumps({"containerimage.digest": DIGEST})}
OUTPUT = b"#1 [internal] load\n#1 DONE\nerror: failed to solve: exit code: 3\n"


def collected(**fields: Any) -> Collected:
    facts = {"what": "context/1", "path": "/pipeline/source", "empty": False, "files": 1}
    return Collected(
        **{
            **facts,
            "bytes": 10,
            "sha256": "a" * 64,
            "seq": 1,
            "time": None,
            "nanoseconds": 0,
            **fields,
        }  # type: ignore[arg-type]
    )


@dataclass
class State:
    collected: dict[str, Any] = field(default_factory=dict)
    steps: dict[int, Any] = field(default_factory=dict)


@dataclass
class Box:
    """A session with a box that packs the context at once."""

    packs: Any = field(default_factory=collected)
    state: State = field(default_factory=State)
    asked: list[Any] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    async def environment(self) -> list[tuple[str, str]]:
        return [("TAG", "one")]

    async def collect(self, collect: Any) -> None:
        self.asked.append(collect)
        self.state.collected[collect.what] = self.packs

    async def wait_for(self, _: Any) -> State:
        return self.state

    async def note(self, key: str, text: str) -> None:
        self.notes.setdefault(key, text)


@dataclass
class Store:
    deleted: list[str] = field(default_factory=list)

    def presign_get(self, key: str) -> str:
        return f"https://s3.example.com/{key}?signature"

    async def delete_prefix(self, prefix: str) -> int:
        self.deleted.append(prefix)
        return 1


class Api(Server):
    """An API server on which buildctl ends as `ended`. `cuts` follows of its log break."""

    def __init__(self, ended: dict[str, Any], *, output: bytes = OUTPUT, cuts: int = 0) -> None:
        super().__init__()
        self.ended, self.output, self.cuts = ended, output, cuts
        self.made: dict[tuple[str, str], dict[str, Any]] = {}
        self.refusal: Exception | None = None

    async def create(self, resource: Resource, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        key = (resource.plural, body["metadata"]["name"])
        if key in self.made:
            raise AlreadyExists("it is there")
        metadata = {**body["metadata"], "uid": "pod-uid", "resourceVersion": "1"}
        status = {"containerStatuses": [{"name": "build", "state": {"terminated": self.ended}}]}
        self.made[key] = {**body, "metadata": metadata, "status": status}
        return self.made[key]

    async def get(self, resource: Resource, *, name: str, **_: Any) -> dict[str, Any]:
        if (resource.plural, name) not in self.made:
            raise NotFound(name)
        return self.made[resource.plural, name]

    async def delete(self, resource: Resource, *, name: str, **_: Any) -> None:
        del self.made[resource.plural, name]

    async def follow(self, **_: Any) -> AsyncIterator[bytes]:
        yield self.output[: len(self.output) // 2]
        if self.cuts:
            self.cuts -= 1
            raise Unavailable("cut")
        yield self.output[len(self.output) // 2 :]


def begin(api: Api, box: Box | None = None, **properties: str) -> tuple[Attempt, PlanStep]:
    of = plan("build")
    step = replace(
        of.steps[0],
        kind="operator",
        name="docker-build",
        properties=tuple({"image-name": "app:$TAG", **properties}.items()),
    )
    of = replace(of, steps=(step,), results_prefix="results/")
    run = run_of(api)
    settings = Settings(
        images={"prefix": "registry.example.com/builds"},  # type: ignore[arg-type]
        store={"bucket": "b"},  # type: ignore[arg-type]
        engine={"buildkit": {"address": "tcp://buildkit:1234", "tls_secret": "client"}},  # type: ignore[arg-type]
    )
    run.tools = replace(run.tools, settings=settings, store=cast(Any, Store()))
    return attempt_of(run, of, session=box or Box()), step


def store(attempt: Attempt) -> Store:
    return cast(Store, attempt.tools.store)


async def test_the_digest_is_what_buildctl_reported() -> None:
    api = Api(DONE, output=b"#1 DONE\n", cuts=1)
    attempt, step = begin(api)

    verdict = await build_image(attempt, step)

    image = "registry.example.com/builds/ns/r"
    assert verdict == Verdict(0, f"built app:one: {image}@{DIGEST}")
    assert attempt.run.built == {"app:one": DIGEST}
    box = cast(Box, attempt.session)
    assert box.asked[0].path == "/pipeline/source"
    assert list(box.notes.values()) == ["#1 DONE", verdict.message]
    (pod,) = [each for (kind, _), each in api.made.items() if kind == "pods"]
    (secret,) = [each for (kind, _), each in api.made.items() if kind == "secrets"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
    words = [base64.b64decode(text).decode() for text in secret["data"].values()]
    assert any(word.startswith(f"--output=type=image,name={image}:") for word in words)

    await forget_build(attempt, step)

    assert store(attempt).deleted == ["results/step/build-1/context.tar.gz"]
    assert [kind for kind, _ in api.made] == ["secrets"]


class LastStep(Box):
    """A box that runs the step, and is done as soon as its verdict is known.

    With `answers` it answers the verdict, and its record of the step's end comes later.
    """

    def __init__(self, *, answers: bool = False) -> None:
        super().__init__()
        self.answers = answers
        self.verdicts: list[int] = []
        self.over = asyncio.Event()
        self.state.steps[1] = SimpleNamespace(state="running", done=False)

    async def verdict(self, ordinal: int, *, exit_code: int, message: str) -> None:
        self.verdicts.append(exit_code)
        if self.answers:
            return
        self.state.steps[ordinal] = SimpleNamespace(state="finished", done=True)
        self.over.set()
        await asyncio.Event().wait()


async def test_the_pod_is_deleted_although_the_box_is_done_with_the_verdict() -> None:
    api, box = Api(DONE), LastStep()
    attempt, _ = begin(api, box)

    await guarded(box.over.wait(), do_ours(attempt))

    assert box.verdicts == [0]
    assert store(attempt).deleted == ["results/step/build-1/context.tar.gz"]
    assert [kind for kind, _ in api.made] == ["secrets"]


async def test_the_pod_is_deleted_although_the_record_of_the_steps_end_comes_later() -> None:
    api, box = Api(DONE), LastStep(answers=True)
    attempt, _ = begin(api, box)

    await do_ours(attempt)

    assert box.verdicts == [0]
    assert [kind for kind, _ in api.made] == ["secrets"]


async def test_an_operator_that_was_restarted_goes_on_with_the_pod_that_runs() -> None:
    api = Api(DONE)
    attempt, step = begin(api)
    first = await build_image(attempt, step)
    attempt.run.built.clear()

    assert await build_image(attempt, step) == first
    assert len(api.made) == 2


@pytest.mark.parametrize(
    ("ended", "output", "message"),
    [
        ({"exitCode": 1}, OUTPUT, "failed to solve: exit code: 3"),
        ({"exitCode": 1}, b"#1 x\nno error\n", "buildctl exited with code 1"),
        ({"exitCode": 137, "reason": "OOMKilled"}, OUTPUT, "buildctl ran out of memory"),
        (
            {"exitCode": 1},
            b'error: failed to list workers: Unavailable: connection error: desc = "dial tcp"\n',
            "BuildKit at tcp://buildkit:1234 cannot be used",
        ),
        (
            {"exitCode": 1},
            b"#1 x\nerror: failed to solve: dial tcp: lookup registry.example.com: no such host\n",
            "failed to solve",
        ),
        ({"exitCode": 0, "message": "{}"}, OUTPUT, "buildctl did not report the digest"),
    ],
)
async def test_what_fails_the_step(ended: dict[str, Any], output: bytes, message: str) -> None:
    attempt, step = begin(Api(ended, output=output))

    verdict = await build_image(attempt, step)

    assert verdict.exit_code == 1
    assert verdict.message.startswith(message)
    assert attempt.run.built == {}


@pytest.mark.parametrize(
    ("packs", "message"),
    [
        (collected(empty=True), "the build context /pipeline/source is empty or missing"),
        (
            CollectFailed(
                what="context/1",
                path="/pipeline/source",
                reason="TooLarge",
                text="",
                seq=1,
                time=cast(Any, None),
                nanoseconds=0,
            ),
            "the build context /pipeline/source is over 1024 MiB",
        ),
    ],
)
async def test_a_context_that_cannot_be_used(packs: Any, message: str) -> None:
    api = Api(DONE)
    attempt, step = begin(api, Box(packs=packs))

    verdict = await build_image(attempt, step)

    assert verdict.message.startswith(message)
    assert api.made == {}


async def test_a_pod_that_is_not_accepted_fails_the_step() -> None:
    api = Api(DONE)
    api.refusal = Forbidden("exceeded quota")
    attempt, step = begin(api)

    assert "exceeded quota" in (await build_image(attempt, step)).message
