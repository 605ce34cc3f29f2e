"""`sentinel cache`: what is listed, and that nothing else than what was listed is removed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result

from sentinel.cli import cache as cli_cache
from sentinel.cli import main
from sentinel.plan.keys import cache_object
from sentinel.store.objects import ObjectInfo


def key(namespace: str = "team", app: str = "shop", pipeline: str = "build", key: str = "") -> str:
    return cache_object(
        prefix="ci", namespace=namespace, space="uid", app_id=app, pipeline=pipeline, key=key
    )


class Store:
    """Objects by key, with their sizes."""

    def __init__(self) -> None:
        self.objects = {
            key(): 5 * 1024**2,
            key(app="my shop"): 3 * 1024**3,
            key(pipeline="deploy"): 700,
            key(key="node-20"): 2048,
            key(namespace="team-b"): 1,
            "ci/team/project-artifacts/shop/u/1/output.tar": 1,
        }

    async def list(self, prefix: str) -> list[ObjectInfo]:
        old = datetime.now(UTC) - timedelta(hours=3, minutes=5)
        return [
            ObjectInfo(key=name, size=size, etag="", modified=old)
            for name, size in self.objects.items()
            if name.startswith(prefix)
        ]

    async def delete(self, key: str) -> None:
        del self.objects[key]

    def close(self) -> None:
        pass


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store()
    monkeypatch.setenv("SENTINEL_STORE__BUCKET", "b")
    monkeypatch.setenv("SENTINEL_STORE__PREFIX", "ci")
    monkeypatch.setattr(cli_cache.ObjectStore, "from_settings", lambda _: made)
    yield made


def call(*words: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["cache", *words], input=answer)


def test_caches_of_a_namespace_are_listed_by_size(store: Store) -> None:
    result = call("ls", "-n", "team")
    assert result.exit_code == 0
    rows = [line.split() for line in result.output.splitlines()]
    assert rows[0] == ["APPLICATION", "PIPELINE", "KEY", "SIZE", "AGE"]
    assert [(row[1], *row[-3:]) for row in rows[1:]] == [
        ("build", "3.0", "GiB", "3h"),
        ("build", "5.0", "MiB", "3h"),
        ("build", "2.0", "KiB", "3h"),
        ("deploy", "700", "B", "3h"),
    ]
    assert rows[1][0].startswith("my-shop-")


def test_only_those_that_were_asked_for_are_removed(store: Store) -> None:
    before = set(store.objects)
    result = call("clear", "-n", "team", "--application", "my shop", "--yes")
    assert result.exit_code == 0
    assert before - set(store.objects) == {key(app="my shop")}
    assert call("clear", "-n", "team", "--key", "node-20", "--yes").exit_code == 0
    assert call("clear", "-n", "team", "--pipeline", "deploy", "--yes").exit_code == 0
    assert before - set(store.objects) == {
        key(app="my shop"),
        key(key="node-20"),
        key(pipeline="deploy"),
    }


def test_clearing_asks_first(store: Store) -> None:
    before = dict(store.objects)
    assert call("clear", "-n", "team", answer="n\n").exit_code == 1
    assert store.objects == before
    assert call("clear", "-n", "team", answer="y\n").exit_code == 0
    assert set(store.objects) == {
        key(namespace="team-b"),
        "ci/team/project-artifacts/shop/u/1/output.tar",
    }


def test_nothing_there_and_no_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No cache in namespace nobody." in call("ls", "-n", "nobody").output
    monkeypatch.setattr(cli_cache.ObjectStore, "from_settings", lambda _: None)
    result = call("ls")
    assert result.exit_code == 1
    assert "SENTINEL_STORE__BUCKET" in result.output
