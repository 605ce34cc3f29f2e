"""`sentinel prune`: what would go is shown and stays, what goes is shown, and what cannot go is one sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended
from tests.unit.registry import server
from tests.unit.registry.makers import push_image
from tests.unit.retention.stores import AgedStore

from sentinel.clock import rfc3339
from sentinel.errors import InfrastructureError
from sentinel.image.reference import parse_repository
from sentinel.plan.keys import cluster_mark, output, results_prefix
from sentinel.registry import RegistryClient
from sentinel.store.objects import ObjectStore

GONE = "11111111-9b1c-4e7e-8a55-3d2f10c4b7aa"
CLUSTER = "99999999-9b1c-4e7e-8a55-3d2f10c4b7aa"


@pytest.fixture
def place(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster with an id, and no settings in the environment."""
    for name in ("SENTINEL_STORE__PREFIX", "SENTINEL_NAMESPACES"):
        monkeypatch.delenv(name, raising=False)
    cluster.add("namespaces", {"metadata": {"name": "kube-system", "uid": CLUSTER}})
    return cluster


@pytest.fixture
def store(place: Cluster, monkeypatch: pytest.MonkeyPatch) -> AgedStore:
    """A store of that cluster with an old output of a Build that is gone."""
    made = AgedStore(now=datetime.now(UTC))
    made.write(cluster_mark(prefix="ci", cluster=CLUSTER), age=timedelta())
    made.write(key(), age=timedelta(days=2))
    monkeypatch.setenv("SENTINEL_STORE__BUCKET", "b")
    monkeypatch.setenv("SENTINEL_STORE__PREFIX", "ci")
    monkeypatch.setattr(ObjectStore, "from_settings", lambda _: made)
    return made


def key(uid: str = GONE) -> str:
    return output(
        results_prefix(prefix="ci", namespace="team", app_id="shop", build_uid=uid, attempt=1)
    )


def test_objects_are_shown_first_and_then_deleted(store: AgedStore, sentinel: Sentinel) -> None:
    before = dict(store.objects)
    dry = sentinel("prune", "--dry-run", "--objects")
    assert (dry.exit_code, store.objects) == (0, before)
    assert dry.stdout == f"would delete object {key()}: its Build {GONE} is gone\n"
    assert dry.stderr == f"1 object would be deleted ({len(key())} B of the store)\n"

    done = sentinel("prune", "--objects", "--yes", "-o", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "kind": "object",
        "name": key(),
        "why": f"its Build {GONE} is gone",
        "bytes": len(key()),
        "deleted": True,
    }
    assert list(store.objects) == [cluster_mark(prefix="ci", cluster=CLUSTER)]
    assert sentinel("prune", "--objects", "--yes").stderr == "nothing deleted\n"


def test_it_asks_before_it_deletes(store: AgedStore, sentinel: Sentinel) -> None:
    before = dict(store.objects)
    assert sentinel("prune", "--objects").exit_code == 1
    assert store.objects == before


def test_a_store_of_another_cluster_is_left_alone(
    store: AgedStore, place: Cluster, sentinel: Sentinel
) -> None:
    place.find("namespaces", "kube-system")["metadata"]["uid"] = GONE
    done = sentinel("prune", "--objects", "--yes")
    assert (done.exit_code, key() in store.objects) == (1, True)
    assert "builds of another cluster" in done.stderr


def test_what_cannot_be_listed_deletes_nothing(
    store: AgedStore, place: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def each(*_: Any, **__: Any) -> Any:
        raise InfrastructureError("the API server is away")
        yield

    monkeypatch.setattr(place, "each", each)
    done = sentinel("prune", "--objects", "--builds", "--yes")
    assert (done.exit_code, key() in store.objects) == (1, True)
    assert done.stderr.count("the API server is away") == 2


def finished(place: Cluster, name: str, *, days: float) -> None:
    when = rfc3339(datetime.now(UTC) - timedelta(days=days))
    place.build(name, status={**ended("Failed", "ExitCode"), "completionTime": when})


def test_builds_go_as_the_operator_would_delete_them(
    place: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(place, "over", days=8)
    for n in range(3):
        finished(place, f"b{n}", days=3 - n)
    monkeypatch.setenv("SENTINEL_RETENTION__FAILED_BUILDS_HISTORY_LIMIT", "1")
    dry = sentinel("prune", "--dry-run")
    assert dry.stdout.splitlines() == [
        "would delete Build team/over: its ttlAfterFinished is over",
        "would delete Build team/b0: over the limit of 1 for Builds of application y that failed",
        "would delete Build team/b1: over the limit of 1 for Builds of application y that failed",
    ]
    assert place.deleted == []
    assert sentinel("prune", "--builds", "--yes").exit_code == 0
    assert place.deleted == [("builds", "over"), ("builds", "b0"), ("builds", "b1")]


def test_without_a_store_or_repositories_the_setting_is_named(
    place: Cluster, sentinel: Sentinel
) -> None:
    done = sentinel("prune", "--objects", "--images", "--dry-run")
    assert done.exit_code == 1
    assert "SENTINEL_STORE__BUCKET" in done.stderr
    assert "SENTINEL_RETENTION__IMAGES__REPOSITORIES" in done.stderr


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server.registry(tmp_path_factory.mktemp("registry"), login=True) as address:
        yield address


def test_images_of_one_repository_go_with_a_login_and_the_others_are_reported(
    place: Cluster, sentinel: Sentinel, host: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("pods")
    tag = f"{GONE}-1-web-0a1b2c3d"
    config = tmp_path / "config.json"
    config.write_text(server.docker_config(host))
    repository = parse_repository(f"{host}/team/app")

    async def push() -> None:
        from sentinel.image.dockerconfig import keychain_from_docker_config

        logins = keychain_from_docker_config(config.read_bytes(), source="test")
        async with RegistryClient(credentials=logins) as client:
            await push_image(client, repository.tagged(tag))

    asyncio.run(push())
    names = json.dumps([f"{host}/team/missing", f"{host}/team/app"])
    monkeypatch.setenv("SENTINEL_RETENTION__IMAGES__REPOSITORIES", names)
    monkeypatch.setenv("SENTINEL_NETWORK__ALLOWED", '["127.0.0.0/8"]')

    denied = sentinel("prune", "--images", "--yes")
    assert (denied.exit_code, denied.stdout) == (1, "")
    assert "registry denied pull of" in denied.stderr

    monkeypatch.setenv("SENTINEL_RETENTION__IMAGES__DOCKER_CONFIG", str(config))
    for words in (["--dry-run"], ["--yes"]):
        done = sentinel("prune", "--images", *words)
        assert done.exit_code == 1
        assert f"image {host}/team/missing not found" in done.stderr
        (line,) = done.stdout.splitlines()
        assert line.endswith(f"({tag}): a step built it, and its Build is gone")
    assert sentinel("prune", "--images", "--dry-run").stdout == ""
