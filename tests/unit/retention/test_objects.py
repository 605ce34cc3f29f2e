"""Which objects of the store go: only keys of ours, only what no Build refers to, never what was written lately."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from tests.unit.clocks import START, Hasty
from tests.unit.fakeapi import FakeApi
from tests.unit.retention.stores import AgedStore
from tests.unit.store.s3server import Server
from tests.unit.store.s3server import settings as s3_settings

from sentinel.errors import UserError
from sentinel.plan.keys import (
    cache_mark,
    cache_object,
    cluster_mark,
    output,
    results_prefix,
    step_archive,
    step_artifacts,
    step_context,
    step_log,
)
from sentinel.retention.builds import read_builds
from sentinel.retention.cluster import check_cluster, mark_cluster
from sentinel.retention.objects import Objects
from sentinel.settings import Settings
from sentinel.settings.store import StoreSettings
from sentinel.store.objects import ObjectStore

LIVES, GONE = "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa", "11111111-9b1c-4e7e-8a55-3d2f10c4b7aa"
OLD = timedelta(days=3)
CLUSTER = "99999999-9b1c-4e7e-8a55-3d2f10c4b7aa"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def settings(prefix: str = "ci", **more: Any) -> Settings:
    return Settings(store=StoreSettings(bucket="b", prefix=prefix), **more)


def results(uid: str, *, namespace: str = "team", prefix: str = "ci", app: str = "shop") -> str:
    return results_prefix(prefix=prefix, namespace=namespace, app_id=app, build_uid=uid, attempt=1)


def build(name: str, uid: str, *, finished: bool = True, **fields: Any) -> dict[str, Any]:
    conditions = [{"type": "Finished", "status": "True"}] if finished else []
    return {
        "metadata": {"namespace": "team", "name": name, "uid": uid},
        "spec": fields.pop("spec", {}),
        "status": {"conditions": conditions, **fields},
    }


async def stale(
    store: AgedStore, *builds: dict[str, Any], having: Settings | None = None
) -> dict[str, str]:
    """Why each key goes."""
    having = having or settings()
    referred = await read_builds(cast(Any, FakeApi(builds=[*builds])), having)
    stored = Objects(cast(Any, store), referred, settings=having, now=START)
    return {each.name: each.why async for page in stored.stale() for each in page}


@pytest.mark.parametrize("prefix", ["", "ci", "a/b"])
async def test_files_of_a_build_that_is_gone_go_and_those_of_others_stay(prefix: str) -> None:
    store = AgedStore()
    gone, lives = results(GONE, prefix=prefix), results(LIVES, prefix=prefix)
    for each in (gone, lives):
        for key in (output(each), step_log(each, "s-1"), step_artifacts(each, "a b")):
            store.write(key, age=OLD)
    store.write(step_context(gone, "s-1"), age=OLD)

    found = await stale(store, build("b", LIVES), having=settings(prefix))

    assert sorted(found) == sorted(key for key in store.objects if key.startswith(gone))
    assert set(found.values()) == {f"its Build {GONE} is gone"}


async def test_a_build_that_was_created_again_under_its_name_keeps_its_files() -> None:
    store = AgedStore()
    old = store.write(output(results(GONE)), age=OLD)
    store.write(output(results(LIVES)), age=OLD)
    assert list(await stale(store, build("same", LIVES))) == [old]


async def test_a_build_of_a_backup_keeps_the_files_that_its_status_names() -> None:
    store = AgedStore()
    store.write(output(results(GONE)), age=OLD)
    other = store.write(output(results(GONE, namespace="other")), age=OLD)
    restored = build("b", LIVES, results={"prefix": results(GONE)})
    assert list(await stale(store, restored)) == []
    # A status counts in its own namespace alone.
    elsewhere = build("b", LIVES, results={"prefix": results(GONE, namespace="other")})
    assert other in await stale(store, elsewhere)


async def test_what_was_written_within_the_grace_period_stays() -> None:
    store = AgedStore()
    store.write(output(results(GONE)), age=timedelta(hours=23))
    assert await stale(store) == {}
    assert list(await stale(store, having=settings(retention={"grace_hours": 22})))


async def test_outputs_stay_while_a_build_may_fetch_one_of_a_parent_that_is_gone() -> None:
    store = AgedStore()
    store.write(output(results(GONE)), age=OLD)
    elsewhere = store.write(output(results(GONE, namespace="other")), age=OLD)
    child = build("child", LIVES, finished=False, spec={"parent": {"name": "parent"}})
    assert list(await stale(store, child)) == [elsewhere]
    ended = build("child", LIVES, spec={"parent": {"name": "parent"}})
    assert len(await stale(store, ended)) == 2


async def test_only_keys_that_are_made_here_are_touched() -> None:
    store = AgedStore()
    old = timedelta(days=1000)
    base = results(GONE)
    for key in (
        "readme.txt",
        "ci/readme.txt",
        "ci/.sentinel-probe",
        cluster_mark(prefix="ci", cluster=CLUSTER),
        f"{base}other.tar",
        f"{base}step/s/log.txt/more",
        f"{base}step/..x/log.txt",
        f"{base}step/log.txt",
        base.replace(GONE, "not-a-uid") + "output.tar",
        base.replace("/1/", "/01/") + "output.tar",
        base.replace("/team/", "/Team/") + "output.tar",
        base.replace("ci/", "ci2/") + "output.tar",
        base.replace("ci/", "") + "output.tar",
        f"x/{base}output.tar",
        "ci/steps/abc.tar.gz",
        f"ci/steps/{'a' * 64}.zip",
        f"ci/steps/x/{'a' * 64}.tar.gz",
        "ci/team/cache/uid/shop/build/mine.tar.zst",
        "ci/team/cache/uid/shop/build/default.tar.gz",
        "ci/team/cache/uid/shop/default.tar.zst",
        "ci/team/cache/uid/shop/build/mine.used",
    ):
        store.write(key, age=old)
    assert await stale(store) == {}


async def test_caches_and_step_archives_go_by_their_last_use() -> None:
    store = AgedStore()

    def cache(key: str, *, days: int) -> str:
        name = cache_object(
            prefix="ci", namespace="team", space="s", app_id="shop", pipeline="build", key=key
        )
        return store.write(name, age=timedelta(days=days))

    cache("fresh", days=29)
    used = cache("used", days=400)
    store.write(cache_mark(used), age=timedelta(days=2))
    unused, never = cache("unused", days=400), cache("", days=31)
    mark = store.write(cache_mark(unused), age=timedelta(days=31))
    lone = store.write(cache_mark(cache("cleared", days=400)), age=timedelta(days=5))
    del store.objects[lone.replace(".used", ".tar.zst")]
    store.write(step_archive("ci", "a" * 64), age=timedelta(days=29))
    step = store.write(step_archive("ci", "b" * 64), age=timedelta(days=31))

    found = await stale(store)

    assert found == {
        unused: "the cache of pipeline build was not used for 30 days",
        never: "the cache of pipeline build was not used for 30 days",
        lone: "its cache is gone",
        step: "the step's archive was not used for 30 days",
    }
    del store.objects[unused]
    assert mark in await stale(store)


async def test_with_namespaces_only_theirs_are_listed() -> None:
    store = AgedStore()
    mine = store.write(output(results(GONE, namespace="mine")), age=OLD)
    store.write(output(results(GONE, namespace="other")), age=OLD)
    step = store.write(step_archive("ci", "b" * 64), age=timedelta(days=31))
    assert sorted(await stale(store, having=settings(namespaces=["mine"]))) == [mine, step]


async def test_what_is_used_again_before_it_is_deleted_stays() -> None:
    store = AgedStore()
    result = store.write(output(results(GONE)), age=OLD)
    unused = timedelta(days=31)
    step = store.write(step_archive("ci", "b" * 64), age=unused)
    another = store.write(step_archive("ci", "c" * 64), age=unused)
    cache = store.write(
        cache_object(
            prefix="ci", namespace="team", space="s", app_id="shop", pipeline="build", key=""
        ),
        age=unused,
    )
    referred = await read_builds(cast(Any, FakeApi()), settings())
    stored = Objects(cast(Any, store), referred, settings=settings(), now=START)
    removed = []
    async for page in stored.stale():
        await store.put(step, b"")
        await store.put(cache_mark(cache), b"")
        removed += [each.name for each in await stored.remove(page)]
    assert sorted(removed) == sorted([result, another])
    assert set(store.objects) == {step, cache, cache_mark(cache)}


async def test_a_real_store_is_read_page_by_page_while_it_is_emptied(
    server: Server,
) -> None:
    """The S3 client against a server whose pages have two objects."""
    store = ObjectStore.from_settings(s3_settings(server.server_port))
    assert store is not None
    gone = [step_log(results(GONE), f"s-{n}") for n in range(5)]
    kept = [output(results(LIVES)), step_log(results(GONE), "young"), "ci/else.txt"]
    server.objects = {key: b"log" for key in (*gone, *kept)}
    server.written = dict.fromkeys((*gone, kept[0], kept[2]), START - OLD)
    server.written[kept[1]] = START
    builds = [build("b", LIVES)]
    referred = await read_builds(cast(Any, FakeApi(builds=builds)), settings())
    stored = Objects(store, referred, settings=settings(), now=START)

    removed = [each.name async for page in stored.stale() for each in await stored.remove(page)]

    assert sorted(removed) == gone
    assert sorted(server.objects) == sorted(kept)
    store.close()


def cluster(uid: str = CLUSTER) -> Any:
    return FakeApi(namespaces=[{"metadata": {"name": "kube-system", "uid": uid}}])


async def test_nothing_is_deleted_from_a_store_that_another_cluster_uses() -> None:
    store: Any = AgedStore()
    with pytest.raises(UserError, match="no operator of this cluster"):
        await check_cluster(store, cluster(), prefix="ci")
    await mark_cluster(store, cluster(), prefix="ci", clock=Hasty())
    await check_cluster(store, cluster(), prefix="ci")
    await mark_cluster(store, cluster(GONE), prefix="other", clock=Hasty())
    await check_cluster(store, cluster(), prefix="ci")
    await mark_cluster(store, cluster(GONE), prefix="ci", clock=Hasty())
    for each in (cluster(), cluster(GONE)):
        with pytest.raises(UserError, match=r"another cluster .* a store\.prefix of its own"):
            await check_cluster(store, each, prefix="ci")
