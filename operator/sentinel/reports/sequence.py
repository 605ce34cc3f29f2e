"""From a Build's status to the events that it implies: a pure function, in the order of wercker.md "Reports".

A status that follows another one of the same attempt implies all events of the earlier one and perhaps more: what was
sent stays true. An event is therefore implied only when nothing before it can still come. Not here: which of them were
delivered already.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sentinel.api.build import Build, BuildSpec, BuildStatus, StepStatus
from sentinel.api.conditions import (
    Condition,
    ConditionType,
    Phase,
    derive_phase,
    get_condition,
)
from sentinel.api.reasons import Reason
from sentinel.api.source import Source
from sentinel.plan.keys import output as output_key
from sentinel.reports.event import Event, Kind, Origin, Rank
from sentinel.reports.variables import environment, generic
from sentinel.settings import Settings

SETUP = "setup environment"
STORE = "store"
"""The safe ids of the two steps that no wercker.yml names."""

SETUP_ORDER = 2
FIRST_STEP_ORDER = 3

MESSAGE_LIMIT = 1024


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A Build as the reporter sees it. `deleted`: it is gone, in whatever state it was."""

    build: Build
    deleted: bool = False

    @classmethod
    def parse(cls, raw: dict[str, Any], *, deleted: bool = False) -> Reported:
        """A spec that cannot be read counts as an empty one: such a Build ends as InvalidSpec, which is reported."""
        metadata = raw["metadata"]
        status = _or_default(BuildStatus, raw.get("status"))
        spec = _or_default(BuildSpec, raw.get("spec"), source=Source())
        return cls(build=Build(metadata=metadata, spec=spec, status=status), deleted=deleted)

    @property
    def final(self) -> bool:
        """Whether the status changes no more."""
        finished = get_condition(self.build.status.conditions, ConditionType.FINISHED)
        return self.deleted or (finished is not None and finished.status == "True")

    @property
    def ended_at(self) -> str:
        """When the build ended, RFC 3339; empty before that, and where it was deleted before."""
        return self.build.status.completion_time

    def origin(self, settings: Settings) -> Origin:
        """Which Build this is, for receivers."""
        build = self.build
        variables = dict(generic(build, settings))
        return Origin(
            namespace=build.namespace,
            name=build.name,
            uid=build.uid,
            pipeline=build.spec.pipeline,
            url=variables.get("WERCKER_RUN_URL", ""),
        )


