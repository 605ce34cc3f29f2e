"""Journal records as boxkit sends them: JSON in, frozen dataclasses out.

A record is what boxkit wrote to its journal before it was sent; it never changes. An unknown kind is kept
as `Unknown`, so that an older operator can follow a newer boxkit. Fields: `operator/boxkit/README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from sentinel.errors import ProtocolError

MOST_TEXT = 8 * 1024
"""Characters of any text in a record: boxkit's own have at most 4 KiB."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def _cut(value: Any) -> Any:
    """A text that can be encoded, cut to what boxkit would write."""
    return (
        value[:MOST_TEXT].encode("utf-8", "replace").decode() if isinstance(value, str) else value
    )


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


Text: TypeAlias = Annotated[str, BeforeValidator(_cut)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**63 - 1)]
Seconds: TypeAlias = Annotated[float, Field(ge=0, le=1e9)]
Names: TypeAlias = Annotated[tuple[Text, ...], BeforeValidator(lambda names: names or ())]
_EMPTY = BeforeValidator(_or_empty)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Of every record: `seq` counts from 1 without a gap. `nanoseconds` is Unix time, exact; `time` the same in µs."""

    seq: Count
    time: datetime
    nanoseconds: int


@dataclass(frozen=True, kw_only=True)
class Opened(Record):
    """The session was opened. `shell` is the shell's path in the box, or empty if it has none."""

    kind: Literal["opened"] = "opened"
    build: Text
    attempt: Count
    plan: Text = ""
    shell: Text = ""


@dataclass(frozen=True, kw_only=True)
class ServiceSeen(Record):
    """A service accepted on one of its ports after `seconds`, or did not until then."""

    kind: Literal["service"] = "service"
    alias: Text
    ready: bool
    seconds: Seconds


@dataclass(frozen=True, kw_only=True)
class Queued(Record):
    """A step is boxkit's now: it will run or be skipped, whatever happens to the operator."""

    kind: Literal["queued"] = "queued"
    ordinal: Count
    id: Text
    phase: Text


@dataclass(frozen=True, kw_only=True)
class Started(Record):
    """The step's driver was handed to the shell."""

    kind: Literal["started"] = "started"
    ordinal: Count


