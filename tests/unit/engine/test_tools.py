"""Tools of the operator's owner, in a namespace that has them and in one that has not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from tests.unit.engine.world import Server, plan, run_of

from sentinel.engine.run import Run
from sentinel.engine.tools import about_tools
from sentinel.kube.errors import NotFound
from sentinel.plan.model import Plan
from sentinel.plan.pod import make_pod
from sentinel.settings import Settings, StepSettings


class Objects:
    """The API server, with objects of these kinds and names."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, 0

    async def get(self, resource: Any, *, namespace: str, name: str) -> dict[str, Any]:
        self.asked += 1
        if f"{resource.plural}/{name}" not in self.names:
            raise NotFound(f"no {name}")
        return {}


def run_with(objects: Objects, **tools: Any) -> Run:
    run = run_of(Server())
    settings = Settings(steps=StepSettings(tools=tools))
    run.tools = replace(run.tools, kube=cast(Any, objects), settings=settings)
    return run


def planned(*, standard: bool = True) -> Plan:
    made = plan("one")
    return replace(made, steps=tuple(replace(step, standard=standard) for step in made.steps))


@pytest.mark.parametrize(
    ("tools", "there", "note"),
    [
        ({"configMap": {"name": "tools"}}, "configmaps/tools", ""),
        ({"configMap": {"name": "tools"}}, "secrets/tools", "there is no ConfigMap tools in"),
        ({"secret": {"secretName": "tools"}}, "secrets/tools", ""),
        ({"secret": {"secretName": "tools"}}, "", "there is no Secret tools in"),
        ({"image": {"reference": "r.example.com/tools:1"}}, "", ""),
        ({}, "", ""),
    ],
)
async def test_a_namespace_without_the_tools_is_named(
    tools: dict[str, Any], there: str, note: str
) -> None:
    run = run_with(Objects(there), **tools)
    found = await about_tools(planned().steps, namespace="ns", tools=run.tools)

    assert [text.partition(" namespace")[0] for text in found] == ([note] if note else [])


async def test_without_a_standard_step_nothing_is_looked_up() -> None:
    objects = Objects()
    run = run_with(objects, configMap={"name": "tools"})

    assert await about_tools(planned(standard=False).steps, namespace="ns", tools=run.tools) == ()
    assert objects.asked == 0


@pytest.mark.parametrize(
    ("tools", "volume"),
    [
        (
            {"configMap": {"name": "tools", "defaultMode": 493}},
            {"configMap": {"name": "tools", "defaultMode": 493, "optional": True}},
        ),
        (
            {"configMap": {"name": "tools", "optional": False}},
            {"configMap": {"name": "tools", "optional": False}},
        ),
        ({"image": {"reference": "r"}}, {"image": {"reference": "r"}}),
    ],
)
def test_a_pod_does_not_wait_for_tools(tools: dict[str, Any], volume: dict[str, Any]) -> None:
    run = run_with(Objects(), **tools)
    pod = make_pod(planned(), build=run.build, settings=run.tools.settings)
    (found,) = [each for each in pod["spec"]["volumes"] if each["name"] == "tools"]

    assert found == {"name": "tools", **volume}
