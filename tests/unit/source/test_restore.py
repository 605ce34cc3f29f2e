"""boxkit restoring a cache beside the fetching: started with its task, waited for, and never a reason to fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sentinel.source.restore import restoring


def boxkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name."""
    program = tmp_path / "bin/boxkit"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_it_gets_its_task_and_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxkit(tmp_path, monkeypatch, f'cat >{tmp_path}/task; sleep 0.2; echo "$1" >{tmp_path}/done')
    task = {"dest": "/mnt/wercker/cache", "seconds": 5}
    with restoring(task):
        assert not (tmp_path / "done").exists()
    assert (tmp_path / "done").read_text() == "restore\n"
    assert json.loads((tmp_path / "task").read_text()) == task


@pytest.mark.parametrize("script", ["exit 3", "exec 0<&-; exit 1", "kill -9 $$"])
def test_one_that_fails_is_reported_and_nothing_else(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    boxkit(tmp_path, monkeypatch, script)
    with restoring({"seconds": 5}):
        pass
    assert "cache: boxkit restore ended with" in capfd.readouterr().out


def test_it_ends_with_a_fetch_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxkit(tmp_path, monkeypatch, f"echo $$ >{tmp_path}/pid; exec sleep 60")
    with pytest.raises(ZeroDivisionError), restoring({"seconds": 100}):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            pass
        raise ZeroDivisionError
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_no_cache_and_no_boxkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with restoring({}):
        pass
    with restoring({"seconds": 5}):
        pass
