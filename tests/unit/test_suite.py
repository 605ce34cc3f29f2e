"""What `make test` prints of its two runs, and what its processes do once."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from tests.conftest import Once
from tests.suite import Result, read, summary

REPORT = """\
<testsuites><testsuite tests="4">
<testcase classname="tests.unit.test_a" name="test_good"/>
<testcase classname="tests.unit.test_a" name="test_left"><skipped message="no lab"/></testcase>
<testcase classname="tests.unit.test_a" name="test_bad[x]">
<failure message="assert 1 == 2&#10;more">…</failure></testcase>
<testcase classname="tests.unit.test_a" name="test_odd"><error message="failed on setup">…</error></testcase>
</testsuite></testsuites>
"""


def test_failures_of_both_runs_and_one_total_are_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text(REPORT)
    first, second = Result(status=1, seconds=100.25), Result(status=0, seconds=30.5)
    read(tmp_path / "r.xml", first)
    second.counts["passed"] = 7

    lines = summary({"side-by-side": first, "alone": second}).splitlines()

    assert lines[-1] == (
        "================ 1 failed, 1 errors, 8 passed, 1 skipped in 130.75s (0:02:11) ================"
    )
    assert lines[-5:-1] == [
        "FAILED tests/unit/test_a.py::test_bad[x] - assert 1 == 2",
        "ERROR tests/unit/test_a.py::test_odd - failed on setup",
        "side-by-side: 1 failed, 1 errors, 1 passed, 1 skipped in 100s",
        "alone: 7 passed in 30s",
    ]


def test_a_run_that_had_no_tests_or_broke_is_named() -> None:
    nothing = Result(status=5, seconds=1)
    assert "alone: no tests ran in 1s, pytest ended with status 5" in summary({"alone": nothing})


def test_work_is_done_once_and_fails_for_all_who_need_it(once: Once) -> None:
    done = []
    name = uuid.uuid4().hex
    once(name, lambda: done.append("first"))
    once(name, lambda: done.append("again"))
    assert done == ["first"]

    def fails() -> None:
        raise ValueError("no lab")

    name = uuid.uuid4().hex
    with pytest.raises(ValueError, match="no lab"):
        once(name, fails)
    with pytest.raises(pytest.fail.Exception, match=r"another process .*: ValueError: no lab"):
        once(name, lambda: done.append("after a failure"))
    assert done == ["first"]
