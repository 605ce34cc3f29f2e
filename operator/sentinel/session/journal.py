"""The journal folded into what a session is now: a pure function of its records.

Feed records in order; the same record again (a replay overlaps) changes nothing; a gap is a ProtocolError, since it
would mean that something happened in the box which we shall never hear of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sentinel.errors import ProtocolError
from sentinel.session import records as r

StepPhase: TypeAlias = Literal["queued", "running", "finished", "skipped"]


@dataclass(frozen=True, kw_only=True)
class StepState:
    """One step as the journal tells it. Times are boxkit's clock; *_ns are the same in Unix nanoseconds."""

    ordinal: int
    id: str
    phase: str
    state: StepPhase = "queued"
    started: datetime | None = None
    finished: datetime | None = None
    started_ns: int = 0
    finished_ns: int = 0
    exit: int | None = None
    reason: str = ""
    message: str = ""
    log: r.LogFacts = field(default_factory=r.LogFacts)
    usage: r.Usage = field(default_factory=r.Usage)
    artifacts: bool = False

    @property
    def done(self) -> bool:
        """Finished or skipped: nothing more will be heard of it."""
        return self.state in ("finished", "skipped")

    @property
    def passed(self) -> bool:
        """Finished with reason Passed."""
        return self.state == "finished" and self.reason == "Passed"


@dataclass(frozen=True, kw_only=True)
class UploadState:
    """A log or archive on its way to the object store: uploaded, refused, failed; `text` says why."""

    state: Literal["uploaded", "refused", "failed"]
    bytes: int = 0
    sha256: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """Everything the journal has said up to `seq`. `steps` by ordinal, `uploads` by what."""

    seq: int = 0
    opened: r.Opened | None = None
    services: Mapping[str, r.ServiceSeen] = field(default_factory=dict)
    steps: Mapping[int, StepState] = field(default_factory=dict)
    uploads: Mapping[str, UploadState] = field(default_factory=dict)
    packed: Mapping[str, r.Packed] = field(default_factory=dict)
    collected: Mapping[str, r.Collected | r.CollectFailed] = field(default_factory=dict)
    cache: r.CacheSeen | None = None
    cancelled: r.CancelSeen | None = None
    stopping: r.Stopping | None = None
    closed: r.Closed | None = None

    def done(self, ordinals: Iterable[int]) -> bool:
        """Whether every step of `ordinals` is finished or skipped."""
        return all(ordinal in self.steps and self.steps[ordinal].done for ordinal in ordinals)

    @property
    def refused(self) -> frozenset[str]:
        """Uploads that wait for another `open` with fresh URLs."""
        return frozenset(what for what, each in self.uploads.items() if each.state != "uploaded")


MOST_RECORDS, MOST_OF_STEP = 20_000, 50
"""Of one journal, and in addition for each step of the Plan. A build of a hundred steps writes some five hundred."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a journal may be about: the ids of the Plan's steps by ordinal, and its services' aliases.

    Any process in a box can speak to boxkit, so that a journal can name anything.
    """

    steps: Mapping[int, str]
    services: frozenset[str]

    def covers(self, record: r.AnyRecord) -> bool:
        """Whether a record is about the Plan. What is not is counted and otherwise ignored."""
        match record:
            case r.ServiceSeen():
                return record.alias in self.services
            case r.Queued():
                return self.steps.get(record.ordinal) == record.id
            case r.Started() | r.Finished() | r.Skipped():
                return record.ordinal in self.steps
            case (
                r.Uploaded()
                | r.UploadRefused()
                | r.UploadFailed()
                | r.Packed()
                | r.Collected()
                | r.CollectFailed()
            ):
                kind, _, ordinal = record.what.partition("/")
                if not ordinal:
                    return kind in ("output", "cache")
                known = any(ordinal == str(each) for each in self.steps)
                return kind in ("log", "artifacts", "context") and known
        return True


def fold(
    state: SessionState, record: r.AnyRecord, expected: Expected | None = None
) -> SessionState:
    """The state after `record`. Raises ProtocolError on a gap or on a step that was never queued."""
    if record.seq <= state.seq:
        return state
    if record.seq != state.seq + 1:
        raise ProtocolError(f"journal record {record.seq} came after {state.seq}")
    most = MOST_RECORDS + MOST_OF_STEP * (len(expected.steps) if expected is not None else 0)
    if record.seq > most:
        raise ProtocolError(
            f"the box wrote more than {most} journal records: something in it speaks to boxkit's socket"
        )
    if expected is not None and not expected.covers(record):
        return replace(state, seq=record.seq)
    return replace(state, seq=record.seq, **_change(state, record))


def _change(state: SessionState, record: r.AnyRecord) -> dict[str, Any]:
    change: dict[str, Any] = {}
    match record:
        case r.Opened():
            change = {"opened": record}
        case r.ServiceSeen() if record.alias not in state.services:
            change = {"services": {**state.services, record.alias: record}}
        case r.Queued():
            step = StepState(ordinal=record.ordinal, id=record.id, phase=record.phase)
            change = {"steps": {**state.steps, record.ordinal: step}}
        case r.Started() | r.Finished() | r.Skipped():
            change = {"steps": {**state.steps, record.ordinal: _step(state, record)}}
        case r.CacheSeen() if state.cache is None:
            change = {"cache": record}
        case r.CancelSeen():
            change = {"cancelled": record}
        case r.Uploaded() | r.UploadRefused() | r.UploadFailed():
            change = {"uploads": {**state.uploads, record.what: _upload(record)}}
        case r.Packed():
            # What became of an earlier archive of that name says nothing of this one.
            uploads = {what: each for what, each in state.uploads.items() if what != record.what}
            change = {"packed": {**state.packed, record.what: record}, "uploads": uploads}
        case r.Collected() | r.CollectFailed():
            change = {"collected": {**state.collected, record.what: record}}
        case r.Stopping():
            change = {"stopping": record}
        case r.Closed():
            change = {"closed": record}
        case _:
            pass
    return change


def _step(state: SessionState, record: r.Started | r.Finished | r.Skipped) -> StepState:
    step = state.steps.get(record.ordinal)
    if step is None:
        raise ProtocolError(f"journal record {record.seq}: step {record.ordinal} was never queued")
    if step.done:
        raise ProtocolError(f"journal record {record.seq}: step {record.ordinal} had ended before")
    if isinstance(record, r.Started) and step.state == "running":
        raise ProtocolError(f"journal record {record.seq}: step {record.ordinal} ran before")
    match record:
        case r.Started():
            return replace(
                step, state="running", started=record.time, started_ns=record.nanoseconds
            )
        case r.Finished():
            return replace(
                step,
                state="finished",
                finished=record.time,
                finished_ns=record.nanoseconds,
                exit=record.exit,
                reason=record.reason,
                message=record.message,
                log=record.log,
                usage=record.usage,
                artifacts=record.artifacts,
            )
        case r.Skipped():
            return replace(step, state="skipped", reason=record.reason, message=record.message)


def _upload(record: r.Uploaded | r.UploadRefused | r.UploadFailed) -> UploadState:
    match record:
        case r.Uploaded():
            return UploadState(state="uploaded", bytes=record.bytes, sha256=record.sha256)
        case r.UploadRefused():
            return UploadState(state="refused", text=f"HTTP {record.status}: {record.text}")
        case r.UploadFailed():
            return UploadState(state="failed", text=record.text)
