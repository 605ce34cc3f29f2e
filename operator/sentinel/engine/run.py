"""One Build while it is driven: what it is, what we may use, and what the stages share.

Not a manager: it holds values and hands out waiting; what happens is written in `build.py` and the stages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sentinel.api.build import Build
from sentinel.api.conditions import ConditionType, get_condition
from sentinel.api.reasons import Reason, read_reason
from sentinel.api.source import Source
from sentinel.clock import Clock
from sentinel.engine.board import Board, Key, Seen
from sentinel.engine.guard import guarded
from sentinel.engine.outcome import Outcome as Outcome  # noqa: PLC0414 - stages know it by this module
from sentinel.engine.reporter import Reporter
from sentinel.engine.secrets import References
from sentinel.engine.status import StatusWriter
from sentinel.errors import CancelledByUser, SentinelError
from sentinel.kube.client import Kube
from sentinel.plan.names import AttemptId
from sentinel.plan.seal import PlanKeys
from sentinel.resolver.client import Resolver
from sentinel.resolver.shelf import Known, Shelf
from sentinel.settings import Settings
from sentinel.store.objects import ObjectStore

if TYPE_CHECKING:
    from sentinel.engine.parent import Inherited

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What every build uses: made once by the operator, replaced by nothing."""

    kube: Kube
    settings: Settings
    clock: Clock
    store: ObjectStore | None
    builds: Board
    pods: Board
    commits: Board
    keys: PlanKeys
    resolver: Resolver
    shelf: Shelf
    known: Known
    wary: bool = True
    """The operator before this one did not stop in order: a Build may be why."""
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the build that is prepared alone, because the operator was killed while it was prepared before."""


@dataclass(kw_only=True)
class Run:
    """One Build while it is driven. `invalid` ends it at once: its spec cannot be read (`build` has then an empty
    one), or we failed with it too often. `closed`: the box has ended by itself. `result` is how the build ends whatever
    happens to its box from then on; `lost` is why the box ended after that and before its after-steps did. `printed`
    has, by ordinal, the end of what the steps of a box had printed when it got SIGTERM. `park(True)` gives the build's
    slot back while it only waits for room in the cluster, `park(False)` takes one again. `built` has the digests of
    images that steps have built, by the name that they gave it. `inherited` is what the Build that is planned has of
    its parents."""

    build: Build
    tools: Tools
    writer: StatusWriter
    report: Reporter
    invalid: SentinelError | None = None
    park: Callable[[bool], None] = lambda _: None
    closed: bool = False
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    result: Outcome | None = None
    lost: SentinelError | None = None
    printed: Mapping[int, bytes] = field(default_factory=dict)
    built: dict[str, str] = field(default_factory=dict)
    inherited: Inherited | None = None

    @property
    def source(self) -> Source:
        """Where the project comes from: the Build's own source, else its parent's at the same revision."""
        inherited = self.inherited.source if self.inherited is not None else None
        return self.build.spec.source if inherited is None else inherited

    @property
    def key(self) -> Key:
        return self.build.namespace, self.build.name

    def id(self, attempt: int) -> AttemptId:
        """That attempt of the Build; 0 for what belongs to the Build and to no attempt."""
        return AttemptId(self.build.namespace, self.build.name, self.build.uid, attempt)

    @property
    def references(self) -> References:
        """The Secrets and ConfigMaps that the Build names."""
        return References(build=self.build, kube=self.tools.kube, settings=self.tools.settings)

    @property
    def pod_uid(self) -> str:
        """The uid of the present attempt's pod as the API server returned it, "" before there is one."""
        return self.writer.status.pod.uid if self.writer.status.pod is not None else ""

    def owns(self, seen: Seen | None) -> bool:
        """Whether that is the pod we made for the present attempt, and not another one of its name."""
        return seen is not None and seen.uid == self.pod_uid

    def own(self, seen: Seen | None) -> Seen | None:
        """`seen` as far as it is our pod: another one of its name only shows that ours is gone."""
        if seen is None or self.owns(seen):
            return seen
        metadata = {key: seen.raw["metadata"][key] for key in ("namespace", "name")}
        return Seen({"metadata": {**metadata, "uid": self.pod_uid}, "spec": {}}, deleted=True)

    @property
    def decided(self) -> Outcome | None:
        """The result in the status, which an operator before this one may have written; None before there is one."""
        known = get_condition(self.writer.status.conditions, ConditionType.SUCCEEDED)
        if known is None or known.status == "Unknown":
            return None
        return Outcome(
            succeeded=known.status == "True",
            reason=read_reason(known.reason),
            message=known.message,
        )

    def decide(self, outcome: Outcome) -> None:
        """Put the result into the status: after a restart only the clean-up is left."""
        status: Literal["True", "False"] = "True" if outcome.succeeded else "False"
        self.writer.condition(ConditionType.SUCCEEDED, status, outcome.reason, outcome.message)
        if self.writer.holds(ConditionType.ACCEPTED) is None:
            self.writer.condition(ConditionType.ACCEPTED, "False", outcome.reason, outcome.message)

    def wait_for_room(self, reason: Reason, message: str) -> None:
        """Show what keeps an object from being created. A Build that has run steps keeps its slot and its reason."""
        if self.writer.begun:
            self.writer.condition(
                ConditionType.SUCCEEDED, "Unknown", Reason.RUNNING, f"waiting: {message}"
            )
        else:
            self.park(True)
            self.writer.waits(reason, message)

    def has_room(self) -> None:
        """End what `wait_for_room` began."""
        if self.writer.begun:
            self.writer.condition(ConditionType.SUCCEEDED, "Unknown", Reason.RUNNING)
        else:
            self.park(False)

    async def unless_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, or CancelledByUser as soon as the user wants no more of it."""
        if self.cancelled.is_set():
            work.close()
            await self._raise_when_cancelled()
        return await guarded(work, self._raise_when_cancelled())

    async def _raise_when_cancelled(self) -> None:
        await self.cancelled.wait()
        raise CancelledByUser("spec.cancel was set", reason=Reason.CANCELLED)
