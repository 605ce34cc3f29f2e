"""Which images a build may use, decided before a registry is asked; and what is kept for the next build."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from tests.unit.engine.world import Server, lookup_of, run_of

from sentinel.api.build import PodSettings
from sentinel.api.reasons import Reason
from sentinel.config.load import load
from sentinel.config.model import Box
from sentinel.engine.lookup import architecture_of
from sentinel.engine.run import Run
from sentinel.errors import InternalError, UserError
from sentinel.image.dockerconfig import Credential
from sentinel.plan.model import ImageFacts, PlanSource, StepFacts
from sentinel.resolver.messages import (
    FactsAnswer,
    FactsRequest,
    ImageFound,
    ImageWanted,
    KnownStep,
    StepFound,
)
from sentinel.resolver.shelf import Known
from sentinel.settings import Settings, StepSettings

DIGEST = "sha256:" + "a" * 64
SOURCE = PlanSource(url="https://git.example.com/p.git", commit="c" * 40)


def run_with(**images: Any) -> Run:
    run = run_of(Server())
    run.tools = replace(run.tools, settings=Settings(images=images))
    return run


class Registry:
    """A resolver that finds every image, with one variable, and keeps what is known to be DIGEST."""

    def __init__(self) -> None:
        self.requests: list[FactsRequest] = []

    async def facts(self, request: FactsRequest) -> FactsAnswer:
        self.requests.append(request)
        return FactsAnswer(
            images=tuple(
                ImageFound(digest=DIGEST, kept=True)
                if each.known == DIGEST
                else ImageFound(digest=DIGEST, env=(("A", each.name),))
                for each in request.images
            )
        )


async def find(run: Run, session: Any, *boxes: Box) -> list[ImageFacts]:
    images, _ = await lookup_of(run).find_facts(
        session, images=boxes, logins={}, steps=(), source=SOURCE
    )
    return images


async def test_images_of_registries_that_are_not_allowed_are_all_named() -> None:
    run = run_with(allowed_registries=["registry.example.com:5000"])
    boxes = [Box(id="evil.example.com/a"), Box(id="debian", tag="12")]

    with pytest.raises(UserError) as caught:
        await find(run, cast(Any, None), *boxes)

    assert caught.value.reason is Reason.REGISTRY_NOT_ALLOWED
    assert caught.value.message.splitlines() == [
        "image 'evil.example.com/a' is on registry evil.example.com, which this operator does not allow; it allows "
        "registry.example.com:5000",
        "image 'debian:12' is on registry docker.io, which this operator does not allow; it allows "
        "registry.example.com:5000",
    ]


async def test_local_images_are_taken_by_name_and_no_registry_is_asked() -> None:
    boxes = [Box(id="app", tag="dev"), Box(id="registry.invalid/db:1")]

    assert await find(run_with(local=True), cast(Any, None), *boxes) == [
        ImageFacts(name="app:dev", reference="app:dev"),
        ImageFacts(name="registry.invalid/db:1", reference="registry.invalid/db:1"),
    ]


@pytest.mark.parametrize("registry", ["", "http://steps.example.com"])
async def test_a_shipped_internal_step_is_found_whatever_the_settings_of_steps(
    registry: str,
) -> None:
    run = run_with(local=True)
    rules = StepSettings(standard=False, registry=registry)
    run.tools = replace(run.tools, settings=Settings(images={"local": True}, steps=rules))
    yml = b"box: x\nbuild:\n  steps:\n    - internal/publish-step: {owner: acme}\n"
    config = load(yml).config
    assert config is not None

    _, steps = await lookup_of(run).find_facts(
        cast(Any, None),
        images=[Box(id="x")],
        logins={},
        steps=config.pipelines["build"].steps,
        source=SOURCE,
    )

    facts = steps["internal/publish-step"]
    assert (facts.standard, facts.digest, facts.required) == (True, "", frozenset({"owner"}))


async def test_what_an_image_was_is_kept_for_the_next_build_of_its_namespace_only() -> None:
    run, registry = run_with(), Registry()
    box = Box(id="registry.example.com/app:1")
    first = await find(run, registry, box)
    assert first == [
        ImageFacts(
            name="registry.example.com/app:1",
            reference=f"registry.example.com/app@{DIGEST}",
            digest=DIGEST,
            env=(("A", "registry.example.com/app:1"),),
        )
    ]
    assert await find(run, registry, box) == first
    metadata = {**run.build.metadata, "namespace": "other"}
    run.build = run.build.model_copy(update={"metadata": metadata})
    await find(run, registry, box)

    name = "registry.example.com/app:1"
    assert [each.images for each in registry.requests] == [
        (ImageWanted(name=name),),
        (ImageWanted(name=name, known=DIGEST),),
        (ImageWanted(name=name),),
    ]


async def test_an_image_is_looked_up_and_pulled_on_the_mirror_of_its_registry() -> None:
    run, registry = run_with(mirrors={"docker.io": "mirror.example.com/hub"}), Registry()
    boxes = [Box(id="node:6"), Box(id="quay.io/a/b:1"), Box(id="acme/app", tag="2")]
    found = await find(run, registry, *boxes)

    assert [(each.name, each.reference) for each in found] == [
        ("node:6", f"mirror.example.com/hub/library/node@{DIGEST}"),
        ("quay.io/a/b:1", f"quay.io/a/b@{DIGEST}"),
        ("acme/app:2", f"mirror.example.com/hub/acme/app@{DIGEST}"),
    ]
    assert registry.requests[0].images == (
        ImageWanted(name="mirror.example.com/hub/library/node:6", mirror_of="node:6"),
        ImageWanted(name="quay.io/a/b:1"),
        ImageWanted(name="mirror.example.com/hub/acme/app:2", mirror_of="acme/app:2"),
    )
    assert "mirror.example.com" in registry.requests[0].registries["allowed"]


async def test_an_image_with_a_login_of_its_own_is_not_taken_from_a_mirror() -> None:
    run, registry = run_with(mirrors={"docker.io": "mirror.example.com"}), Registry()
    logins = {"docker.io/acme/app": Credential(username="u", password="p")}
    boxes = [Box(id="acme/app:1"), Box(id="acme/other:1")]
    images, _ = await lookup_of(run).find_facts(
        cast(Any, registry), images=boxes, logins=logins, steps=(), source=SOURCE
    )

    assert [each.reference for each in images] == [
        f"docker.io/acme/app@{DIGEST}",
        f"mirror.example.com/acme/other@{DIGEST}",
    ]


async def test_a_resolver_that_keeps_what_it_was_not_given_is_not_believed() -> None:
    class Liar:
        async def facts(self, request: FactsRequest) -> FactsAnswer:
            return FactsAnswer(images=(ImageFound(digest=DIGEST, kept=True),))

    with pytest.raises(InternalError):
        await find(run_with(), Liar(), Box(id="debian:12"))


async def test_what_another_build_finds_meanwhile_does_not_change_an_answer() -> None:
    """A step was published again: the other Build notes that while this one waits for an answer to what it sent."""
    known = Known()
    old, new = (
        KnownStep(
            registry="r", owner="acme", name="hi", version="1.0.0", mark=mark, digest=mark * 64
        )
        for mark in ("a", "b")
    )
    known.keep_step("ns", old, StepFacts(version="1.0.0", digest=old.digest))

    class Slow:
        async def facts(self, request: FactsRequest) -> FactsAnswer:
            assert request.known_steps == (old,)
            known.keep_step("ns", new, StepFacts(version="1.0.0", digest=new.digest))
            found = StepFound(owner="acme", name="hi", digest=old.digest, kept=True)
            return FactsAnswer(steps=(found,))

    run = run_with(local=True)
    run.tools = replace(run.tools, known=known, shelf=cast(Any, Full()))
    config = load(b"box: x\nbuild:\n  steps:\n    - acme/hi\n").config
    assert config is not None
    steps = config.pipelines["build"].steps
    _, facts = await lookup_of(run).find_facts(
        cast(Any, Slow()), images=[Box(id="x")], logins={}, steps=steps, source=SOURCE
    )
    assert [each.digest for each in facts.values()] == [old.digest]


class Full:
    """A shelf that has every archive."""

    def has(self, digest: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("selector", "machine", "expected"),
    [
        ({}, "x86_64", "amd64"),
        ({}, "aarch64", "arm64"),
        ({}, "s390x", "s390x"),
        ({"kubernetes.io/arch": "arm64"}, "x86_64", "arm64"),
    ],
)
def test_images_are_for_the_nodes_that_a_build_may_run_on(
    selector: dict[str, str], machine: str, expected: str
) -> None:
    assert architecture_of(PodSettings(node_selector=selector), machine=machine) == expected
