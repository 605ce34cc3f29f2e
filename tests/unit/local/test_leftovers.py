"""What a killed run leaves is found, and what a running one has is not touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sentinel.local.leftovers import alive, dead_runs

HOLD = """\
import sys
from pathlib import Path
from sentinel.local.leftovers import alive
with alive(Path(sys.argv[1]), run="other", host="unix://a"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_runs_whose_process_is_gone_are_dead(tmp_path: Path) -> None:
    assert dead_runs(tmp_path / "none", host="unix://a") == []
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with alive(tmp_path, run="mine", host="unix://a") as forget:
            assert dead_runs(tmp_path, host="unix://a") == []
            forget()
        other.kill()
    assert dead_runs(tmp_path, host="unix://a") == ["other"]
    assert dead_runs(tmp_path, host="unix://b") == []
