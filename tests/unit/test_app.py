"""The operator put together: what it does where it must not go on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.unit.test_layout import ROOT

CODE = """
import os
turn = int(os.environ.get("TURN", "0"))
print(os.getpid(), turn, flush=True)
os.environ["TURN"] = str(turn + 1)
if turn < 2:
    from sentinel.app import begin_anew
    begin_anew()
"""


@pytest.mark.timeout(120)  # it imports the whole operator twice
def test_an_operator_that_lost_the_lease_restarts_in_the_same_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        check=True,
    )
    turns = [line.split() for line in done.stdout.splitlines()]
    assert [turn for _, turn in turns] == ["0", "1", "2"]
    assert len({pid for pid, _ in turns}) == 1