def events(seen: Reported, *, settings: Settings) -> Iterator[Event]:
    """Every event that this status implies, in rising rank.

    STEP_LOG stands for all chunks of a step's log (`logs.py`). Its data has the `text` where that is not in the store.
    """
    build, status = seen.build, seen.build.status
    verdict = _verdict(seen)
    if not status.start_time and verdict is None:
        return
    yield Event(
        rank=Rank(0, 0, 0),
        kind=Kind.STARTED,
        time=status.start_time or build.metadata.get("creationTimestamp", ""),
        data=_started(build),
    )
    yield from _setup(seen, verdict)
    if not _begun(status):
        if verdict is None:
            return
        passed, ran_after, after_passed = False, False, False
    else:
        main = [step for step in _numbered(status) if step[1].phase == "main"]
        after = [step for step in _numbered(status) if step[1].phase == "after"]
        yield from _detected(seen, settings)
        ended = False
        for ordinal, step in main:
            ended = yield from _step(seen, ordinal, step, stage=1)
            if not ended:
                return
        if verdict is None:
            return
        passed = all(step.state == "Passed" for _, step in main)
        yield from _stored(seen, verdict, len(main), main_passed=passed, settings=settings)
        ran_after, after_passed = any(step.start_time for _, step in after), True
    yield _finished(seen, verdict)
    if _begun(status):
        for ordinal, step in after:
            ended = yield from _step(seen, ordinal, step, stage=3)
            if not ended:
                return
            after_passed = after_passed and step.state == "Passed"
    if not seen.final:
        return
    yield Event(
        rank=Rank(4),
        kind=Kind.COMPLETED,
        time=status.completion_time or _time_of(seen, ConditionType.SUCCEEDED),
        data={
            "mainSuccess": passed,
            "ranAfterSteps": ran_after,
            "afterStepsSuccess": ran_after and after_passed,
            "usage": status.usage.model_dump(by_alias=True) if status.usage is not None else {},
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    passed: bool
    phase: Phase
    reason: str
    message: str


def _verdict(seen: Reported) -> _Verdict | None:
    """How the build ends, None while that is open. A Build that is deleted before has failed, as wercker had it."""
    known = get_condition(seen.build.status.conditions, ConditionType.SUCCEEDED)
    if known is None or known.status == "Unknown":
        if not seen.deleted:
            return None
        text = "the Build was deleted before it ended"
        return _Verdict(
            passed=False, phase=Phase.CANCELLED, reason=str(Reason.CANCELLED), message=text
        )
    done = Condition(type=ConditionType.FINISHED, status="True", reason=Reason.COMPLETED)
    phase = derive_phase([known, done], running=False, finishing=False)
    return _Verdict(
        passed=known.status == "True",
        phase=phase,
        reason=known.reason,
        message=known.message[:MESSAGE_LIMIT],
    )


def _begun(status: BuildStatus) -> bool:
    """Whether steps may have begun: the engine says so with the reason Running before it asks the box to start any."""
    known = get_condition(status.conditions, ConditionType.SUCCEEDED)
    running = known is not None and known.status == "Unknown" and known.reason == Reason.RUNNING
    return running or any(step.start_time for step in status.steps)


def _setup(seen: Reported, verdict: _Verdict | None) -> Iterator[Event]:
    """Everything before the first step is the step `setup environment`."""
    build, status = seen.build, seen.build.status
    data = _place(SETUP, SETUP_ORDER)
    started = status.start_time or build.metadata.get("creationTimestamp", "")
    yield Event(rank=Rank(0, 0, 1), kind=Kind.STEP_STARTED, time=started, step=SETUP, data=data)
    source = status.source
    if source is not None and (source.commit or source.digest):
        yield Event(
            rank=Rank(0, 0, 2),
            kind=Kind.SOURCE_FETCHED,
            time=started,
            data=source.model_dump(by_alias=True, exclude={"short_commit"}),
        )
        accepted = get_condition(status.conditions, ConditionType.ACCEPTED)
        if accepted is not None and accepted.status != "Unknown":
            yield Event(
                rank=Rank(0, 0, 3),
                kind=Kind.CONFIG_PARSED,
                time=accepted.last_transition_time,
                data=_parsed(seen, accepted),
            )
    begun = _begun(status)
    if not begun and verdict is None:
        return
    message = "" if begun or verdict is None else f"{verdict.reason}: {verdict.message}"
    ends = _time_of(seen, ConditionType.POD_READY if begun else ConditionType.SUCCEEDED)
    yield Event(
        rank=Rank(0, 0, 4, 1),
        kind=Kind.STEP_LOG,
        time=ends,
        step=SETUP,
        data={**data, "text": _setup_log(status, message)},
    )
    yield Event(
        rank=Rank(0, 0, 4, 2),
        kind=Kind.STEP_FINISHED,
        time=ends,
        step=SETUP,
        data={
            **data,
            "result": "passed" if begun else "failed",
            "message": message,
            # What the repository's file says is not in the status.
            "werckerYamlContents": build.spec.config or status.generated_config,
        },
    )


def _setup_log(status: BuildStatus, message: str) -> str:
    """What a person wants to know of everything before the first step."""
    source, box, pod = status.source, status.box, status.pod
    lines = []
    if source is not None and (source.commit or source.digest):
        named = source.branch or source.tag
        lines.append(f"source: {source.commit or source.digest}{f' ({named})' if named else ''}")
    if box is not None and box.image:
        lines.append(f"box: {box.image}{f' ({box.digest})' if box.digest else ''}")
    if pod is not None and pod.name:
        lines.append(f"pod: {pod.name}{f' on node {pod.node}' if pod.node else ''}")
    if message:
        lines.append(message)
    return "".join(f"{line}\n" for line in lines)


def _detected(seen: Reported, settings: Settings) -> Iterator[Event]:
    build, status = seen.build, seen.build.status
    attempt = _attempt(status)
    main = [
        _place(step.id, FIRST_STEP_ORDER - 1 + ordinal, step)
        for ordinal, step in _numbered(status)
        if step.phase == "main"
    ]
    after = [_after_place(status, o, s) for o, s in _numbered(status) if s.phase == "after"]
    store = [_place(STORE, len(main) + FIRST_STEP_ORDER)] if status.results else []
    time = _time_of(seen, ConditionType.POD_READY)
    yield Event(
        rank=Rank(1, attempt, 0, 0),
        kind=Kind.STEPS_DETECTED,
        time=time,
        data={"attempt": attempt, "steps": [*main, *store, *after]},
    )
    yield Event(
        rank=Rank(1, attempt, 0, 1),
        kind=Kind.ENVIRONMENT_SET,
        time=time,
        data=environment(build, settings),
    )


def _step(
    seen: Reported, ordinal: int, step: StepStatus, *, stage: int
) -> Generator[Event, None, bool]:
    """A step that ran: started, its log, finished; nothing of one that was skipped. Returns whether it has ended."""
    status = seen.build.status
    ended = step.state in ("Passed", "Failed", "Skipped")
    if not step.start_time:
        return ended or seen.final
    attempt = _attempt(status) if stage == 1 else 0
    place = (
        _place(step.id, FIRST_STEP_ORDER - 1 + ordinal, step)
        if step.phase == "main"
        else _after_place(status, ordinal, step)
    )
    yield Event(
        rank=Rank(stage, attempt, ordinal, 0),
        kind=Kind.STEP_STARTED,
        time=step.start_time,
        step=step.id,
        data=place,
    )
    if not ended and not seen.final:
        return False
    yield Event(
        rank=Rank(stage, attempt, ordinal, 1),
        kind=Kind.STEP_LOG,
        time=step.completion_time or step.start_time,
        step=step.id,
        data=place,
    )
    # What still ran when its Build was deleted has failed.
    passed = step.state == "Passed"
    yield Event(
        rank=Rank(stage, attempt, ordinal, 2),
        kind=Kind.STEP_FINISHED,
        time=step.completion_time or _time_of(seen, ConditionType.SUCCEEDED) or step.start_time,
        step=step.id,
        data={
            **place,
            "result": "passed" if passed else "failed",
            "message": step.message,
            "exitCode": step.exit_code,
            "reason": step.reason,
        },
    )
    return True


def _stored(
    seen: Reported, verdict: _Verdict, count: int, *, main_passed: bool, settings: Settings
) -> Iterator[Event]:
    """Saving the image and the output: the step `store`, where there is a store and the main steps have passed."""
    status = seen.build.status
    if status.results is None or not main_passed:
        return
    place = _place(STORE, count + FIRST_STEP_ORDER)
    time = _time_of(seen, ConditionType.SUCCEEDED)
    yield Event(rank=Rank(2, 0, 0, 0), kind=Kind.STEP_STARTED, time=time, step=STORE, data=place)
    yield Event(
        rank=Rank(2, 0, 0, 2),
        kind=Kind.STEP_FINISHED,
        time=time,
        step=STORE,
        data={
            **place,
            "result": "passed" if verdict.passed else "failed",
            "message": "" if verdict.passed else verdict.message,
            "artifactUrl": _artifact_url(status, settings),
            "packageUrl": _image(status),
        },
    )


def _finished(seen: Reported, verdict: _Verdict) -> Event:
    status = seen.build.status
    source = status.source
    return Event(
        rank=Rank(2, 0, 1),
        kind=Kind.FINISHED,
        time=_time_of(seen, ConditionType.SUCCEEDED),
        data={
            "result": "passed" if verdict.passed else "failed",
            "phase": str(verdict.phase),
            "reason": verdict.reason,
            "message": verdict.message,
            "commit": source.commit if source is not None else "",
            "image": _image(status),
        },
    )


def _started(build: Build) -> dict[str, Any]:
    spec = build.spec
    return {
        "pipeline": spec.pipeline,
        "deployTarget": spec.deploy_target,
        "startedBy": spec.started_by,
        "application": spec.application.model_dump(by_alias=True),
    }


def _parsed(seen: Reported, accepted: Condition) -> dict[str, Any]:
    status = seen.build.status
    return {
        "result": "passed" if accepted.status == "True" else "failed",
        "reason": accepted.reason,
        "message": accepted.message[:MESSAGE_LIMIT],
        "pipeline": seen.build.spec.pipeline,
        "box": status.box.image if status.box is not None else "",
        "diagnostics": [each.model_dump(by_alias=True) for each in status.diagnostics],
    }


def _numbered(status: BuildStatus) -> list[tuple[int, StepStatus]]:
    return list(enumerate(status.steps, start=1))


def _place(safe_id: str, order: int, step: StepStatus | None = None) -> dict[str, Any]:
    """What every event of a step has. `phase` in wercker's words."""
    final = step is not None and step.phase == "after"
    return {
        "stepSafeId": safe_id,
        "name": step.name if step is not None else safe_id,
        "displayName": (step.display_name or step.name) if step is not None else safe_id,
        "phase": "finalSteps" if final else "mainSteps",
        "order": order,
    }


def _after_place(status: BuildStatus, ordinal: int, step: StepStatus) -> dict[str, Any]:
    """After-steps come behind `store`, which has its number whether it runs or not."""
    return _place(step.id, FIRST_STEP_ORDER + ordinal, step)


def _attempt(status: BuildStatus) -> int:
    return status.pod.attempt if status.pod is not None else 1


def _image(status: BuildStatus) -> str:
    image = status.image
    return f"{image.repository}@{image.digest}" if image is not None and image.digest else ""


def _artifact_url(status: BuildStatus, settings: Settings) -> str:
    results = status.results
    if results is None or results.output is None or not settings.store.configured:
        return ""
    return f"{settings.store.place}/{output_key(results.prefix)}"


def _time_of(seen: Reported, type_: ConditionType) -> str:
    """When a condition got its present status; else the nearest time that is known."""
    build = seen.build
    known = get_condition(build.status.conditions, type_)
    if known is not None and known.status != "Unknown" and known.last_transition_time:
        return known.last_transition_time
    metadata = build.metadata
    return str(
        build.status.completion_time
        or metadata.get("deletionTimestamp")
        or build.status.start_time
        or metadata.get("creationTimestamp", "")
    )


def _or_default(model: Any, value: Any, **default: Any) -> Any:
    try:
        return model.model_validate(value or {})
    except ValidationError:
        return model(**default)
