from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import tls
from tests.unit.source.gitserver import GitServer, Maker, git, make_repository
from tests.unit.source.pod import LOOPBACK, Pod

from sentinel import network
from sentinel.source import git as source_git
from sentinel.source.failure import Deadline


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once."""

    def rest(deadline: Deadline, seconds: float) -> None:
        deadline.left(seconds)

    monkeypatch.setattr(Deadline, "rest", rest)


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


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' servers are on loopback, which nothing else opens."""
    monkeypatch.setattr(network, "STRICT", LOOPBACK)


@pytest.fixture(autouse=True)
def forget_hosts() -> None:
    """Ports of loopback come again: what one server refused is nothing that the next one does."""
    source_git._plain_hosts.clear()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tls.Certificates:
    """For a server called localhost."""
    return tls.certificates(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def other(commits: dict[str, Any]) -> Iterator[GitServer]:
    """A second server, on another host, that serves the same."""
    server = GitServer(commits["root"], host="127.0.0.2")
    yield server
    server.stop()


@pytest.fixture
def maker(commits: dict[str, Any], tmp_path: Path) -> Maker:
    """A repository of the test's own, served by both servers as `maker.bare.name`."""
    return Maker(commits["root"] / f"made-{tmp_path.name}.git")
