"""What a status implies: golden sequences, and that what was sent once stays true and in order."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.reports import stories
from tests.unit.reports.stories import Story

from sentinel.reports.event import Event, Kind, Rank
from sentinel.reports.sequence import Reported, events
from sentinel.settings import Settings, StoreSettings

SETTINGS = Settings(store=StoreSettings(bucket="builds"), base_url="https://ci.example")


def implied(raw: dict[str, Any], *, deleted: bool = False) -> list[Event]:
    return list(events(Reported.parse(raw, deleted=deleted), settings=SETTINGS))


def short(found: list[Event]) -> list[str]:
    """Kind, step and result of each."""
    return [" ".join(filter(None, (str(e.kind), e.step, e.data.get("result")))) for e in found]


SETUP = "setup environment"

GOLDEN = {
    "passed": [
        "started",
        f"step.started {SETUP}",
        "source.fetched",
        "config.parsed passed",
        f"step.log {SETUP}",
        f"step.finished {SETUP} passed",
        "steps.detected",
        "environment.set",
        "step.started script-1",
        "step.log script-1",
        "step.finished script-1 passed",
        "step.started script-2",
        "step.log script-2",
        "step.finished script-2 passed",
        "step.started store",
        "step.finished store passed",
        "finished passed",
        "step.started script-3",
        "step.log script-3",
        "step.finished script-3 passed",
        "completed",
    ],
    "failed": [
        "started",
        f"step.started {SETUP}",
        "source.fetched",
        "config.parsed passed",
        f"step.log {SETUP}",
        f"step.finished {SETUP} passed",
        "steps.detected",
        "environment.set",
        "step.started script-1",
        "step.log script-1",
        "step.finished script-1 failed",
        "finished failed",
        "step.started script-3",
        "step.log script-3",
        "step.finished script-3 passed",
        "completed",
    ],
    "cancelled": [
        "started",
        f"step.started {SETUP}",
        "source.fetched",
        "config.parsed passed",
        f"step.log {SETUP}",
        f"step.finished {SETUP} passed",
        "steps.detected",
        "environment.set",
        "step.started script-1",
        "step.log script-1",
        "step.finished script-1 failed",
        "finished failed",
        "completed",
    ],
    "refused": [
        "started",
        f"step.started {SETUP}",
        f"step.log {SETUP}",
        f"step.finished {SETUP} failed",
        "finished failed",
        "completed",
    ],
    "invalid": [
        "started",
        f"step.started {SETUP}",
        f"step.log {SETUP}",
        f"step.finished {SETUP} failed",
        "finished failed",
        "completed",
    ],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_build_that_has_ended_implies_its_whole_sequence(name: str) -> None:
    story = stories.STORIES[name]()
    assert short(implied(story.raw)) == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_every_state_implies_a_beginning_of_the_whole_sequence(name: str) -> None:
    story = stories.STORIES[name]()
    whole = [(e.rank, e.kind, e.step, e.data) for e in implied(story.raw)]
    for state in story.states:
        found = [(e.rank, e.kind, e.step, e.data) for e in implied(state)]
        assert found == whole[: len(found)]


def test_the_last_state_but_one_lacks_only_the_end() -> None:
    story = stories.passed()
    assert short(implied(story.states[-2])) == GOLDEN["passed"][:-1]


def test_steps_have_the_orders_and_phases_of_wercker() -> None:
    detected = next(e for e in implied(stories.passed().raw) if e.kind is Kind.STEPS_DETECTED)
    found = [(s["stepSafeId"], s["phase"], s["order"]) for s in detected.data["steps"]]
    assert found == [
        ("script-1", "mainSteps", 3),
        ("script-2", "mainSteps", 4),
        ("store", "mainSteps", 5),
        ("script-3", "finalSteps", 6),
    ]


def test_without_a_store_there_is_no_step_for_it() -> None:
    found = implied(stories.passed(stored=False).raw)
    assert "store" not in json.dumps([e.data for e in found])


def test_the_store_step_has_where_output_and_image_are() -> None:
    found = implied(stories.passed().raw)
    data = next(e.data for e in found if e.kind is Kind.STEP_FINISHED and e.step == "store")
    assert data["artifactUrl"] == f"s3://builds/{stories.PREFIX}output.tar"
    assert data["packageUrl"] == "r/team/shop@sha256:bb"


def test_a_store_that_failed_fails_the_step_and_the_build() -> None:
    story = Story()
    story.begin()
    story.accept("main")
    story.open()
    story.step(1)
    story.decide("False", "PushFailed", "registry denied the push")
    story.finish()
    found = implied(story.raw)
    assert short(found)[-4:] == [
        "step.started store",
        "step.finished store failed",
        "finished failed",
        "completed",
    ]


def test_variables_are_named_and_only_public_values_are_sent() -> None:
    data = next(e.data for e in implied(stories.passed().raw) if e.kind is Kind.ENVIRONMENT_SET)
    named = {each["name"]: each for each in data["variables"]}
    assert named["COLOUR"] == {"name": "COLOUR", "value": "red"}
    assert named["TOKEN"] == {"name": "TOKEN", "secret": True}
    assert named["HEADER"] == {"name": "HEADER", "value": "Bearer $(TOKEN)"}
    assert named["WERCKER_RUN_ID"]["value"] == stories.UID
    assert named["WERCKER_GIT_COMMIT"]["value"] == stories.COMMIT
    assert data["from"] == [{"prefix": "X_", "kind": "Secret", "name": "all"}]


def test_values_of_a_large_environment_are_left_out() -> None:
    story = stories.passed()
    story.raw["spec"]["env"] = [{"name": f"V{n}", "value": "x" * 100_000} for n in range(500)]
    data = next(e.data for e in implied(story.raw) if e.kind is Kind.ENVIRONMENT_SET)
    assert {f"V{n}" for n in range(500)} <= {each["name"] for each in data["variables"]}
    assert len(json.dumps(data)) < 120_000


@pytest.mark.parametrize("cut", range(1, len(stories.passed().states)))
def test_a_build_that_is_deleted_has_failed_unless_its_result_stood(cut: int) -> None:
    state = stories.passed().states[cut]
    before, found = implied(state), implied(state, deleted=True)
    assert [e.rank for e in found[: len(before)]] == [e.rank for e in before]
    decided = any(
        c["type"] == "Succeeded" and c["status"] == "True"
        for c in state.get("status", {}).get("conditions", [])
    )
    result = next(e.data["result"] for e in found if e.kind is Kind.FINISHED)
    assert result == ("passed" if decided else "failed")
    assert found[-1].kind is Kind.COMPLETED


def test_a_second_attempt_after_steps_began_has_events_of_its_own() -> None:
    story = Story()
    story.begin()
    story.accept("main")
    story.open()
    story.step(1, passed=False)
    first = implied(story.raw)
    story.status["steps"] = stories.steps("main")
    story.status["pod"] = {"attempt": 2}
    story.open()
    story.step(1)
    second = implied(story.raw)
    assert [e.rank for e in second if e.rank.stage == 1] > [
        e.rank for e in first if e.rank.stage == 1
    ]
    assert {e.rank for e in first if e.rank.stage == 1}.isdisjoint({e.rank for e in second})


@given(st.sampled_from(sorted(stories.STORIES)), st.lists(st.integers(0, 30)), st.booleans())
def test_replays_in_any_order_deliver_each_event_once_and_in_order(
    name: str, seen: list[int], ends: bool
) -> None:
    """A reporter sees any states, some twice, some never, and an old one after a new one."""
    story = stories.STORIES[name]()
    delivered: list[Rank] = []
    cursor = Rank(-1)
    last = len(story.states) - 1
    for index in [min(each, last) for each in seen] + ([last] if ends else []):
        for event in implied(story.states[index]):
            if event.rank > cursor:
                cursor = event.rank
                delivered.append(cursor)
    whole = [e.rank for e in implied(story.raw)]
    assert delivered == sorted(set(delivered))
    assert delivered == whole[: len(delivered)]
    if ends:
        assert delivered == whole


@given(st.data())
def test_a_status_that_makes_no_sense_still_gives_rising_ranks(data: st.DataObject) -> None:
    raw = copy.deepcopy(data.draw(st.sampled_from(stories.passed().states)))
    status = raw.setdefault("status", {})
    for step in status.get("steps", []):
        step["state"] = data.draw(
            st.sampled_from(["Pending", "Running", "Passed", "Failed", "Skipped"])
        )
        step["phase"] = data.draw(st.sampled_from(["main", "after"]))
    for each in status.get("conditions", []):
        each["status"] = data.draw(st.sampled_from(["True", "False", "Unknown"]))
    for key in list(status):
        if data.draw(st.booleans()):
            del status[key]
    ranks = [e.rank for e in implied(raw, deleted=data.draw(st.booleans()))]
    assert ranks == sorted(set(ranks))


def test_a_pod_lost_after_steps_could_begin_is_not_reported_twice() -> None:
    story = stories.lost()
    sent: list[str] = []
    cursor = Rank(-1)
    for state in story.states:
        for event in implied(state):
            if event.rank > cursor:
                cursor = event.rank
                sent += short([event])
    assert sent.count(f"step.finished {SETUP} passed") == 1
    assert sent[-2:] == ["finished failed", "completed"]


def test_ranks_are_read_back() -> None:
    assert Rank.parse(str(Rank(1, 2, 3, 1, 17))) == Rank(1, 2, 3, 1, 17)
    with pytest.raises(ValueError, match="not a rank"):
        Rank.parse("1.2")
