"""The containers of internal/docker-run, as far as the pod must know of them before they are started. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from sentinel.api.build import Build
from sentinel.plan.model import Plan, PlanStep
from sentinel.plan.names import is_dns_name

DOCKER_RUN = "docker-run"


def runs_container(step: PlanStep) -> bool:
    """Whether it is internal/docker-run."""
    return step.kind == "operator" and step.name == DOCKER_RUN


def container_aliases(plan: Plan) -> tuple[str, ...]:
    """The names that the box can resolve: those that are known beforehand, without variables in them."""
    names = (each.display_name for each in plan.steps if runs_container(each))
    return tuple(dict.fromkeys(name for name in names if is_dns_name(name)))


def container_secrets(plan: Plan, build: Build) -> Iterator[str]:
    """What they are pulled with: a pod's pull Secrets cannot be changed, but may come to exist later."""
    steps = [step for step in plan.steps if runs_container(step)]
    if steps and build.spec.image.push_secret_ref is not None:
        yield build.spec.image.push_secret_ref.name
    for step in steps:
        if "username" in dict(step.properties):
            yield plan.id.push_secret(step.ordinal)
