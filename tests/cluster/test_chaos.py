"""A twentieth of `make chaos` on the lab, as a process of its own: what it breaks must not be taken for another test's.

Restarts of the kubelet and of the API server take minutes: only `make chaos` has them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.install import ROOT
from tests.lab.state import Lab

CLEAN = ("false_green", "hang", "lost", "doubled", "wrong_end", "journal_mismatch")


COUNTS = {
    "operator_kills": 10,
    "stream_cuts_cluster": 5,
    "terminated": 2,
}


@pytest.mark.timeout(1200)
@pytest.mark.alone
def test_faults_change_nothing_that_builds_say(sentinel: Lab, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos"],
        cwd=ROOT,
        env={
            **os.environ,
            "FAULTS": " ".join(COUNTS),
            "SHARE": "0.05",
            "INSTALLED": "1",
            "OUT": str(tmp_path / "chaos.json"),
            "PYTHONPATH": f"{ROOT}/operator",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        # Not a kill: the installed operator has to come back.
        process.terminate()
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    found = json.loads((tmp_path / "chaos.json").read_text())
    assert found.keys() == COUNTS.keys()
    for fault, count in COUNTS.items():
        report = found[fault]
        assert report["count"] >= count, fault
        assert report["builds"] >= 1, fault
        assert report["seen"] == [], fault
        known = report.keys() & set(CLEAN)
        assert {kind: report[kind] for kind in known} == dict.fromkeys(known, 0), fault
        assert {"hang", "wrong_end"} <= known, fault
