"""The tools of `steps.tools`: whether the Build's namespace has the ConfigMap or Secret that the setting names."""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.engine.run import Tools
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import CONFIG_MAPS, SECRETS
from sentinel.plan.model import PlanStep
from sentinel.plan.pod import provides_tools


async def about_tools(
    steps: Sequence[PlanStep], *, namespace: str, tools: Tools
) -> tuple[str, ...]:
    """A sentence where standard steps of these will find no tools but the box's. They run all the same."""
    settings = tools.settings
    if not provides_tools(steps, settings):
        return ()
    for kind, key, resource in (
        ("configMap", "name", CONFIG_MAPS),
        ("secret", "secretName", SECRETS),
    ):
        name = str((settings.steps.tools.get(kind) or {}).get(key) or "")
        if not name:
            continue
        try:
            await tools.kube.get(resource, namespace=namespace, name=name)
        except NotFound:
            what = "ConfigMap" if kind == "configMap" else "Secret"
            return (
                f"there is no {what} {name} in namespace {namespace}, which the setting steps.tools names: standard "
                "steps have the tools of the box only. Copy it there from a namespace that has it",
            )
    return ()
