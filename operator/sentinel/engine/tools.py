"""The tools of `steps.tools`: whether the Build's namespace has the ConfigMap or Secret that the setting names."""

from __future__ import annotations

from sentinel.engine.run import Run
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import CONFIG_MAPS, SECRETS
from sentinel.plan.model import Plan
from sentinel.plan.pod import provides_tools


async def about_tools(run: Run, plan: Plan) -> tuple[str, ...]:
    """A sentence where standard steps of `plan` will find no tools but the box's. They run all the same."""
    settings, namespace = run.tools.settings, run.build.namespace
    if not provides_tools(plan, settings):
        return ()
    for kind, key, resource in (
        ("configMap", "name", CONFIG_MAPS),
        ("secret", "secretName", SECRETS),
    ):
        name = str((settings.steps.tools.get(kind) or {}).get(key) or "")
        if not name:
            continue
        try:
            await run.tools.kube.get(resource, namespace=namespace, name=name)
        except NotFound:
            what = "ConfigMap" if kind == "configMap" else "Secret"
            return (
                f"there is no {what} {name} in namespace {namespace}, which the setting steps.tools names: standard "
                "steps have the tools of the box only. Copy it there from a namespace that has it",
            )
    return ()
