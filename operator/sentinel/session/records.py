"""Journal records as boxkit sends them: JSON in, frozen dataclasses out.

A record is what boxkit wrote to its journal before it was sent; it never changes. An unknown kind is kept
as `Unknown`, so that an older operator can follow a newer boxkit. Fields: `operator/boxkit/README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from sentinel.errors import ProtocolError

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


@dataclass(frozen=True, kw_only=True)
class Record:
    """Of every record: `seq` counts from 1 without a gap. `nanoseconds` is Unix time, exact; `time` the same in µs."""

    seq: int
    time: datetime
    nanoseconds: int


@dataclass(frozen=True, kw_only=True)
class Opened(Record):
    """The session was opened. `shell` is the shell's path in the box, or empty if it has none."""

    build: str
    attempt: int
    plan: str
    shell: str


@dataclass(frozen=True, kw_only=True)
class ServiceSeen(Record):
    """A service accepted on one of its ports after `seconds`, or did not until then."""

    alias: str
    ready: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Queued(Record):
    """A step is boxkit's now: it will run or be skipped, whatever happens to the operator."""

    ordinal: int
    id: str
    phase: str


@dataclass(frozen=True, kw_only=True)
class Started(Record):
    """The step's driver was handed to the shell."""

    ordinal: int


@dataclass(frozen=True, kw_only=True)
class LogFacts:
    """Of a step's masked log: size and sha256 of the file, and how many bytes were dropped from its middle.

    `error`: what kept the rest from being written (a full disk), or empty.
    """

    bytes: int = 0
    sha256: str = ""
    dropped: int = 0
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the step took. CPU and memory are the box's cgroup's, 0 where they cannot be read."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Finished(Record):
    """The step ended. `exit` is -1 where there is none; `reason` is a word of `api/reasons.py`; `message` is masked.

    `artifacts`: it left files in its artifacts directory.
    """

    ordinal: int
    exit: int
    reason: str
    message: str
    log: LogFacts
    usage: Usage
    artifacts: bool = False


@dataclass(frozen=True, kw_only=True)
class Skipped(Record):
    """The step will not run: an earlier one failed, or the build was cancelled or ran out of time."""

    ordinal: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class CancelSeen(Record):
    """A cancel arrived. `after`: after-steps still run."""

    reason: str
    after: bool


@dataclass(frozen=True, kw_only=True)
class Uploaded(Record):
    """A log is in the object store."""

    what: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class UploadRefused(Record):
    """The store refused the URL with `status`; the file is kept and waits for another `open`."""

    what: str
    status: int
    text: str


@dataclass(frozen=True, kw_only=True)
class UploadFailed(Record):
    """The store could not be reached for long; the file is kept and waits for another `open`."""

    what: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Packed(Record):
    """An archive is packed and waits for its URL."""

    what: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Collected(Record):
    """An archive is in the object store; `empty`: there was nothing, and nothing was put.

    `notice` names the files that are not in it as they were, or is empty. Of a cache: `unchanged` is what was restored,
    and nothing was put; `size` is in bytes of its files.
    """

    what: str
    path: str
    empty: bool
    files: int
    bytes: int
    sha256: str
    notice: str = ""
    unchanged: bool = False
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class CacheSeen(Record):
    """What became of the cache that `open` named. state: Hit, Miss, Invalid or Failed; `text` says why it is empty.

    `bytes` are the archive's, `size` is its files'.
    """

    state: Literal["Hit", "Miss", "Invalid", "Failed"]
    bytes: int
    size: int
    files: int
    seconds: float
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class CollectFailed(Record):
    """reason: TooLarge, Unreadable, Refused, Unreachable or ReadFailed. It may be asked for again."""

    what: str
    path: str
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Stopping(Record):
    """SIGTERM arrived. Written before anything is stopped."""


@dataclass(frozen=True, kw_only=True)
class Closed(Record):
    """The last record. `pending`: files that never reached the store. reason: Closed, or Terminated by a signal."""

    pending: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Unknown(Record):
    """A kind this operator does not know."""

    kind: str


AnyRecord: TypeAlias = (
    Opened
    | ServiceSeen
    | Queued
    | Started
    | Finished
    | Skipped
    | CancelSeen
    | Uploaded
    | UploadRefused
    | UploadFailed
    | Packed
    | Collected
    | CollectFailed
    | CacheSeen
    | Stopping
    | Closed
    | Unknown
)

_Make: TypeAlias = Callable[[Mapping[str, Any], dict[str, Any]], AnyRecord]


MOST_TEXT = 8 * 1024
"""Characters of any text in a record: boxkit's own have at most 4 KiB."""


def _text(value: Any) -> str:
    """A text that can be encoded, cut to what boxkit would write."""
    if not isinstance(value, str):
        raise TypeError(f"not a text: {type(value).__name__}")
    return value[:MOST_TEXT].encode("utf-8", "replace").decode()


def _count(value: Any, *, least: int = 0, most: int = 2**63 - 1) -> int:
    number = int(value)
    if not least <= number <= most:
        raise ValueError("a number out of its range")
    return number


def _seconds(value: Any) -> float:
    number = float(value)
    if not 0 <= number <= 1e9:
        raise ValueError("not a time in seconds")
    return number


