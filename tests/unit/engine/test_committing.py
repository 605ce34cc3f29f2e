"""The commit stage: what is asked, what is granted, what the registry must confirm, and whose fault a failure is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from tests.unit.engine.world import Server, attempt_of, plan, run_of, status_of

from sentinel.api.imagecommit import ACTIVE_LABEL, ImageCommit
from sentinel.api.reasons import Blame, CommitReason, Reason
from sentinel.engine.commit import CommitRequest, commit, commit_box
from sentinel.engine.grants import grant
from sentinel.engine.reporter import Reporter
from sentinel.engine.rollout import is_rolling_out
from sentinel.engine.run import Outcome, Run
from sentinel.image.manifest import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, digest_of
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import Resource
from sentinel.plan.model import ImageFacts, Plan, PlanImage
from sentinel.resolver.client import raise_failure
from sentinel.resolver.messages import PushedRequest
from sentinel.resolver.work import work
from sentinel.settings import NetworkSettings, Settings

LAYER, BASE_LAYER = digest_of(b"the box's layer"), digest_of(b"the base's layer")


def manifest(*layers: str) -> bytes:
    """A manifest of these layers."""
    config = {"mediaType": OCI_CONFIG, "digest": digest_of(b"{}"), "size": 2}
    pointers = [{"mediaType": OCI_LAYER, "digest": layer, "size": 1} for layer in layers]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": pointers}
    ).encode()


BASE = manifest(BASE_LAYER)
ARM = manifest(digest_of(b"for another processor"))
INDEX = json.dumps(
    {
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest_of(each),
                "size": len(each),
                "platform": {"os": "linux", "architecture": architecture},
            }
            for each, architecture in ((ARM, "arm64"), (BASE, "amd64"))
        ],
    }
).encode()
GOOD = manifest(BASE_LAYER, LAYER)


@asynccontextmanager
async def registry(*manifests: bytes) -> AsyncIterator[str]:
    """A registry that has these manifests in every repository; gives host:port."""
    known = {digest_of(each): each for each in manifests}

    async def serve(request: web.Request) -> web.Response:
        found = known.get(request.path.rpartition("/")[2])
        return web.Response(status=404) if found is None else web.Response(body=found)

    app = web.Application()
    app.router.add_get("/v2/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Notices(Reporter):
    """The reporter's notices."""

    heard: list[str] = field(default_factory=list)

    def noticed(self, *, message: str) -> None:
        self.heard.append(message)


class Committing(Server):
    """A server whose agent ends every ImageCommit with this status at once."""

    def __init__(self, status: dict[str, Any]) -> None:
        super().__init__(status_of(ready=True, begun=True))
        self.end = status
        self.made: list[dict[str, Any]] = []

    async def create(
        self, resource: Resource, body: dict[str, Any], *, namespace: str
    ) -> dict[str, Any]:
        if body["metadata"]["name"] in [
            each["metadata"]["name"] for each in self.made if each["kind"] == body["kind"]
        ]:
            raise AlreadyExists("it is there")
        stamp = {"uid": f"uid-{len(self.made)}", "resourceVersion": "1", "namespace": namespace}
        made = {**body, "metadata": {**body["metadata"], **stamp}}
        if body["kind"] == "ImageCommit":
            made["status"] = self.end
        self.made.append(made)
        self.add(resource.plural, made)
        return made

    async def get(
        self, resource: Resource, *, name: str, namespace: str | None = None
    ) -> dict[str, Any]:
        if resource.plural == "secrets":
            return {"data": {".dockerconfigjson": "e30="}, "metadata": {"name": name}}
        return await super().get(resource, name=name, namespace=namespace)


class InProcess:
    """The resolver's work without its process."""

    @asynccontextmanager
    async def session(self, **_: str) -> AsyncIterator[InProcess]:
        yield self

    async def pushed(self, request: PushedRequest) -> str:
        done = await asyncio.to_thread(work, request, Path("/nonexistent"), asyncio.run)
        if done.answer.failure is not None:
            raise_failure(done.answer.failure)
        assert done.answer.pushed is not None
        return done.answer.pushed.problem


