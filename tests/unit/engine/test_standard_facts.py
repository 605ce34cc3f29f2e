"""Standard steps in a build's facts: which are taken, who is asked, and what a resolver cannot make of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.world import Server, lookup_of, run_of

from sentinel.config.model import Step
from sentinel.engine.run import Run
from sentinel.errors import InternalError
from sentinel.plan.model import PlanSource, StepFacts
from sentinel.resolver.messages import FactsAnswer, FactsRequest, StepFound
from sentinel.settings import Settings

SOURCE = PlanSource(url="https://git.example.com/p.git", commit="c" * 40)


def run_with(**steps: Any) -> Run:
    run = run_of(Server())
    run.tools = replace(run.tools, settings=Settings(steps=steps, images={"local": True}))
    return run


class Resolver:
    """Answers with these steps, and keeps what it was asked."""

    def __init__(self, *found: StepFound) -> None:
        self.asked: list[str] = []
        self._found = found

    async def facts(self, request: FactsRequest) -> FactsAnswer:
        self.asked = [each.identifier for each in request.steps]
        return FactsAnswer(steps=self._found)


def step(identifier: str) -> Step:
    owner, _, name = identifier.rpartition("/")
    return Step(identifier=identifier, owner=owner or "wercker", name=name, kind="registry")


async def find(run: Run, session: Any, *steps: Step) -> dict[str, StepFacts]:
    _, found = await lookup_of(run).find_facts(
        session, images=(), logins={}, steps=steps, source=SOURCE
    )
    return found


async def test_without_a_registry_no_request_is_sent_for_a_standard_step() -> None:
    resolver = Resolver()

    found = await find(run_with(), resolver, step("npm-install"))

    assert resolver.asked == []
    assert (found["npm-install"].standard, found["npm-install"].digest) == (True, "")
    assert dict(found["npm-install"].defaults)["use-cache"] == "true"


async def test_a_registry_is_asked_first_and_what_it_lacks_is_a_standard_step() -> None:
    run = run_with(registry="https://steps.example.com")
    resolver = Resolver(
        StepFound(owner="wercker", name="npm-install", standard=True),
        StepFound(owner="wercker", name="npm-test", version="9.9.9", digest="a" * 64),
    )

    found = await find(run, resolver, step("npm-install"), step("npm-test"))

    assert resolver.asked == ["npm-install", "npm-test"]
    assert found["npm-install"].standard
    assert (found["npm-test"].standard, found["npm-test"].version) == (False, "9.9.9")


@pytest.mark.parametrize(
    ("settings", "identifier"),
    [
        ({"standard": False, "registry": "https://steps.example.com"}, "npm-install"),
        ({"registry": "https://steps.example.com"}, "acme/npm-install"),
    ],
)
async def test_a_resolver_cannot_make_a_standard_step_of_another(
    settings: dict[str, Any], identifier: str
) -> None:
    resolver = Resolver(StepFound(owner="wercker", name="npm-install", standard=True))

    with pytest.raises(InternalError):
        await find(run_with(**settings), resolver, step(identifier))
