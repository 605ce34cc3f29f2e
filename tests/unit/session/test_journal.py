"""Journal records: parsed exactly, folded into a state, replayed without effect, refused with a gap."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import ProtocolError
from sentinel.session import records as r
from sentinel.session.journal import Expected, SessionState, StepState, UploadState, fold
from sentinel.session.records import parse_record

TIME = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
NS = 1767323045_123456789


def record(seq: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "seq": seq,
        "time": "2026-01-02T03:04:05.123456789Z",
        "kind": kind,
        **fields,
    }


LOG = {"bytes": 6, "sha256": "ab", "dropped": 0}
JOURNAL = [
    record(1, "opened", build="b", attempt=2, plan="p", shell="/bin/sh"),
    record(2, "service", alias="db", ready=True, seconds=0.25),
    record(3, "queued", ordinal=1, id="one", phase="main"),
    record(4, "queued", ordinal=2, id="two", phase="main"),
    record(5, "queued", ordinal=3, id="three", phase="after"),
    record(6, "started", ordinal=1),
    record(
        7,
        "finished",
        ordinal=1,
        exit=3,
        reason="ExitCode",
        message="no",
        log=LOG,
        usage={"seconds": 1.5, "cpuSeconds": 0.5, "peakMemoryBytes": 7},
    ),
    record(8, "skipped", ordinal=2, reason="Skipped", message="one failed"),
    record(9, "upload-refused", what="log/1", status=403, text="expired"),
    record(10, "upload-failed", what="log/3", text="no route"),
    record(11, "uploaded", what="log/1", bytes=6, sha256="ab"),
    record(12, "collected", what="output", path="/o", empty=False, files=1, bytes=10, sha256="cd"),
    record(13, "collect-failed", what="cache", path="/c", reason="TooLarge", text="big"),
    record(14, "cancelled", reason="spec.cancel", after=True),
    record(15, "something-new", x=1),
    record(16, "closed", pending=["log/3"], reason="Closed"),
]


def base(seq: int) -> dict[str, Any]:
    return {"seq": seq, "time": TIME, "nanoseconds": NS}


def folded(journal: list[dict[str, Any]]) -> SessionState:
    state = SessionState()
    for each in journal:
        state = fold(state, parse_record(each))
    return state


def test_a_whole_journal_becomes_a_state() -> None:
    assert folded(JOURNAL) == SessionState(
        seq=16,
        opened=r.Opened(**base(1), build="b", attempt=2, plan="p", shell="/bin/sh"),
        services={"db": r.ServiceSeen(**base(2), alias="db", ready=True, seconds=0.25)},
        steps={
            1: StepState(
                ordinal=1,
                id="one",
                phase="main",
                state="finished",
                started=TIME,
                finished=TIME,
                started_ns=NS,
                finished_ns=NS,
                exit=3,
                reason="ExitCode",
                message="no",
                log=r.LogFacts(bytes=6, sha256="ab", dropped=0),
                usage=r.Usage(seconds=1.5, cpu_seconds=0.5, peak_memory_bytes=7),
            ),
            2: StepState(
                ordinal=2,
                id="two",
                phase="main",
                state="skipped",
                reason="Skipped",
                message="one failed",
            ),
            3: StepState(ordinal=3, id="three", phase="after"),
        },
        uploads={
            "log/1": UploadState(state="uploaded", bytes=6, sha256="ab"),
            "log/3": UploadState(state="failed", text="no route"),
        },
        collected={
            "output": r.Collected(
                **base(12), what="output", path="/o", empty=False, files=1, bytes=10, sha256="cd"
            ),
            "cache": r.CollectFailed(
                **base(13), what="cache", path="/c", reason="TooLarge", text="big"
            ),
        },
        cancelled=r.CancelSeen(**base(14), reason="spec.cancel", after=True),
        closed=r.Closed(**base(16), pending=("log/3",), reason="Closed"),
    )


def test_done_and_refused_are_read_off_the_state() -> None:
    state = folded(JOURNAL)
    assert (state.done([1, 2]), state.done([1, 2, 3]), state.done([4]), state.refused) == (
        True,
        False,
        False,
        frozenset({"log/3"}),
    )
    assert [(step.done, step.passed) for step in state.steps.values()] == [
        (True, False),
        (True, False),
        (False, False),
    ]


@given(st.lists(st.integers(0, len(JOURNAL)), max_size=6))
def test_replays_from_anywhere_change_nothing(cuts: list[int]) -> None:
    state = SessionState()
    for cut in sorted(cuts):
        for each in JOURNAL[:cut]:
            state = fold(state, parse_record(each))
    for each in JOURNAL:
        state = fold(state, parse_record(each))
    assert state == folded(JOURNAL)


@pytest.mark.parametrize(
    ("journal", "says"),
    [
        ([JOURNAL[0], JOURNAL[2]], "record 3 came after 1"),
        ([record(1, "started", ordinal=1)], "step 1 was never queued"),
        ([*JOURNAL[:7], record(8, "started", ordinal=1)], "step 1 had ended before"),
    ],
)
def test_a_journal_that_cannot_be_true_is_a_protocol_error(
    journal: list[dict[str, Any]], says: str
) -> None:
    with pytest.raises(ProtocolError, match=says):
        folded(journal)


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "record"},
        record(1, "started"),
        record(1, "started", ordinal="x"),
        {**record(1, "started", ordinal=1), "time": "yesterday"},
        record(1, "finished", ordinal=1, exit=0, reason="Passed", log=[1]),
        record(1, "closed", pending=3),
    ],
)
def test_a_record_that_cannot_be_read_is_a_protocol_error(broken: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="cannot be decoded"):
        parse_record(broken)


def test_times_keep_their_nanoseconds() -> None:
    started = parse_record({**record(1, "started", ordinal=1), "time": "2026-01-02T03:04:05Z"})
    assert (started.nanoseconds, started.time.microsecond) == (NS - 123456789, 0)


def test_what_a_box_may_leave_out_or_send_as_null_has_its_default() -> None:
    end = parse_record(record(1, "finished", ordinal=1, exit=-1, reason="x", log=None, usage=None))
    assert isinstance(end, r.Finished)
    assert (end.message, end.log, end.usage) == ("", r.LogFacts(), r.Usage())
    closed = parse_record(record(1, "closed", pending=None))
    assert isinstance(closed, r.Closed)
    assert (closed.pending, closed.reason) == ((), "Closed")


def test_a_text_is_cut_and_can_always_be_encoded() -> None:
    long = "a" * (2 * r.MOST_TEXT)
    skipped = parse_record(record(1, "skipped", ordinal=1, reason=long, message="\ud800"))
    assert isinstance(skipped, r.Skipped)
    assert (len(skipped.reason), skipped.message) == (r.MOST_TEXT, "?")


@pytest.mark.parametrize("exit_code", [-2, 256, 1.5, "x"])
def test_a_number_out_of_its_range_is_a_protocol_error(exit_code: object) -> None:
    with pytest.raises(ProtocolError, match=r"finished\.exit"):
        parse_record(record(1, "finished", ordinal=1, exit=exit_code, reason="x"))


def test_what_became_of_the_cache_is_news_once() -> None:
    """A client with a Plan passes on only records that change the state."""
    expected = Expected(steps={}, services=frozenset())
    base: dict[str, Any] = {"time": datetime(2026, 1, 1, tzinfo=UTC), "nanoseconds": 0}
    facts: dict[str, Any] = {"bytes": 5, "size": 9, "files": 2, "seconds": 0.1}
    hit = r.CacheSeen(**base, seq=1, state="Hit", **facts)
    state = fold(SessionState(), hit, expected)
    assert state.cache == hit
    again = fold(state, r.CacheSeen(**base, seq=2, state="Failed", **facts), expected)
    assert again == replace(state, seq=2)
