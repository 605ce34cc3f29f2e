"""One attempt of a Build while it is driven: its Plan, its pod, its environment and the session with its box.

Not here: what is done with it (`build.py` and the stages), and what outlives it (`run.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sentinel.api.build import Build, PodStatus
from sentinel.engine.board import Key, Seen
from sentinel.engine.look import LOOK_AGAIN, until
from sentinel.engine.reporter import Reporter
from sentinel.engine.run import Run, Tools
from sentinel.engine.status import StatusWriter
from sentinel.kube.resources import PODS
from sentinel.plan.environment import ResolvedEnvironment
from sentinel.plan.model import Plan
from sentinel.plan.names import AttemptId, sealed_plan
from sentinel.session.client import Session

T = TypeVar("T")


@dataclass(kw_only=True)
class Attempt:
    """An attempt and what it is driven with.

    `sealed` is the signed plan as it stands in the pod's annotation, "" before there is a pod. `environment` is being
    resolved while stages 6 to 12 run; `session` is set while there is a connection to the box (`box.box_session`).
    `dead_services` says by alias how a service ended before the steps did.
    """

    run: Run
    plan: Plan
    sealed: str = ""
    dead_services: dict[str, str] = field(default_factory=dict)
    environment: asyncio.Future[ResolvedEnvironment] = field(init=False, repr=False)
    session: Session = field(init=False, repr=False)

    @property
    def id(self) -> AttemptId:
        return self.plan.id

    @property
    def key(self) -> Key:
        """(namespace, name) of its pod."""
        return self.plan.id.key

    @property
    def build(self) -> Build:
        return self.run.build

    @property
    def tools(self) -> Tools:
        return self.run.tools

    @property
    def writer(self) -> StatusWriter:
        return self.run.writer

    @property
    def report(self) -> Reporter:
        return self.run.report

    @property
    def name(self) -> str:
        """The Build's, for the operator's own log."""
        return "/".join(self.run.key)

    def seen(self) -> Seen | None:
        """The pod as last seen."""
        return self.tools.pods.get(self.key)

    async def until(
        self, look: Callable[[Seen | None], T | None], *, every: float = LOOK_AGAIN
    ) -> T:
        """Wait until `look` gives something for the pod, which is read again after `every` seconds without news."""
        return await until(self.tools.kube, PODS, self.tools.pods, self.key, look, every=every)

    def note_pod(self, raw: dict[str, Any]) -> None:
        """The pod exists: its name and uid go into the status, and its plan must not change any more."""
        pod = self.writer.status.pod or PodStatus()
        known = {"name": raw["metadata"]["name"], "uid": raw["metadata"]["uid"]}
        if (pod.name, pod.uid) != (known["name"], known["uid"]):
            self.writer.change(pod=pod.model_copy(update=known))
        self.sealed = sealed_plan(raw)

    async def resolve_environment(self) -> ResolvedEnvironment:
        """The literal environment of the build, and every value that must not be seen in a log."""
        return await self.run.references.resolve(self.plan.variables)

    def next(self) -> Attempt:
        """The attempt that replaces this one."""
        return Attempt(run=self.run, plan=self.plan.at(self.plan.attempt + 1))
