"""The lab's lines in the machine's hosts file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import hosts

MACHINE = "127.0.0.1 localhost\n10.1.2.3 other.lab\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hosts file in place of the machine's."""
    path = tmp_path / "hosts"
    path.write_text(MACHINE)
    monkeypatch.setattr(hosts, "FILE", path)
    return path


def test_names_are_added_once_however_often(file: Path) -> None:
    hosts.add("10.87.0.9", ["git.lab", "s3.lab"])
    hosts.add("10.87.0.1", ["git.lab", "s3.lab"])
    assert file.read_text() == MACHINE + "10.87.0.1 git.lab s3.lab # sentinel lab\n"


def test_removing_leaves_what_the_machine_had(file: Path) -> None:
    hosts.add("10.87.0.1", ["git.lab"])
    hosts.remove()
    assert file.read_text() == MACHINE
