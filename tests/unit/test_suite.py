"""What `make test` runs beside and after one another, what it prints, and what its processes do once."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from tests import suite
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


def test_failures_of_all_runs_and_one_total_are_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text(REPORT)
    first, second = Result(status=1, seconds=100.25), Result(status=0, seconds=30.5)
    read(tmp_path / "r.xml", first)
    second.counts["passed"] = 7

    lines = summary({"cluster": first, "alone": second}, seconds=130.75).splitlines()

    assert lines[-1] == (
        "================ 1 failed, 1 errors, 8 passed, 1 skipped in 130.75s (0:02:11) ================"
    )
    assert lines[-5:-1] == [
        "FAILED tests/unit/test_a.py::test_bad[x] - assert 1 == 2",
        "ERROR tests/unit/test_a.py::test_odd - failed on setup",
        "cluster: 1 failed, 1 errors, 1 passed, 1 skipped in 100s",
        "alone: 7 passed in 30s",
    ]


def test_a_run_that_had_no_tests_or_broke_is_named() -> None:
    nothing = Result(status=5, seconds=1)
    assert "alone: no tests ran in 1s, pytest ended with status 5" in summary(
        {"alone": nothing}, seconds=1
    )


def test_every_run_belongs_to_one_stage() -> None:
    names = [name for stage in suite.STAGES for track in stage for name in track]
    assert sorted(names) == sorted(suite.RUNS)


@pytest.mark.timeout(240)
def test_runs_beside_one_another_are_printed_whole_and_one_failure_fails_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_it.py").write_text(
        "import os\ndef test_good(): assert os.environ.get('GIVEN') != 'bad'\n"
    )
    options = ("-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path))
    monkeypatch.setattr(suite, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(suite, "RUNS", dict.fromkeys(("first", "shown", "hidden"), options))
    monkeypatch.setattr(suite, "ENVIRONMENT", {"hidden": {"GIVEN": "bad"}})
    monkeypatch.setattr(suite, "STAGES", ((("first",),), (("shown",), ("hidden",))))

    assert suite.main([]) == 1

    printed = capfd.readouterr().out
    assert printed.count("1 passed in") == 4
    assert "FAILED test_it.py::test_good" in printed.replace(f"{tmp_path}/", "")
    assert "hidden: 1 failed in" in printed
    assert printed.rstrip().endswith("================")
    assert " 1 failed, 2 passed in" in printed


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
