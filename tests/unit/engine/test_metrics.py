"""What /metrics has of builds and commits, and that no project's words become labels."""

from __future__ import annotations

import copy
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from tests.unit.reports import stories

import sentinel.reports.app
import sentinel.results.server
import sentinel.store.server  # noqa: F401 - they register the reporter's, the results server's and the store's
from sentinel.engine.metrics import BuildMetrics
from sentinel.observe.metrics import REGISTRY

PAGE = Path(__file__).parents[3] / "docs/reference/metrics.md"


def collected(*states: dict[str, Any], namespaces: bool = False) -> tuple[CollectorRegistry, str]:
    registry = CollectorRegistry()
    metrics = BuildMetrics(namespaces=namespaces, registry=registry)
    for state in states:
        metrics.build(state)
    return registry, generate_latest(registry).decode()


def with_phase(raw: dict[str, Any], phase: str) -> dict[str, Any]:
    raw["status"]["phase"] = phase
    return raw


def test_a_build_is_counted_once_with_its_stages_and_steps() -> None:
    raw = with_phase(stories.passed().raw, "Succeeded")
    registry, _ = collected(raw, raw, raw)
    labels = {"phase": "Succeeded", "reason": "Passed"}
    assert registry.get_sample_value("sentinel_builds_finished_total", labels) == 1
    for stage in ("prepare", "start", "run", "finish", "total"):
        name, labels = "sentinel_build_stage_seconds_count", {"stage": stage}
        assert registry.get_sample_value(name, labels) == 1
    assert registry.get_sample_value("sentinel_build_queue_seconds_sum") == 1
    labels = {"state": "Passed", "reason": "Passed"}
    assert registry.get_sample_value("sentinel_steps_total", labels) == 3
    assert registry.get_sample_value("sentinel_store_output_bytes_total") == 3
    assert registry.get_sample_value("sentinel_build_attempts_lost_total") == 0


def test_builds_that_run_are_shown_by_phase_until_they_end_or_go() -> None:
    registry = CollectorRegistry()
    metrics = BuildMetrics(registry=registry)

    def running(phase: str) -> float | None:
        return registry.get_sample_value("sentinel_builds", {"phase": phase})

    story = stories.Story()
    metrics.build(story.raw)
    assert running("Queued") == 1
    story.begin()
    metrics.build(with_phase(story.raw, "Preparing"))
    assert (running("Queued"), running("Preparing")) == (0, 1)
    metrics.build(story.raw, gone=True)
    assert running("Preparing") == 0


def test_labels_come_from_closed_lists() -> None:
    raw = with_phase(stories.failed().raw, "Failed")
    raw["metadata"]["namespace"] = "secret-team"
    for each in raw["status"]["steps"]:
        each["reason"] = "whatever a newer release writes"
    for each in raw["status"]["conditions"]:
        each["reason"] = "Unheard"
    _, text = collected(raw)
    words = ("secret-team", "shop", "Unheard", "whatever", "script", 'build"')
    assert [word for word in words if word in text] == []
    assert 'reason="Other"' in text


def test_namespaces_are_labels_where_the_settings_want_it() -> None:
    registry, _ = collected(with_phase(stories.failed().raw, "Failed"), namespaces=True)
    labels = {"phase": "Failed", "reason": "ExitCode", "namespace": "team"}
    assert registry.get_sample_value("sentinel_builds_finished_total", labels) == 1


def test_commits_are_counted_with_what_they_pushed() -> None:
    registry = CollectorRegistry()
    metrics = BuildMetrics(registry=registry)
    raw: dict[str, Any] = {
        "metadata": {"uid": "c1", "namespace": "team", "name": "c"},
        "status": {"phase": "Pushing"},
    }
    metrics.commit(raw)
    raw["status"] = {
        "phase": "Succeeded",
        "layerBytes": 1000,
        "frozenMilliseconds": 250,
        "startTime": stories.time(1),
        "completionTime": stories.time(4),
    }
    metrics.commit(raw)
    metrics.commit(raw)
    labels = {"phase": "Succeeded"}
    assert registry.get_sample_value("sentinel_image_commits_total", labels) == 1
    assert registry.get_sample_value("sentinel_image_pushed_bytes_total") == 1000
    assert registry.get_sample_value("sentinel_image_commit_seconds_sum") == 3
    assert registry.get_sample_value("sentinel_image_frozen_seconds_sum") == 0.25


def test_every_name_begins_with_sentinel() -> None:
    _, text = collected(with_phase(stories.passed().raw, "Succeeded"))
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names
    assert all(name.startswith("sentinel_") for name in names)


def test_a_status_that_cannot_be_read_counts_nothing() -> None:
    registry, _ = collected({"metadata": {"uid": "x", "namespace": "n"}, "status": {"steps": 7}})
    assert registry.get_sample_value("sentinel_builds", {"phase": "Queued"}) is None


def test_the_reference_has_every_metric_and_no_other() -> None:
    registry = CollectorRegistry()
    BuildMetrics(registry=registry)
    found = set()
    for family in (*REGISTRY.collect(), *registry.collect()):
        if not family.name.startswith("sentinel_process_"):
            found.add(f"{family.name}_total" if family.type == "counter" else family.name)
    listed = set(re.findall(r"^\| `(sentinel_[a-z_]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert listed == found


def test_the_age_of_the_oldest_build_in_the_queue() -> None:
    registry = CollectorRegistry()
    story = stories.Story()
    created = datetime.fromisoformat(story.raw["metadata"]["creationTimestamp"])
    metrics = BuildMetrics(registry=registry, now=lambda: created + timedelta(seconds=90))

    def oldest() -> float | None:
        return registry.get_sample_value("sentinel_build_queue_oldest_seconds")

    assert oldest() == 0
    queued = copy.deepcopy(story.raw)
    metrics.build(queued)
    assert oldest() == 90
    story.begin()
    metrics.build(with_phase(story.raw, "Preparing"))
    assert oldest() == 0
    metrics.build(queued)
    metrics.build(queued, gone=True)
    assert oldest() == 0
