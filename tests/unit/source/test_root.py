"""The names of the root directory, by which a project without wercker.yml is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.source.gitserver import GitServer

from sentinel.source import git
from sentinel.source.failure import Deadline
from sentinel.source.git import resolve


@pytest.mark.parametrize("repository", ["project.git", "plain.git"])
def test_the_names_of_the_root_are_reported_in_order_and_bounded(
    server: GitServer,
    commits: dict[str, Any],
    tmp_path: Path,
    repository: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def names() -> tuple[str, ...]:
        url = f"{server.url}/open/{repository}"
        found = resolve(
            url=url,
            ref="main",
            credentials=None,
            paths=(),
            cache_dir=tmp_path,
            deadline=Deadline(150),
        )
        return found.root

    everything = names()
    assert {"wercker.yml", "deep"} <= set(everything)
    assert list(everything) == sorted(everything)

    monkeypatch.setattr(git, "ROOT_NAMES", 2)
    assert names() == everything[:2]
