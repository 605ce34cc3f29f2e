"""What earlier releases wrote and an operator of today meets after an upgrade: it must read all of it, unchanged.

`tests/released/<release>/` holds Plans as they stand in a pod's annotation (`plan-*.txt`, and beside each of them every
field as that release understood it, defaults included), journals of its boxkit, and ImageCommits. Never edit a file
there: where one cannot be read any more, raise `plan.model.VERSION` or the protocol, and write the migration. A release
adds its own with `python -m tests.released`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from sentinel.api.imagecommit import CommitPhase, ImageCommit
from sentinel.engine.commit import has_ended
from sentinel.plan.codec import decode, encode
from sentinel.plan.model import Plan
from sentinel.session.journal import SessionState, fold
from sentinel.session.records import Unknown, parse_record

RELEASED = Path(__file__).parents[1] / "released"
PLANS = sorted(RELEASED.glob("*/plan-*.txt"))
JOURNALS = sorted(RELEASED.glob("*/journal-*.jsonl"))
COMMITS = sorted(RELEASED.glob("*/imagecommit-*.json"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def _only(read: Any, meant: Any) -> Any:
    """`read` without the fields that came after `meant` was written."""
    if isinstance(meant, dict):
        return {name: _only(read[name], each) for name, each in meant.items()}
    if isinstance(meant, list) and len(read) == len(meant):
        return [_only(*pair) for pair in zip(read, meant, strict=True)]
    return read


@pytest.mark.parametrize("path", PLANS, ids=name_of)
def test_a_plan_means_what_it_meant_to_its_release(path: Path) -> None:
    read = json.loads(TypeAdapter(Plan).dump_json(decode(path.read_text().strip())))
    meant = json.loads(path.with_suffix(".json").read_text())
    assert _only(read, meant) == meant


@pytest.mark.parametrize("path", PLANS, ids=name_of)
def test_a_plan_is_written_with_its_defaults(path: Path) -> None:
    """So that a later release with other defaults drives it as it was planned."""
    plan = decode(path.read_text().strip())
    assert decode(encode(plan)) == plan
    assert len(encode(plan)) < 3 * len(path.read_text())


ENDS = {
    "passed": ({1: "Passed", 2: "Passed", 3: "Passed"}, "Closed"),
    "failed": ({1: "ExitCode", 2: "Skipped"}, "Closed"),
    "cancelled": ({1: "Cancelled", 2: "Cancelled"}, "Closed"),
    "terminated": ({1: "BoxTerminated", 2: "Skipped"}, "Terminated"),
}


@pytest.mark.parametrize("path", JOURNALS, ids=name_of)
def test_a_journal_is_read_to_its_end(path: Path) -> None:
    state = SessionState()
    for line in path.read_text().splitlines():
        record = parse_record(json.loads(line))
        assert not isinstance(record, Unknown)
        state = fold(state, record)
    steps, closed = ENDS[path.stem.removeprefix("journal-")]
    assert {n: step.reason for n, step in state.steps.items()} == steps
    assert state.closed is not None and state.closed.reason == closed


@pytest.mark.parametrize("path", COMMITS, ids=name_of)
def test_an_image_commit_is_read(path: Path) -> None:
    raw = json.loads(path.read_text())
    commit = ImageCommit.model_validate(raw)
    assert has_ended(commit)
    assert commit.spec.exclude_paths == raw["spec"]["excludePaths"]
    assert (commit.status.phase is CommitPhase.SUCCEEDED) == path.stem.endswith("succeeded")


def test_every_kind_of_object_has_its_fixtures() -> None:
    releases = [path for path in RELEASED.iterdir() if path.name[0].isdigit()]
    assert releases
    for release in releases:
        assert {path.name.partition("-")[0] for path in release.iterdir()} == {
            "plan",
            "journal",
            "imagecommit",
        }
