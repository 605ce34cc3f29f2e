"""What is kept of a lab that is cleared away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import cleanup


def lab(root: Path, text: str) -> tuple[Path, Path]:
    """The state of a lab and the data of its engine, with `text` in each log."""
    state, data = root / "state", root / "docker"
    pods = data / "volumes/0123/_data/log/pods"
    for path in (
        state / "logs/registry.log",
        state / "audit/audit.log",
        pods / "sentinel-system_sentinel-operator-1_uid/operator/0.log",
        pods / "test-1234_b-1_uid/box/0.log",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return state, data


def test_logs_of_one_earlier_lab_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into = tmp_path / "cache/previous"
    monkeypatch.setattr(cleanup, "KEPT_FILE", 5)
    for text in ("first", "other"):
        state, data = lab(tmp_path, text)
        cleanup.keep_logs(state=state, data=data, into=into)
        kept = {str(p.relative_to(into)): p.read_text() for p in into.rglob("*") if p.is_file()}
        assert kept == {
            "logs/registry.log": text,
            "audit/audit.log": text,
            "pods/sentinel-system_sentinel-operator-1_uid/operator/0.log": text,
        }

    # A lab that has logged nothing leaves what there is.
    cleanup.keep_logs(state=state, data=data, into=into)
    assert (into / "logs/registry.log").read_text() == "other"

    state, data = lab(tmp_path, "too large")
    cleanup.keep_logs(state=state, data=data, into=into)
    assert [p.name for p in into.rglob("*") if p.is_file()].count("0.log") == 0
