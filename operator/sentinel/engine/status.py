"""What stands in a Build's status: derived from Plan and journal, and written so that nothing is lost or doubled.

The derivation is pure. The writer coalesces: whatever changes within its delay goes out in one request, guarded by
resourceVersion, and never for an attempt that is not the Build's own any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from sentinel.api.build import (
    BoxStatus,
    BuildStatus,
    DiagnosticStatus,
    ImageStatus,
    PodStatus,
    Results,
    SourceStatus,
    StepStatus,
)
from sentinel.api.cache import CacheStatus
from sentinel.api.conditions import (
    Condition,
    ConditionType,
    Phase,
    derive_phase,
    get_condition,
    set_condition,
)
from sentinel.api.reasons import Reason
from sentinel.api.usage import UsageStatus
from sentinel.clock import Clock, rfc3339
from sentinel.engine.board import Board, Seen
from sentinel.errors import Conflict, GoneError, TakenOver, TransientError
from sentinel.kube.client import Kube
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import BUILDS
from sentinel.plan.model import Plan, PlanCache, PlanStep
from sentinel.session.journal import SessionState, StepState

log = logging.getLogger(__name__)

MESSAGE_LIMIT = 256
"""Longest message of a step in status, in characters: a status of 100 steps stays below 64 KiB."""

DELAY = 0.3
"""Seconds that a change may wait for others; status follows the truth within a second."""

RETRY = 1.0
"""Seconds until a write is tried again that the API server could not take."""


def _planned(cache: PlanCache) -> CacheStatus | None:
    """What the status says of a cache before there is a pod."""
    if not cache.key:
        return None
    return CacheStatus(
        restored="" if cache.size else "Miss", saved="" if cache.save else "ReadOnly"
    )


def pending_steps(steps: Sequence[PlanStep]) -> list[StepStatus]:
    """Every step of the plan before anything ran."""
    return [_step_status(step, None) for step in steps]


def step_statuses(
    steps: Sequence[PlanStep], state: SessionState, *, before: Sequence[StepStatus] = ()
) -> list[StepStatus]:
    """Every step of the plan as the journal has it, with the images that it has `before`."""
    images = {step.id: step.image for step in before}
    return [
        _step_status(step, state.steps.get(step.ordinal)).model_copy(
            update={"image": images.get(step.id)}
        )
        for step in steps
    ]


def progress(steps: list[StepStatus]) -> str:
    """`done/all`."""
    done = sum(step.state not in ("Pending", "Running") for step in steps)
    return f"{done}/{len(steps)}"


def settled(
    steps: Sequence[StepStatus], *, reason: Reason | str, message: str, now: str
) -> list[StepStatus]:
    """The steps of a build whose box was lost: what ran has failed with it, what waited was skipped.

    A step that its box stopped on SIGTERM gets the reason why, which the box did not know. `now` is an RFC 3339 time.
    """
    ended: list[StepStatus] = []
    for step in steps:
        if step.state == "Failed" and step.reason == Reason.BOX_TERMINATED:
            change: dict[str, Any] = {"reason": reason, "message": message[:MESSAGE_LIMIT]}
        elif step.state == "Running":
            change = {
                "state": "Failed",
                "reason": reason,
                "message": message[:MESSAGE_LIMIT],
                "completion_time": now,
            }
        elif step.state == "Pending":
            skipped = Reason.CANCELLED if reason is Reason.CANCELLED else Reason.SKIPPED
            change = {"state": "Skipped", "reason": skipped}
        else:
            change = {}
        ended.append(step.model_copy(update=change))
    return ended


def _step_status(step: PlanStep, known: StepState | None) -> StepStatus:
    state, reason = _state_of(known)
    return StepStatus(
        id=step.id,
        name=step.name,
        version=step.version,
        digest=step.digest,
        display_name=step.display_name,
        phase=step.phase,
        state=state,
        exit_code=known.exit if known is not None and (known.exit or 0) >= 0 else None,
        reason=reason,
        message=known.message[:MESSAGE_LIMIT] if known is not None else "",
        start_time=_time(known.started if known is not None else None),
        completion_time=_time(known.finished if known is not None else None),
    )


def _state_of(
    known: StepState | None,
) -> tuple[Literal["Pending", "Running", "Passed", "Failed", "Skipped"], str]:
    if known is None or known.state == "queued":
        return "Pending", ""
    if known.state == "running":
        return "Running", Reason.RUNNING
    if known.state == "skipped":
        return "Skipped", known.reason or Reason.SKIPPED
    return ("Passed" if known.passed else "Failed"), known.reason


def _time(when: datetime | None) -> str:
    return rfc3339(when) if when is not None else ""


class Fields(TypedDict, total=False):
    """What `StatusWriter.change` takes: fields of the status, and `running` and `finishing`, which move the phase."""

    running: bool
    finishing: bool
    conditions: list[Condition]
    current_step: str
    start_time: str
    completion_time: str
    crashes: int | None
    source: SourceStatus
    generated_config: str
    box: BoxStatus
    pod: PodStatus
    steps: list[StepStatus]
    image: ImageStatus
    results: Results | None
    cache: CacheStatus | None
    usage: UsageStatus | None
    diagnostics: list[DiagnosticStatus]


class StatusWriter:
    """Holds the status a Build should have and brings it to the API server.

    `change` takes fields and returns at once; `flush` returns when the server has them. `run` is a background task
    that flushes what `change` left. `attempt` is the attempt this writer speaks for, 0 before there is one.
    """

    def __init__(self, *, kube: Kube, builds: Board, clock: Clock, raw: dict[str, Any]) -> None:
        self._kube = kube
        self._builds = builds
        self._clock = clock
        self._raw = raw
        self.status = BuildStatus.model_validate(raw.get("status") or {})
        self._written = self.status
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        # After a restart the phase must not go back meanwhile.
        phase = self.status.phase
        self._phase_flags = {
            "running": phase in (Phase.RUNNING, Phase.FINISHING),
            "finishing": phase is Phase.FINISHING,
        }

    @property
    def _key(self) -> tuple[str, str]:
        return self._raw["metadata"]["namespace"], self._raw["metadata"]["name"]

    @property
    def attempt(self) -> int:
        return self.status.pod.attempt if self.status.pod is not None else 0

    @property
    def begun(self) -> bool:
        """Whether a step of the user's may have started in this attempt.

        It is written before the box is asked to start any, so that it holds for steps without a record too: a status
        follows its journal late, and the journal goes with its pod.
        """
        return _begun(self.status)

    def begin_attempt(self, plan: Plan) -> None:
        """What is true of an attempt that has no pod yet; nothing of an earlier one stays."""
        steps = pending_steps(plan.steps)
        self.change(
            pod=PodStatus(attempt=plan.attempt),
            results=Results(prefix=plan.results_prefix) if plan.results_prefix else None,
            cache=_planned(plan.cache),
            usage=None,
            steps=steps,
            current_step="",
            running=False,
            finishing=False,
        )
        if get_condition(self.status.conditions, ConditionType.POD_READY) is not None:
            text = f"attempt {plan.attempt} has no pod yet"
            self.condition(ConditionType.POD_READY, "False", Reason.PENDING, text)
        self.condition(ConditionType.SUCCEEDED, "Unknown", Reason.PENDING)

    def change(self, **fields: Unpack[Fields]) -> None:
        """Set fields of the status; they are written soon. Phase and progress follow from them."""
        self._phase_flags["running"] = fields.pop("running", self._phase_flags["running"])
        self._phase_flags["finishing"] = fields.pop("finishing", self._phase_flags["finishing"])
        status = self.status.model_copy(
            update={
                **fields,
                **({"progress": progress(fields["steps"])} if "steps" in fields else {}),
                "observed_generation": int(self._raw["metadata"].get("generation", 1)),
            }
        )
        phase = derive_phase(status.conditions, **self._phase_flags)
        self.status = status.model_copy(update={"phase": phase})
        self._changed.set()

    def condition(
        self,
        type_: ConditionType,
        status: Literal["True", "False", "Unknown"],
        reason: Reason | str,
        message: str = "",
    ) -> None:
        """Set one condition; it is written with the next flush."""
        conditions = set_condition(
            self.status.conditions,
            type_=type_,
            status=status,
            reason=reason,
            message=message,
            now=rfc3339(self._clock.now()),
            generation=int(self._raw["metadata"].get("generation", 1)),
        )
        self.change(conditions=list(conditions))

    def leave(self, message: str) -> bool:
        """Show that no operator follows the build. The reason stays: it tells whether steps may have run.

        Whether that is new; a decided result is left as it is.
        """
        known = get_condition(self.status.conditions, ConditionType.SUCCEEDED)
        if known is None or known.status != "Unknown" or known.message == message:
            return False
        self.condition(ConditionType.SUCCEEDED, "Unknown", known.reason, message)
        return True

    def follow(self) -> None:
        """Take back what `leave` of an older operator wrote."""
        known = get_condition(self.status.conditions, ConditionType.SUCCEEDED)
        if known is not None and known.status == "Unknown" and known.message:
            self.condition(ConditionType.SUCCEEDED, "Unknown", known.reason)

    def waits(self, reason: Reason, message: str) -> None:
        """Say what keeps an attempt's pod from running. The reason also stands where `kubectl get` shows it."""
        self.condition(ConditionType.POD_READY, "False", reason, message)
        if not self.begun:
            self.condition(ConditionType.SUCCEEDED, "Unknown", reason)

    def holds(self, type_: ConditionType) -> bool | None:
        """Whether a condition is True or False; None while unknown."""
        found = get_condition(self.status.conditions, type_)
        return None if found is None or found.status == "Unknown" else found.status == "True"

    async def run(self) -> None:
        """Write what changes, at most once in DELAY seconds, until cancelled. Raises what `flush` raises for good."""
        while True:
            await self._changed.wait()
            await self._clock.sleep(DELAY)
            try:
                await self.flush()
            except Conflict:
                raise  # how this build ends is decided: nothing that is written later would be right
            except TransientError as e:
                # The API server is away for a moment: the build goes on, and what it did is not forgotten.
                log.warning("status of %s is written later: %s", "/".join(self._key), e.message)
                self._changed.set()
                await self._clock.sleep(e.retry_after or RETRY)

    async def flush(self) -> None:
        """Write the status now, if it differs from what was written.

        Raises GoneError when the Build is gone, ended or another attempt's, and Conflict when another operator has
        decided how it ends.
        """
        async with self._lock:
            self._changed.clear()
            while self.status != self._written:
                wanted = self.status
                self._take_newer(self._builds.get(self._key))
                body = {
                    "apiVersion": self._raw["apiVersion"],
                    "kind": self._raw["kind"],
                    "metadata": self._raw["metadata"],
                    "spec": self._raw["spec"],
                    "status": without_blanks(
                        wanted.model_dump(by_alias=True, mode="json", exclude_none=True)
                    ),
                }
                try:
                    raw = await self._kube.replace(BUILDS, body, subresource="status")
                except Conflict:
                    await self._read_newer()
                    continue
                except NotFound as e:
                    raise GoneError(f"Build {'/'.join(self._key)} is gone") from e
                self._raw = raw
                self._written = wanted
                self._builds.offer(raw)

    async def _read_newer(self) -> None:
        namespace, name = self._key
        try:
            fresh = await self._kube.get(BUILDS, namespace=namespace, name=name)
        except NotFound as e:
            raise GoneError(f"Build {namespace}/{name} is gone") from e
        self._take_newer(Seen(fresh))

    def _take_newer(self, seen: Seen | None) -> None:
        """Go on from the server's object, if it is still the one we speak for."""
        if seen is None:
            return
        if seen.deleted or seen.uid != self._raw["metadata"]["uid"]:
            raise GoneError(f"Build {'/'.join(self._key)} is gone")
        if int(seen.raw["metadata"]["resourceVersion"]) < int(
            self._raw["metadata"]["resourceVersion"]
        ):
            return
        theirs = BuildStatus.model_validate(seen.raw.get("status") or {})
        if theirs.pod is not None and theirs.pod.attempt > max(self.attempt, 0):
            raise TakenOver(
                f"attempt {theirs.pod.attempt} of Build {'/'.join(self._key)} is another's"
            )
        self._respect(theirs)
        self._raw = seen.raw

    def _respect(self, theirs: BuildStatus) -> None:
        """What another operator wrote for good stands: that steps may have begun, and how the build ends.

        What we still see of the pod after its end is only its tidying up.
        """
        end, name = _end(theirs.conditions), "/".join(self._key)
        ours = theirs.pod is not None and theirs.pod.attempt == self.attempt
        if ours and _begun(theirs) and not self.begun:
            raise Conflict(f"steps of Build {name} were begun by another operator")
        finished = get_condition(theirs.conditions, ConditionType.FINISHED)
        written = get_condition(self._written.conditions, ConditionType.FINISHED)
        if finished is not None and finished.status == "True" and written is None:
            raise TakenOver(f"Build {name} was finished by another operator")
        if end is not None and end != _end(self.status.conditions):
            raise Conflict(f"how Build {name} ends was decided by another operator: {end[1]}")


def _begun(status: BuildStatus) -> bool:
    known = get_condition(status.conditions, ConditionType.SUCCEEDED)
    marked = known is not None and (known.status != "Unknown" or known.reason == Reason.RUNNING)
    return marked or any(step.start_time for step in status.steps)


def _end(conditions: Sequence[Condition]) -> tuple[str, str] | None:
    """(status, reason) of the decided result, None before."""
    known = get_condition(conditions, ConditionType.SUCCEEDED)
    return None if known is None or known.status == "Unknown" else (known.status, known.reason)


def without_blanks(value: Any) -> Any:
    """Empty texts, lists and objects say nothing: they are left out. False and 0 are kept."""
    if isinstance(value, dict):
        pruned = {key: without_blanks(each) for key, each in value.items()}
        return {key: each for key, each in pruned.items() if each not in ("", [], {})}
    if isinstance(value, list):
        return [without_blanks(each) for each in value]
    return value
