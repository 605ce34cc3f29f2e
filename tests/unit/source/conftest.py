from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.source.gitserver import GitServer, make_repository


@pytest.fixture(scope="session")
def commits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The served repositories' commits, and under "root" where they lie."""
    root = tmp_path_factory.mktemp("git") / "served"
    root.mkdir()
    result: dict[str, object] = dict(make_repository(root, "project.git"))
    make_repository(root, "plain.git", filters=False)
    (root / "empty.git").mkdir()
    from tests.unit.source.gitserver import git

    git("init", "-q", "--bare", cwd=root / "empty.git")
    result["root"] = root
    return result


@pytest.fixture
def server(commits: dict[str, object]) -> Iterator[GitServer]:
    root = commits["root"]
    assert isinstance(root, Path)
    server = GitServer(root)
    yield server
    server.stop()
