"""Which finished Builds and WorkflowRuns have outlived their time or their place among the last ones. Pure.

A Build of a WorkflowRun goes with its run. A Build stays while one that has not finished goes on from it, and so does
the run that it belongs to. What cannot be read stays.

An application's history is kept by namespace: nothing that a tenant writes counts in another one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sentinel.api.model import seconds
from sentinel.clock import parse_rfc3339
from sentinel.plan.keys import segment
from sentinel.plan.source import archive_name, parse_git_url
from sentinel.plan.workflow import KIND
from sentinel.settings import Settings

Json = Mapping[str, Any]

BUILD, RUN = "Build", KIND
RECENT = timedelta(minutes=10)
"""For which what has finished stays, however low the limits are: someone may wait for the result, or report it."""

DEFAULT_TTL = "168h"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many finished Builds of one application stay, and as many WorkflowRuns; None for all of them."""

    succeeded: int | None = None
    failed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is remembered of a Build or WorkflowRun. `application` is a segment of a key, "" where it is not known.

    `expires` is the end of its time, None where it stays until it is deleted or has not finished; `pinned`: its
    ttlAfterFinished is 0s. `run` is the uid of the WorkflowRun that it belongs to.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    application: str = ""
    finished: bool = False
    succeeded: bool = False
    ended: datetime | None = None
    expires: datetime | None = None
    pinned: bool = False
    parents: tuple[str, ...] = ()
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What goes, and why."""

    entry: Entry
    why: str


def limits_of(settings: Settings) -> Limits:
    """The operator's limits."""
    retention = settings.retention
    return Limits(
        succeeded=retention.successful_builds_history_limit,
        failed=retention.failed_builds_history_limit,
    )


def read_entry(raw: Json, *, kind: str = BUILD) -> Entry:
    """A Build or WorkflowRun as the API server has it, however odd its spec is."""
    meta, spec, status = raw["metadata"], _object(raw, "spec"), _object(raw, "status")
    finished = _holds(status, "Finished")
    ended = _moment(status.get("completionTime")) if finished else None
    ttl = _ttl(spec)
    return Entry(
        kind=kind,
        namespace=str(meta["namespace"]),
        name=str(meta["name"]),
        uid=str(meta["uid"]),
        application=_application(spec, status),
        finished=finished,
        succeeded=_holds(status, "Succeeded"),
        ended=ended,
        expires=_expiry(ended, ttl),
        pinned=ttl == 0,
        parents=tuple(_parents(spec)),
        run=next(
            (
                str(owner.get("uid") or "")
                for owner in meta.get("ownerReferences") or ()
                if owner.get("kind") == RUN and owner.get("controller")
            ),
            "",
        ),
    )


