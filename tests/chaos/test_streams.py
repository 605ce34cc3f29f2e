"""A tenth of `make chaos`, as a process of its own: what it breaks must not be taken for another test's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.boxkit.conftest import ROOT


@pytest.mark.timeout(600)
def test_a_hundred_cuts_change_neither_results_nor_journal_nor_logs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos"],
        cwd=ROOT,
        env={
            **os.environ,
            "FAULTS": "stream_cuts",
            "SHARE": "0.1",
            "OUT": str(tmp_path / "chaos.json"),
            "PYTHONPATH": f"{ROOT}/operator",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "chaos.json").read_text())["stream_cuts"]
    assert found["count"] >= 100
    kinds = ("false_green", "hang", "journal_mismatch", "log_mismatch", "doubled")
    assert {kind: found[kind] for kind in kinds} == dict.fromkeys(kinds, 0), found["seen"]
