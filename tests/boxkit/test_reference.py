"""The reference of the benchmark's step gap, against a real driver file."""

from __future__ import annotations

import shutil

import pytest

from tests.bench import shelling

from .conftest import Box


async def test_a_step_measures_what_its_shell_takes_for_its_driver(box: Box) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    code = shelling.code(session=str(box.session_dir), pipeline=str(box.pipeline))

    state = await box.run(code, "echo next", shell=[bash])

    log = box.log(1).decode()
    assert state.steps[1].reason == "Passed", log
    rounds = shelling.milliseconds(log)
    assert len(rounds) == shelling.ROUNDS
    assert all(each > 0 for each in rounds)
    assert box.log(2) == b"next\n"


def test_a_log_without_all_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="0 of 20"):
        shelling.milliseconds("the driver does not source run.sh")