def about_to_commit(
    server: Committing, *, host: str = "", base: bytes = BASE, **spec: Any
) -> tuple[Run, Plan, Notices]:
    image = PlanImage(
        commit="end", repository=f"{host or '127.0.0.1:1'}/ns/app", push_secret="push"
    )
    box = ImageFacts(name="box", reference=f"{host or '127.0.0.1:1'}/box@{digest_of(base)}")
    the_plan = replace(plan(), image=image, box=box)
    name = server.add_pod(the_plan)
    server.pods[name]["status"]["containerStatuses"][0]["containerID"] = "containerd://x"
    run = run_of(server, **spec)
    settings = Settings(network=NetworkSettings(allowed=["127.0.0.0/8"]))
    run.tools = replace(run.tools, resolver=cast(Any, InProcess()), settings=settings)
    run.tools.pods.offer(server.pods[name])
    run.report = Notices()
    return run, the_plan, run.report


def succeeded(digest: str = digest_of(GOOD), **more: Any) -> dict[str, Any]:
    tags = [{"name": "green", "pushed": True}]
    return {
        "phase": "Succeeded",
        "reason": "Committed",
        "digest": digest,
        "layerDigest": LAYER,
        "tags": tags,
        **more,
    }


PASSED = Outcome.passed("all 2 steps passed")


@pytest.mark.parametrize("base", [BASE, INDEX], ids=["manifest", "index"])
async def test_an_image_that_the_registry_confirms_is_the_builds(base: bytes) -> None:
    async with registry(GOOD, BASE, ARM, INDEX) as host:
        run, the_plan, notices = about_to_commit(Committing(succeeded()), host=host, base=base)
        assert await commit(attempt_of(run, the_plan), PASSED) == PASSED
    assert run.writer.status.image is not None
    assert run.writer.status.image.digest == digest_of(GOOD)
    assert notices.heard == []


STRANGE = manifest(digest_of(b"not the base's"), LAYER)
REPORTS: dict[str, tuple[dict[str, Any], tuple[bytes, ...], str]] = {
    "not there": (succeeded(), (BASE,), "not found"),
    "no digest": (succeeded("../../../x"), (BASE,), "is not a digest"),
    "an index": (succeeded(digest_of(INDEX)), (BASE, INDEX), "is an index"),
    "another base": (succeeded(digest_of(STRANGE)), (BASE, STRANGE), "layers of"),
    "the base itself": (succeeded(digest_of(BASE)), (BASE,), "layers of"),
}


@pytest.mark.parametrize("report", REPORTS)
async def test_a_digest_is_not_believed_that_the_registry_does_not_confirm(report: str) -> None:
    status, there, words = REPORTS[report]
    async with registry(*there) as host:
        run, the_plan, _ = about_to_commit(Committing(status), host=host)
        outcome = await commit(attempt_of(run, the_plan), PASSED)
    assert outcome.reason is Reason.COMMIT_FAILED
    assert "the agent on node node-1 reported image" in outcome.message
    assert words in outcome.message
    assert run.writer.status.image is None


@pytest.mark.parametrize(
    ("agents", "reason", "blame"),
    [
        (CommitReason.TOO_BIG, Reason.IMAGE_TOO_LARGE, Blame.USER),
        (CommitReason.UNSUPPORTED, Reason.COMMIT_UNSUPPORTED, Blame.USER),
        (CommitReason.PUSH_REFUSED, Reason.PUSH_FAILED, Blame.USER),
        (CommitReason.AUTH_FAILED, Reason.PUSH_FAILED, Blame.USER),
        (CommitReason.NO_SPACE, Reason.COMMIT_FAILED, Blame.PLATFORM),
        (CommitReason.RUNTIME_ERROR, Reason.COMMIT_FAILED, Blame.PLATFORM),
        ("OfALaterVersion", Reason.COMMIT_FAILED, Blame.PLATFORM),
    ],
)
async def test_whose_fault_it_is_follows_from_the_agents_reason(
    agents: str, reason: Reason, blame: Blame
) -> None:
    status = {"phase": "Failed", "reason": str(agents), "message": "why"}
    run, the_plan, _ = about_to_commit(Committing(status))
    outcome = await commit(attempt_of(run, the_plan), PASSED)
    assert (outcome.reason, outcome.reason.blame) == (reason, blame)
    assert outcome.message.endswith(f"{agents}: why")


async def test_what_is_not_in_the_image_is_noticed_on_the_build() -> None:
    left_out = ["names beginning with .wh.: 2, the first at '/keep/.wh.gone'"]
    excluded = [{"path": "/opt/c", "entries": 3}, {"path": "/opt/x", "entries": 0}]
    status = succeeded(leftOut=left_out, excluded=excluded)
    async with registry(GOOD, BASE) as host:
        run, the_plan, notices = about_to_commit(Committing(status), host=host)
        await commit(attempt_of(run, the_plan), PASSED)
    assert notices.heard == [
        "excludePaths left out of the image: /opt/c (3 entries), /opt/x (matched nothing); "
        f"not in the image: {left_out[0]}"
    ]