@dataclass
class History:
    """Builds and WorkflowRuns of some namespaces, and which of them may go. A few hundred bytes for each."""

    limits: Limits = Limits()
    _by_uid: dict[str, Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """One more of them. All Builds must be known before anything is decided."""
        self._by_uid[entry.uid] = entry

    @property
    def _entries(self) -> Iterable[Entry]:
        return self._by_uid.values()

    def removals(self, *, kind: str, now: datetime) -> Iterator[Removal]:
        """Those of `kind` that go, the oldest first."""
        needed = self._needed()
        found = {each.entry.uid: each for each in self._beyond_limits(kind, now=now)}
        for entry in self._entries:
            if entry.kind == kind and entry.expires is not None and entry.expires < now:
                found[entry.uid] = Removal(entry=entry, why="its ttlAfterFinished is over")
        for each in sorted(found.values(), key=lambda each: _age(each.entry)):
            if each.entry.uid not in needed:
                yield each

    def _beyond_limits(self, kind: str, *, now: datetime) -> Iterator[Removal]:
        groups: dict[tuple[str, str, bool], list[Entry]] = defaultdict(list)
        applications = self._applications()
        for entry in self._entries:
            if entry.kind != kind or entry.ended is None:
                continue
            if not entry.pinned and not entry.run:
                application = applications[entry.kind, entry.namespace, entry.name]
                groups[entry.namespace, application, entry.succeeded].append(entry)
        for (_, application, succeeded), entries in groups.items():
            most = self.limits.succeeded if succeeded else self.limits.failed
            if most is None or len(entries) <= most:
                continue
            entries.sort(key=_age, reverse=True)
            result = "succeeded" if succeeded else "failed"
            for entry in entries[most:]:
                if _age(entry)[0] > now - RECENT:
                    continue
                yield Removal(
                    entry=entry,
                    why=f"over the limit of {most} for {kind}s of application {application} that {result}",
                )

    def _applications(self) -> dict[tuple[str, str, str], str]:
        """The application of each: its own, its parent's, or one that has its name."""
        by_name = {(each.kind, each.namespace, each.name): each for each in self._entries}
        found: dict[tuple[str, str, str], str] = {}
        for key, entry in by_name.items():
            at: Entry | None = entry
            seen: set[str] = set()
            while at is not None and not at.application and at.uid not in seen:
                seen.add(at.uid)
                at = by_name.get((at.kind, at.namespace, at.parents[0])) if at.parents else None
            found[key] = (at.application if at is not None else "") or segment(entry.name)
        return found

    def _needed(self) -> frozenset[str]:
        """The uids of what unfinished Builds go on from, at any distance: a source may be the grandparent's."""
        builds = {(each.namespace, each.name): each for each in self._entries if each.kind == BUILD}
        needed: set[str] = set()
        waiting = [each for each in builds.values() if not each.finished]
        while waiting:
            entry = waiting.pop()
            for name in entry.parents:
                parent = builds.get((entry.namespace, name))
                if parent is not None and parent.uid not in needed:
                    needed |= {parent.uid, parent.run}
                    waiting.append(parent)
        return frozenset(needed)


def _application(spec: Json, status: Json) -> str:
    """The segment that stands for a Build's application in keys, from the operator's status or else from the spec."""
    parts = str(_object(status, "results").get("prefix") or "").rstrip("/").split("/")
    if len(parts) >= 5 and parts[-4] == "project-artifacts":
        return parts[-3]
    application, source = _object(spec, "application"), _object(spec, "source")
    named = application.get("id") or application.get("name")
    if not named:
        git, archive = _object(source, "git").get("url"), _object(source, "archive").get("url")
        named = parse_git_url(str(git)).repository if git else archive_name(str(archive or ""))
    return segment(str(named)) if named else ""


def _parents(spec: Json) -> Iterator[str]:
    inputs = spec.get("inputs")
    references = [spec.get("parent"), *(inputs if isinstance(inputs, list) else ())]
    for each in references:
        if isinstance(each, dict) and each.get("name"):
            yield str(each["name"])


def _ttl(spec: Json) -> float | None:
    """Seconds; None where it is not a duration."""
    try:
        return seconds(str(spec.get("ttlAfterFinished", DEFAULT_TTL)))
    except (ValueError, OverflowError):
        return None


def _moment(text: object) -> datetime | None:
    try:
        return parse_rfc3339(str(text))
    except ValueError:
        return None


def _expiry(ended: datetime | None, ttl: float | None) -> datetime | None:
    if ended is None or not ttl:
        return None
    try:
        return ended + timedelta(seconds=ttl)
    except OverflowError:
        # Longer than time goes: a Build made before durations had a maximum. It stays.
        return None


def _age(entry: Entry) -> tuple[datetime, str]:
    """What finished ones are sorted by."""
    assert entry.ended is not None  # noqa: S101 - nothing else is a candidate
    return entry.ended, entry.name


def _holds(status: Json, kind: str) -> bool:
    conditions = status.get("conditions")
    found: Iterable[Any] = conditions if isinstance(conditions, list) else ()
    return any(
        isinstance(each, dict) and each.get("type") == kind and each.get("status") == "True"
        for each in found
    )


def _object(of: Json, key: str) -> Json:
    value = of.get(key)
    return value if isinstance(value, Mapping) else {}
