"""Reading an audit log that the API server has renamed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab import audit


def write(path: Path, *numbers: int) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps({"n": number}) + "\n" for number in numbers)


def numbers(log: Path, *, begin: int = 0, holding: str = "") -> list[int]:
    return [event["n"] for event in audit.events(str(log), begin=begin, holding=holding)]


def test_a_position_outlives_the_renaming_of_the_file(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    write(log, 1, 2)
    begin = audit.end(str(log))
    write(log, 3)
    log.rename(tmp_path / "audit-2026-11-28T10-00-00.000.log")
    assert numbers(log) == [1, 2, 3]
    write(log, 4)
    log.rename(tmp_path / "audit-2026-11-28T11-00-00.000.log")
    write(log, 5)

    assert numbers(log, begin=begin) == [3, 4, 5]
    assert numbers(log) == [1, 2, 3, 4, 5]
    assert numbers(log, holding='"n": 4') == [4]
    assert numbers(log, begin=audit.end(str(log))) == []


def test_a_line_that_is_being_written_is_left_for_the_next_reading(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text('{"n": 1}\n{"n":')
    assert numbers(log) == [1]