async def test_the_grant_goes_with_the_commit_and_names_its_secrets_only() -> None:
    server = Committing({"phase": "Failed", "reason": "PodGone"})
    run, the_plan, _ = about_to_commit(server)
    await commit(attempt_of(run, the_plan), PASSED)
    asked, role, binding = server.made
    assert asked["spec"]["timeoutSeconds"] == 1800
    (owner,) = role["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("ImageCommit", asked["metadata"]["uid"])
    assert binding["metadata"]["ownerReferences"] == [owner]
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["push"], "verbs": ["get"]}
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


async def test_the_box_is_read_with_the_secrets_that_its_pod_pulls_with() -> None:
    server = Committing({"phase": "Failed", "reason": "PodGone"})
    run, the_plan, _ = about_to_commit(server, pod={"imagePullSecrets": [{"name": "of-pod"}]})
    the_plan = replace(the_plan, image=replace(the_plan.image, pull_secrets=("named",)))
    await commit(attempt_of(run, the_plan), PASSED)
    asked, role, _ = server.made
    assert asked["spec"]["pullSecretRefs"] == [{"name": "named"}, {"name": "of-pod"}]
    assert role["rules"][0]["resourceNames"] == ["named", "of-pod", "push"]


def changed(**more: str) -> str:
    """The name of a grant that differs in one thing."""
    metadata = {"name": "b-1-end", "namespace": "ns", "uid": more.pop("uid", "u")}
    names = [more.pop("secret", "push")]
    to = {"account": "sentinel-agent", "home": "sentinel"} | more
    grant_of = cast(Callable[..., Any], grant)
    return str(grant_of(names, commit={"metadata": metadata}, **to)[0]["metadata"]["name"])


def test_a_grant_of_the_same_name_is_the_same_grant() -> None:
    """operate.md 17: a binding for another release's agent was taken for ours, and pushes got 403 for good."""
    assert changed() == changed()
    others = {
        changed(uid="v"),
        changed(secret="pull"),
        changed(account="other-agent"),
        changed(home="other"),
    }
    assert len(others | {changed()}) == 5


SCRATCH = CommitRequest(
    name="b-1-step", repository="", tags=("1",), scratch_from=("/pipeline/output",), step=2
)
"""A step's push of its output; the repository is the test registry's."""


async def test_an_image_from_scratch_has_the_boxs_layer_only() -> None:
    alone = manifest(LAYER)
    async with registry(GOOD, BASE, alone) as host:
        request = replace(SCRATCH, repository=f"{host}/ns/app")
        server = Committing(succeeded(digest_of(alone)))
        run, the_plan, _ = about_to_commit(server, host=host)
        ended = await commit_box(attempt_of(run, the_plan), request)
        # What an agent gives that commits the whole box.
        whole, the_plan, _ = about_to_commit(Committing(succeeded()), host=host)
        problem = await commit_box(attempt_of(whole, the_plan), request)
    assert isinstance(ended, ImageCommit)
    assert ended.status.digest == digest_of(alone)
    assert isinstance(problem, tuple)
    assert problem[0] is Reason.COMMIT_FAILED
    assert "has other layers than the one of the box" in problem[1]


async def test_agents_that_do_not_know_images_from_scratch_do_not_see_them() -> None:
    """They select `active=true`, and would push the whole box."""
    labels = {}
    for request in (SCRATCH, replace(SCRATCH, scratch_from=())):
        server = Committing({"phase": "Failed", "reason": "PodGone"})
        run, the_plan, _ = about_to_commit(server)
        await commit_box(
            attempt_of(run, the_plan), replace(request, repository="127.0.0.1:1/ns/app")
        )
        made = server.made[0]
        labels[tuple(made["spec"]["scratchFrom"])] = made["metadata"]["labels"][ACTIVE_LABEL]
    assert labels == {("/pipeline/output",): "scratch", (): "true"}


async def test_another_request_of_that_name_is_not_ours() -> None:
    server = Committing({"phase": "Failed", "reason": "PodGone"})
    run, the_plan, _ = about_to_commit(server)
    request = replace(SCRATCH, repository="127.0.0.1:1/ns/app")
    await commit_box(attempt_of(run, the_plan), replace(request, scratch_from=()))
    found = server.made[0]
    server.get = partial(existing, found, server.get)  # type: ignore[method-assign]
    problem = await commit_box(attempt_of(run, the_plan), request)
    assert isinstance(problem, tuple)
    assert "it asks for another scratchFrom" in problem[1]


