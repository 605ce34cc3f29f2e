"""What builds and commits come to in numbers: counted from their status, as the watch brings it.

A build or commit is counted once, when its status first says that it has ended. A restart between that and the label
that takes it out of the watch counts it a second time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from pydantic import ValidationError

from sentinel.api.build import BuildStatus
from sentinel.api.conditions import ConditionType, Phase, get_condition
from sentinel.api.imagecommit import CommitPhase, ImageCommitStatus
from sentinel.api.reasons import Reason, read_reason
from sentinel.observe.metrics import REGISTRY, note_event

_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
_STAGES = ("prepare", "start", "run", "finish", "total")
MOST_REMEMBERED = 4096
OTHER = "Other"
"""A reason that only another release knows."""


class BuildMetrics:
    """Counters of one operator. `namespaces`: whether builds are counted by namespace too."""

    def __init__(
        self,
        *,
        namespaces: bool = False,
        registry: Any = REGISTRY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._namespaces = namespaces
        place = ["namespace"] if namespaces else []
        self._builds = Gauge(
            "sentinel_builds",
            "Builds that have not ended, by phase.",
            ["phase", *place],
            registry=registry,
        )
        self._finished = Counter(
            "sentinel_builds_finished",
            "Builds that have ended, by phase and reason.",
            ["phase", "reason", *place],
            registry=registry,
        )
        self._queue = Histogram(
            "sentinel_build_queue_seconds",
            "From a Build's creation until work on it began.",
            place,
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "sentinel_build_stage_seconds",
            "How long the stages of a build took: prepare (source, wercker.yml, images), start (pod until the box "
            "answers), run (steps, commit, output), finish (logs, pod), total.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._lost = Counter(
            "sentinel_build_attempts_lost",
            "Pods of builds that were lost and replaced.",
            registry=registry,
        )
        self._steps = Counter(
            "sentinel_steps",
            "Steps of builds that have ended, by state and reason.",
            ["state", "reason"],
            registry=registry,
        )
        self._step_seconds = Histogram(
            "sentinel_step_seconds", "How long steps ran.", buckets=_SECONDS, registry=registry
        )
        self._output = Counter(
            "sentinel_store_output_bytes", "Bytes of output that were stored.", registry=registry
        )
        self._commits = Counter(
            "sentinel_image_commits",
            "Commits of boxes that have ended, by phase.",
            ["phase"],
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "sentinel_image_commit_seconds",
            "From an agent's claim of a commit to its end.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._frozen = Histogram(
            "sentinel_image_frozen_seconds",
            "How long a box stood still for a commit.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
            registry=registry,
        )
        self._pushed = Counter(
            "sentinel_image_pushed_bytes", "Bytes of layers that were pushed.", registry=registry
        )
        self._known: dict[str, tuple[str, str]] = {}
        self._queued: dict[str, datetime] = {}
        Gauge(
            "sentinel_build_queue_oldest_seconds",
            "How long the oldest Build in the queue has waited; 0 with an empty queue.",
            registry=registry,
        ).set_function(self._oldest)
        self._ended: OrderedDict[str, None] = OrderedDict()

    def build(self, raw: dict[str, Any], *, gone: bool = False) -> None:
        """A Build as the watch brought it. Never raises."""
        note_event("builds")
        try:
            status = BuildStatus.model_validate(raw.get("status") or {})
        except ValidationError:
            return
        uid, namespace = _uid(raw), raw["metadata"]["namespace"]
        phase = status.phase or Phase.QUEUED
        self._queue_up(raw, queued=not gone and phase is Phase.QUEUED)
        self._place(uid, "" if gone or phase.ended else str(phase), namespace)
        if phase.ended and self._first(uid):
            self._count(raw, status, phase, namespace)

    def commit(self, raw: dict[str, Any]) -> None:
        """An ImageCommit as the watch brought it. Never raises."""
        note_event("imagecommits")
        try:
            status = ImageCommitStatus.model_validate(raw.get("status") or {})
        except ValidationError:
            return
        if status.phase is None or not status.phase.ended or not self._first(_uid(raw)):
            return
        self._commits.labels(str(status.phase)).inc()
        _observe(self._commit_seconds, status.start_time, status.completion_time)
        if status.frozen_milliseconds:
            self._frozen.observe(status.frozen_milliseconds / 1000)
        if status.phase is CommitPhase.SUCCEEDED:
            self._pushed.inc(max(status.layer_bytes, 0))

    def _queue_up(self, raw: dict[str, Any], *, queued: bool) -> None:
        self._queued.pop(_uid(raw), None)
        if queued:
            with suppress(ValueError, TypeError):
                created = datetime.fromisoformat(raw["metadata"].get("creationTimestamp", ""))
                self._queued[_uid(raw)] = created

    def _oldest(self) -> float:
        if not self._queued:
            return 0.0
        return max((self._now() - min(self._queued.values())).total_seconds(), 0.0)

    def _place(self, uid: str, phase: str, namespace: str) -> None:
        old = self._known.pop(uid, None)
        if old is not None:
            self._builds.labels(*self._labels(*old)).dec()
        if phase:
            self._known[uid] = phase, namespace
            self._builds.labels(*self._labels(phase, namespace)).inc()

    def _labels(self, phase: str, namespace: str) -> Iterator[str]:
        yield phase
        if self._namespaces:
            yield namespace

    def _first(self, uid: str) -> bool:
        if uid in self._ended:
            return False
        self._ended[uid] = None
        if len(self._ended) > MOST_REMEMBERED:
            self._ended.popitem(last=False)
        return True

    def _count(
        self, raw: dict[str, Any], status: BuildStatus, phase: Phase, namespace: str
    ) -> None:
        place = [namespace] if self._namespaces else []
        times = {
            type_: found.last_transition_time
            for type_ in ConditionType
            if (found := get_condition(status.conditions, type_)) is not None
            and (found.status == "True" or type_ is ConditionType.SUCCEEDED)
        }
        decided = get_condition(status.conditions, ConditionType.SUCCEEDED)
        reason = _reason(decided.reason if decided is not None else "")
        self._finished.labels(str(phase), reason, *place).inc()
        created, ended = raw["metadata"].get("creationTimestamp", ""), status.completion_time
        queue = self._queue.labels(*place) if place else self._queue
        _observe(queue, created, status.start_time)
        accepted, ready, result = (
            times.get(type_, "")
            for type_ in (ConditionType.ACCEPTED, ConditionType.POD_READY, ConditionType.SUCCEEDED)
        )
        moments = (
            (status.start_time, accepted),
            (accepted, ready),
            (ready, result),
            (result, ended),
            (created, ended),
        )
        for stage, (begin, end) in zip(_STAGES, moments, strict=True):
            _observe(self._stages.labels(stage), begin, end)
        if status.pod is not None:
            self._lost.inc(max(status.pod.attempt - 1, 0))
        for step in status.steps:
            self._steps.labels(step.state, _reason(step.reason)).inc()
            _observe(self._step_seconds, step.start_time, step.completion_time)
        if status.results is not None and status.results.output is not None:
            self._output.inc(max(status.results.output.size_bytes, 0))


def _uid(raw: dict[str, Any]) -> str:
    return str(raw["metadata"]["uid"])


def _reason(text: str) -> str:
    """A word of the closed list, whatever the status says."""
    known = read_reason(text)
    return str(known) if isinstance(known, Reason) or not text else OTHER


def _observe(histogram: Histogram, begin: str, end: str) -> None:
    """The seconds between two times of a status, where both are there."""
    try:
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    except (ValueError, TypeError):
        return
    histogram.observe(max(seconds, 0.0))
