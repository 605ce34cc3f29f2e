"""A tenth of `make chaos`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.boxkit.conftest import boxkit
from tests.chaos.streams import stream_cuts

__all__ = ["boxkit"]


@pytest.mark.timeout(150)
async def test_a_hundred_cuts_change_neither_results_nor_journal_nor_logs(boxkit: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    found = await stream_cuts(count=100, seed=seed, boxkit=boxkit)
    print("seed", seed, found)
    assert found["count"] >= 100
    assert {name: found[name] for name in ("false_green", "hang", "journal_mismatch")} == {
        "false_green": 0,
        "hang": 0,
        "journal_mismatch": 0,
    }, found["seen"]
    assert (found["log_mismatch"], found["doubled"]) == (0, 0), found["seen"]