def _state(value: Any) -> Literal["Hit", "Miss", "Invalid", "Failed"]:
    if value not in ("Hit", "Miss", "Invalid", "Failed"):
        raise ValueError("not a state of a cache")
    state: Literal["Hit", "Miss", "Invalid", "Failed"] = value
    return state


def _finished(m: Mapping[str, Any], base: dict[str, Any]) -> Finished:
    log = m.get("log") or {}
    usage = m.get("usage") or {}
    return Finished(
        **base,
        ordinal=_count(m["ordinal"]),
        exit=_count(m["exit"], least=-1, most=255),
        reason=_text(m["reason"]),
        message=_text(m.get("message", "")),
        log=LogFacts(
            bytes=_count(log.get("bytes", 0)),
            sha256=_text(log.get("sha256", "")),
            dropped=_count(log.get("dropped", 0)),
            error=_text(log.get("error", "")),
        ),
        usage=Usage(
            seconds=_seconds(usage.get("seconds", 0)),
            cpu_seconds=_seconds(usage.get("cpuSeconds", 0)),
            peak_memory_bytes=_count(usage.get("peakMemoryBytes", 0)),
        ),
        artifacts=bool(m.get("artifacts", False)),
    )


_KINDS: dict[str, _Make] = {
    "opened": lambda m, b: Opened(
        **b,
        build=_text(m["build"]),
        attempt=_count(m["attempt"]),
        plan=_text(m.get("plan", "")),
        shell=_text(m.get("shell", "")),
    ),
    "service": lambda m, b: ServiceSeen(
        **b, alias=_text(m["alias"]), ready=bool(m["ready"]), seconds=_seconds(m["seconds"])
    ),
    "queued": lambda m, b: Queued(
        **b, ordinal=_count(m["ordinal"]), id=_text(m["id"]), phase=_text(m["phase"])
    ),
    "started": lambda m, b: Started(**b, ordinal=_count(m["ordinal"])),
    "finished": _finished,
    "skipped": lambda m, b: Skipped(
        **b,
        ordinal=_count(m["ordinal"]),
        reason=_text(m["reason"]),
        message=_text(m.get("message", "")),
    ),
    "cancelled": lambda m, b: CancelSeen(
        **b, reason=_text(m.get("reason", "")), after=bool(m.get("after", False))
    ),
    "uploaded": lambda m, b: Uploaded(
        **b,
        what=_text(m["what"]),
        bytes=_count(m.get("bytes", 0)),
        sha256=_text(m.get("sha256", "")),
    ),
    "upload-refused": lambda m, b: UploadRefused(
        **b, what=_text(m["what"]), status=_count(m["status"]), text=_text(m.get("text", ""))
    ),
    "upload-failed": lambda m, b: UploadFailed(
        **b, what=_text(m["what"]), text=_text(m.get("text", ""))
    ),
    "packed": lambda m, b: Packed(
        **b, what=_text(m["what"]), bytes=_count(m["bytes"]), sha256=_text(m["sha256"])
    ),
    "collected": lambda m, b: Collected(
        **b,
        what=_text(m["what"]),
        path=_text(m.get("path", "")),
        empty=bool(m.get("empty", False)),
        files=_count(m.get("files", 0)),
        bytes=_count(m.get("bytes", 0)),
        sha256=_text(m.get("sha256", "")),
        notice=_text(m.get("notice", "")),
        unchanged=bool(m.get("unchanged", False)),
        size=_count(m.get("size", 0)),
    ),
    "cache": lambda m, b: CacheSeen(
        **b,
        state=_state(m["state"]),
        bytes=_count(m.get("bytes", 0)),
        size=_count(m.get("size", 0)),
        files=_count(m.get("files", 0)),
        seconds=_seconds(m.get("seconds", 0)),
        text=_text(m.get("text", "")),
    ),
    "collect-failed": lambda m, b: CollectFailed(
        **b,
        what=_text(m["what"]),
        path=_text(m.get("path", "")),
        reason=_text(m["reason"]),
        text=_text(m.get("text", "")),
    ),
    "stopping": lambda m, b: Stopping(**b),
    "closed": lambda m, b: Closed(
        **b,
        pending=tuple(_text(what) for what in m.get("pending") or ()),
        reason=_text(m.get("reason", "Closed")),
    ),
}


def parse_record(message: Mapping[str, Any]) -> AnyRecord:
    """The record in a message of type `record`. Raises ProtocolError where a field is missing or of another type."""
    try:
        base = {"seq": _count(message["seq"])} | _times(message["time"])
        kind = _text(message["kind"])
        make = _KINDS.get(kind)
        return Unknown(**base, kind=kind) if make is None else make(message, base)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ProtocolError(
            f"boxkit sent a journal record that cannot be decoded: {repr(error)[:200]}"
        ) from error


def _times(text: str) -> dict[str, Any]:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time: {text!r}")
    second = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    nanoseconds = int((match[2] or "").ljust(9, "0"))
    whole = round(second.timestamp()) * 1_000_000_000 + nanoseconds
    return {"time": second + timedelta(microseconds=nanoseconds // 1000), "nanoseconds": whole}
