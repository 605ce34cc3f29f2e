from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.source.gitserver import GitServer, git, make_repository


@pytest.fixture(scope="session")
def commits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The served repositories' commits, and under "root" where they lie."""
    root = tmp_path_factory.mktemp("git") / "served"
    root.mkdir()
    result: dict[str, Any] = dict(make_repository(root, "project.git"))
    result["plain"] = make_repository(root, "plain.git", filters=False)
    (root / "empty.git").mkdir()
    git("init", "-q", "--bare", cwd=root / "empty.git")
    result["root"] = root
    return result


@pytest.fixture
def server(commits: dict[str, Any]) -> Iterator[GitServer]:
    server = GitServer(commits["root"])
    yield server
    server.stop()