@dataclass(frozen=True, kw_only=True)
class LogFacts:
    """Of a step's masked log: size and sha256 of the file, and how many bytes were dropped from its middle.

    `error`: what kept the rest from being written (a full disk), or empty.
    """

    bytes: Count = 0
    sha256: Text = ""
    dropped: Count = 0
    error: Text = ""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the step took. CPU and memory are the box's cgroup's, 0 where they cannot be read."""

    seconds: Seconds = 0.0
    cpu_seconds: Annotated[Seconds, Field(alias="cpuSeconds")] = 0.0
    peak_memory_bytes: Annotated[Count, Field(alias="peakMemoryBytes")] = 0


@dataclass(frozen=True, kw_only=True)
class Finished(Record):
    """The step ended. `exit` is -1 where there is none; `reason` is a word of `api/reasons.py`; `message` is masked.

    `artifacts`: it left files in its artifacts directory.
    """

    kind: Literal["finished"] = "finished"
    ordinal: Count
    exit: Annotated[int, Field(ge=-1, le=255)]
    reason: Text
    message: Text = ""
    log: Annotated[LogFacts, _EMPTY] = LogFacts()
    usage: Annotated[Usage, _EMPTY] = Usage()
    artifacts: bool = False


@dataclass(frozen=True, kw_only=True)
class Skipped(Record):
    """The step will not run: an earlier one failed, or the build was cancelled or ran out of time."""

    kind: Literal["skipped"] = "skipped"
    ordinal: Count
    reason: Text
    message: Text = ""


@dataclass(frozen=True, kw_only=True)
class CancelSeen(Record):
    """A cancel arrived. `after`: after-steps still run."""

    kind: Literal["cancelled"] = "cancelled"
    reason: Text = ""
    after: bool = False


@dataclass(frozen=True, kw_only=True)
class Uploaded(Record):
    """A log is in the object store."""

    kind: Literal["uploaded"] = "uploaded"
    what: Text
    bytes: Count = 0
    sha256: Text = ""


@dataclass(frozen=True, kw_only=True)
class UploadRefused(Record):
    """The store refused the URL with `status`; the file is kept and waits for another `open`."""

    kind: Literal["upload-refused"] = "upload-refused"
    what: Text
    status: Count
    text: Text = ""


@dataclass(frozen=True, kw_only=True)
class UploadFailed(Record):
    """The store could not be reached for long; the file is kept and waits for another `open`."""

    kind: Literal["upload-failed"] = "upload-failed"
    what: Text
    text: Text = ""


@dataclass(frozen=True, kw_only=True)
class Packed(Record):
    """An archive is packed and waits for its URL."""

    kind: Literal["packed"] = "packed"
    what: Text
    bytes: Count
    sha256: Text


@dataclass(frozen=True, kw_only=True)
class Collected(Record):
    """An archive is in the object store; `empty`: there was nothing, and nothing was put.

    `notice` names the files that are not in it as they were, or is empty. Of a cache: `unchanged` is what was restored,
    and nothing was put; `size` is in bytes of its files.
    """

    kind: Literal["collected"] = "collected"
    what: Text
    path: Text = ""
    empty: bool = False
    files: Count = 0
    bytes: Count = 0
    sha256: Text = ""
    notice: Text = ""
    unchanged: bool = False
    size: Count = 0


@dataclass(frozen=True, kw_only=True)
class CacheSeen(Record):
    """What became of the cache that `open` named. state: Hit, Miss, Invalid or Failed; `text` says why it is empty.

    `bytes` are the archive's, `size` is its files'.
    """

    kind: Literal["cache"] = "cache"
    state: Literal["Hit", "Miss", "Invalid", "Failed"]
    bytes: Count = 0
    size: Count = 0
    files: Count = 0
    seconds: Seconds = 0.0
    text: Text = ""


@dataclass(frozen=True, kw_only=True)
class CollectFailed(Record):
    """reason: TooLarge, Unreadable, Refused, Unreachable or ReadFailed. It may be asked for again."""

    kind: Literal["collect-failed"] = "collect-failed"
    what: Text
    path: Text = ""
    reason: Text
    text: Text = ""


@dataclass(frozen=True, kw_only=True)
class Stopping(Record):
    """SIGTERM arrived. Written before anything is stopped."""

    kind: Literal["stopping"] = "stopping"


@dataclass(frozen=True, kw_only=True)
class Closed(Record):
    """The last record. `pending`: files that never reached the store. reason: Closed, or Terminated by a signal."""

    kind: Literal["closed"] = "closed"
    pending: Names = ()
    reason: Text = "Closed"


@dataclass(frozen=True, kw_only=True)
class Unknown(Record):
    """A kind this operator does not know."""

    kind: Text


KnownRecord: TypeAlias = Annotated[
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
    | CacheSeen
    | CollectFailed
    | Stopping
    | Closed,
    Field(discriminator="kind"),
]
AnyRecord: TypeAlias = KnownRecord | Unknown

_KNOWN: TypeAdapter[KnownRecord] = TypeAdapter(KnownRecord)
_KINDS = frozenset(
    {
        Opened.kind,
        ServiceSeen.kind,
        Queued.kind,
        Started.kind,
        Finished.kind,
        Skipped.kind,
        CancelSeen.kind,
        Uploaded.kind,
        UploadRefused.kind,
        UploadFailed.kind,
        Packed.kind,
        Collected.kind,
        CacheSeen.kind,
        CollectFailed.kind,
        Stopping.kind,
        Closed.kind,
    }
)


def parse_record(message: Mapping[str, Any]) -> AnyRecord:
    """The record in a message of type `record`. Raises ProtocolError where a field is missing or of another type."""
    try:
        times = _times(message["time"])
        if message["kind"] in _KINDS:
            return _KNOWN.validate_python({**message, **times})
        return _UNKNOWN.validate_python({**message, **times})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _unreadable(f"{place}: {first['msg']}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _unreadable(repr(error)) from error


_UNKNOWN: TypeAdapter[Unknown] = TypeAdapter(Unknown)


def _unreadable(why: str) -> ProtocolError:
    return ProtocolError(f"a journal record from boxkit cannot be decoded: {why[:200]}")


def _times(text: str) -> dict[str, Any]:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time: {text!r}")
    second = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    nanoseconds = int((match[2] or "").ljust(9, "0"))
    whole = round(second.timestamp()) * 1_000_000_000 + nanoseconds
    return {"time": second + timedelta(microseconds=nanoseconds // 1000), "nanoseconds": whole}
