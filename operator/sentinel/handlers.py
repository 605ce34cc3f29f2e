"""kopf registrations: what is watched, and where it goes. Nothing is decided here.

Only stateless handlers: no annotation, no finalizer, no write per object (kubernetes.md). The registry is our
own, so two operators in one process (tests) do not meet.
"""

from __future__ import annotations

from typing import Any

import kopf

from sentinel.api import GROUP, VERSION
from sentinel.api.imagecommit import UNFINISHED
from sentinel.engine.board import Board, key_of
from sentinel.engine.metrics import BuildMetrics
from sentinel.engine.ours import is_signed
from sentinel.engine.supervisor import Supervisor
from sentinel.engine.workflows import Workflows
from sentinel.kube.watches import log_in, tune
from sentinel.observe.metrics import note_event
from sentinel.plan.names import FINISHED_LABEL, MANAGED_BY, MANAGED_BY_VALUE, of_instance
from sentinel.plan.seal import PlanKeys


def make_registry(
    *,
    supervisor: Supervisor,
    workflows: Workflows,
    pods: Board,
    commits: Board,
    keys: PlanKeys,
    metrics: BuildMetrics,
    instance: str = "",
) -> kopf.OperatorRegistry:
    """The handlers, on a registry of their own. Of pods that only carry our label nothing is kept."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        tune(settings)
        selectors = settings.watching.label_selectors
        selectors[GROUP, "builds"] = of_instance(instance, f"{FINISHED_LABEL}!=true")
        selectors[GROUP, "imagecommits"] = of_instance(instance, UNFINISHED)
        if instance:
            selectors[GROUP, "workflowruns"] = of_instance(instance)
        selectors["pods"] = f"{MANAGED_BY}={MANAGED_BY_VALUE},{FINISHED_LABEL}!=true"

    kopf.on.login(registry=registry)(log_in)

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        await supervisor.drain()

    @kopf.on.event(GROUP, VERSION, "builds", registry=registry)
    async def on_build(event: kopf.RawEvent, **_: Any) -> None:
        gone = event["type"] == "DELETED"
        tell = supervisor.gone if gone else supervisor.offer
        tell(dict(event["object"]))
        metrics.build(dict(event["object"]), gone=gone)
        workflows.built(event["object"], deleted=gone)

    @kopf.on.event(GROUP, VERSION, "workflowruns", registry=registry)
    async def on_workflow_run(event: kopf.RawEvent, **_: Any) -> None:
        tell = workflows.gone if event["type"] == "DELETED" else workflows.offer
        tell(event["object"])

    @kopf.on.event("v1", "pods", registry=registry)
    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:
        note_event("pods")
        raw = dict(event["object"])
        # One whose name is known may have been changed or replaced: its build has to see that.
        if pods.get(key_of(raw)) is not None or is_signed(raw, keys=keys):
            pods.hear(raw, deleted=event["type"] == "DELETED")

    @kopf.on.event(GROUP, VERSION, "imagecommits", registry=registry)
    async def on_commit(event: kopf.RawEvent, **_: Any) -> None:
        commits.hear(dict(event["object"]), deleted=event["type"] == "DELETED")
        metrics.commit(dict(event["object"]))

    return registry