async def existing(found: dict[str, Any], get: Any, resource: Resource, **key: Any) -> Any:
    return found if resource.plural == "imagecommits" else await get(resource, **key)


def daemon_set(*, desired: int, updated: int, ready: int, seen: int = 2) -> dict[str, Any]:
    return {
        "metadata": {"generation": 2},
        "status": {
            "observedGeneration": seen,
            "desiredNumberScheduled": desired,
            "updatedNumberScheduled": updated,
            "numberReady": ready,
        },
    }


def test_when_a_daemon_set_is_being_rolled_out() -> None:
    assert not is_rolling_out(daemon_set(desired=3, updated=3, ready=3))
    assert is_rolling_out(daemon_set(desired=3, updated=1, ready=3))
    assert is_rolling_out(daemon_set(desired=3, updated=3, ready=2))
    assert is_rolling_out(daemon_set(desired=3, updated=3, ready=3, seen=1))
    assert not is_rolling_out({"metadata": {}, "status": {}})


class NoAgent(Committing):
    """A server whose ImageCommits are never taken. Its agents' DaemonSet is not complete for `rolling` requests."""

    def __init__(self, rolling: int) -> None:
        super().__init__({})
        self.rolling, self.looks = rolling, 0

    async def get(
        self, resource: Resource, *, name: str, namespace: str | None = None
    ) -> dict[str, Any]:
        if resource.plural == "daemonsets":
            self.looks += 1
            return daemon_set(desired=1, updated=1, ready=int(self.looks > self.rolling))
        if resource.plural == "imagecommits":
            return next(each for each in self.made if each["metadata"]["name"] == name)
        return await super().get(resource, name=name, namespace=namespace)


@pytest.mark.parametrize("rolling", [0, 3])
async def test_a_commit_that_no_agent_takes_waits_for_a_rollout_and_is_then_withdrawn(
    monkeypatch: pytest.MonkeyPatch, rolling: int
) -> None:
    monkeypatch.setattr("sentinel.engine.commit.UNCLAIMED", 0.01)
    server = NoAgent(rolling)
    run, the_plan, _ = about_to_commit(server)
    settings = run.tools.settings.model_copy(update={"agent_daemon_sets": ["sentinel-agent"]})
    run.tools = replace(run.tools, settings=settings)
    outcome = await commit(attempt_of(run, the_plan), PASSED)
    assert outcome.reason is Reason.AGENT_UNAVAILABLE
    assert server.looks == rolling + 1
    # An agent that comes later finds nothing to push.
    assert server.deleted == [("imagecommits", server.made[0]["metadata"]["name"])]


STEP_LAYER = digest_of(b"an earlier step's layer")
EARLIER = manifest(BASE_LAYER, STEP_LAYER)
ON_TOP = manifest(BASE_LAYER, STEP_LAYER, LAYER)
ONTO: dict[str, tuple[str, bytes, str]] = {
    "on the earlier image": (digest_of(EARLIER), ON_TOP, ""),
    "on the box's image": ("", GOOD, ""),
    "not what it says": (digest_of(EARLIER), GOOD, "are not those of"),
    "not what it says not": ("", ON_TOP, "are not those of"),
    "on another image": (digest_of(BASE), GOOD, "which was not requested"),
}


@pytest.mark.parametrize("case", ONTO)
async def test_a_layer_is_on_top_of_the_box_s_image_or_the_previous_image(case: str) -> None:
    onto, image, words = ONTO[case]
    async with registry(GOOD, BASE, EARLIER, ON_TOP) as host:
        server = Committing(succeeded(digest_of(image), onto=onto))
        run, the_plan, _ = about_to_commit(server, host=host)
        request = CommitRequest(
            name="b-1-after2",
            repository=f"{host}/ns/app",
            tags=("t",),
            previous=digest_of(EARLIER),
            remember=True,
        )
        ended = await commit_box(attempt_of(run, the_plan), request)
    spec = server.made[0]["spec"]
    assert (spec["previous"], spec["remember"]) == (digest_of(EARLIER), True)
    if words:
        assert isinstance(ended, tuple)
        assert words in ended[1]
    else:
        assert isinstance(ended, ImageCommit)
