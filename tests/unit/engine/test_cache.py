"""The cache of a build in the operator: found, handed to the pod, saved, and never a reason to fail."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.clocks import START
from tests.unit.engine.test_uploads import DIGEST, Box
from tests.unit.engine.world import Server, attempt_of, plan, run_of

from sentinel.api.cache import CacheStatus
from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.engine import cache as engine_cache
from sentinel.engine.attempt import Attempt
from sentinel.engine.cache import (
    PACKED_OVERHEAD,
    deliver_cache,
    find_cache,
    note_restored,
    note_saved,
    save_cache,
)
from sentinel.engine.leftovers import drop
from sentinel.engine.run import Run
from sentinel.engine.uploads import Uploads
from sentinel.errors import InfrastructureError, NotVerified
from sentinel.kube.errors import Forbidden
from sentinel.kube.resources import SECRETS
from sentinel.plan.model import PlanCache, PlanSource
from sentinel.session import records as r
from sentinel.session.messages import Collect
from sentinel.settings import Settings, StoreSettings
from sentinel.store.objects import ObjectInfo

SPACE = "11111111-2222-4333-8444-555555555555"
SOURCE = PlanSource(url="https://example.com/o/r.git", commit="c" * 40, branch="main")
KEY = f"ns/cache/{SPACE}/r/build/default.tar.zst"
CACHE = PlanCache(key=KEY, space=SPACE, size=9, save=True, limit=1000)


@dataclass
class Store:
    """One object's size, or what goes wrong."""

    size: int | None = 9
    error: Exception | None = None
    hangs: bool = False
    age: timedelta = timedelta()
    marks: list[str] = field(default_factory=list)

    async def put(self, key: str, data: bytes) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        self.marks.append(key)

    async def head(self, key: str) -> ObjectInfo | None:
        assert key == KEY
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        modified = START - self.age
        size = self.size
        return None if size is None else ObjectInfo(key=key, size=size, etag="", modified=modified)

    def presign_get(self, key: str, *, seconds: int) -> str:
        return f"https://store/{key}?{seconds}"

    def presign_put(
        self, key: str, *, size: int, sha256: str, once: bool
    ) -> tuple[str, dict[str, str]]:
        return f"{key}?{size}&{'once' if once else 'again'}", {"x-amz-meta-sha256": sha256}


class Notices(SimpleNamespace):
    """A reporter that keeps its notices."""

    def noticed(self, *, message: str) -> None:
        self.messages.append(message)


def a_run(store: Store | None = None, server: Server | None = None, **spec: Any) -> Run:
    server = server or Server()
    server.add("namespaces", {"metadata": {"name": "ns", "uid": SPACE}})
    run = run_of(server, **spec)
    settings = Settings(store=StoreSettings(bucket="b"))
    run.tools = replace(
        run.tools,
        store=cast(Any, store or Store()),
        settings=settings,
    )
    run.report = cast(Any, Notices(messages=[]))
    return run


def secrets_of(run: Run) -> dict[str, dict[str, Any]]:
    return cast(Server, run.tools.kube).objects.setdefault("secrets", {})


def notices(of: Run | Attempt) -> list[str]:
    messages: list[str] = cast(Any, of.report).messages
    return messages


async def find(run: Run) -> PlanCache:
    return await find_cache(run, source=SOURCE, pipeline="build")


async def test_one_that_is_there_is_restored() -> None:
    run = a_run()
    assert await find(run) == replace(CACHE, limit=1000 * 1024**2)
    assert notices(run) == []


async def test_one_that_was_saved_long_ago_is_marked_as_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(age=timedelta(hours=23))
    await find(a_run(store))
    assert store.marks == []
    store.age = timedelta(hours=25)
    found = await find(a_run(store))
    assert (found.size, store.marks) == (9, [KEY.replace(".tar.zst", ".used")])

    # A mark that cannot be written costs no build its cache.
    monkeypatch.setattr(engine_cache, "FOUND_WITHIN", 0.05)
    real = store.put

    async def put(key: str, data: bytes) -> None:
        store.hangs = True
        await real(key, data)

    monkeypatch.setattr(store, "put", put)
    assert (await find(a_run(store))).size == 9


async def test_one_that_does_not_exist_costs_nothing_and_is_saved() -> None:
    run = a_run(Store(size=None))
    found = await find(run)
    assert (found.key, found.size, found.save) == (KEY, 0, True)
    attempt = attempt_of(run, replace(plan(), cache=found))
    await deliver_cache(attempt)
    assert secrets_of(run) == {}
    assert notices(run) == []


@pytest.mark.parametrize(
    ("store", "why"),
    [
        (
            Store(error=InfrastructureError("no route to it", reason=Reason.STORE_FAILED)),
            "no route to it",
        ),
        (Store(hangs=True), "the store did not answer within 0 s"),
    ],
    ids=["fails", "is silent"],
)
async def test_a_store_that_is_down_fails_no_build(
    store: Store, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_cache, "FOUND_WITHIN", 0.05)
    run = a_run(store)
    found = await find(run)
    assert (found.size, found.save) == (0, True)
    assert notices(run) == [f"the cache starts empty: {why}"]


async def test_without_the_right_to_read_the_namespace_there_is_none() -> None:
    server = Server()
    server.fail("get", "ns", Forbidden("namespaces is forbidden"))
    run = a_run(server=server)
    assert await find(run) == PlanCache()
    assert notices(run) == ["the cache starts empty: namespaces is forbidden"]


async def test_the_pod_gets_a_url_in_a_signed_secret_which_goes_with_it() -> None:
    run = a_run()
    attempt = attempt_of(run, replace(plan(), cache=CACHE))
    await deliver_cache(attempt)
    secrets = secrets_of(run)
    (secret,) = secrets.values()
    assert secret["metadata"]["name"] == attempt.id.cache
    assert secret["metadata"]["ownerReferences"][0]["uid"] == run.build.uid
    # The URL outlives the time that the pod may wait for a node.
    assert base64.b64decode(secret["data"]["url"]).decode() == f"https://store/{KEY}?2700"
    await deliver_cache(attempt)
    await drop(run.tools, SECRETS, run.id(1), run.id(1).cache)
    assert secrets == {}
    await drop(run.tools, SECRETS, run.id(1), run.id(1).cache)


async def test_a_secret_with_another_owner_is_not_used() -> None:
    run = a_run()
    attempt = attempt_of(run, replace(plan(), cache=CACHE))
    secrets = secrets_of(run)
    secrets[attempt.id.cache] = {
        "metadata": {"name": attempt.id.cache, "namespace": "ns", "uid": "theirs"},
        "data": {"url": "aHR0cHM6Ly9ldmlsLw=="},
    }
    with pytest.raises(NotVerified, match="is not the operator's"):
        await deliver_cache(attempt)
    await drop(run.tools, SECRETS, run.id(1), run.id(1).cache)
    assert secrets


async def test_a_secret_that_the_cluster_refuses_fails_no_build() -> None:
    server = Server()
    run = a_run(server=server)
    attempt = attempt_of(run, replace(plan(), cache=CACHE))
    server.fail("create", attempt.id.cache, Forbidden("exceeded quota: secrets"))
    await deliver_cache(attempt)
    assert notices(run) == ["the cache starts empty: no Secret for it: exceeded quota: secrets"]


def seen(state: Any, text: str = "") -> r.CacheSeen:
    now: dict[str, Any] = {"time": None, "nanoseconds": 0, "seq": 2}
    return r.CacheSeen(**now, state=state, bytes=9, size=70, files=3, seconds=0.1, text=text)


def test_what_became_of_it_in_the_pod_is_reported_once() -> None:
    run = a_run()
    attempt = attempt_of(run, replace(plan(), cache=CACHE))
    note_restored(attempt, seen("Hit"))
    assert run.writer.status.cache == CacheStatus(restored="Hit", restored_bytes=70)
    assert notices(run) == []
    for _ in range(2):
        note_restored(attempt, seen("Invalid", "truncated"))
    assert notices(run) == ["the cache starts empty: truncated"]
    # A box that was to restore nothing has nothing to say about it.
    other = attempt_of(a_run(), replace(plan(), cache=replace(CACHE, size=0)))
    note_restored(other, seen("Hit"))
    assert other.writer.status.cache is None


class Session(Box):
    """A box that keeps what it was asked to collect."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Collect] = []

    async def collect(self, collect: Collect) -> None:
        self.asked.append(collect)


def closing(*, passed: bool = True, cache: PlanCache = CACHE) -> tuple[Attempt, Session]:
    run = a_run()
    run.writer.condition(ConditionType.SUCCEEDED, "True" if passed else "False", Reason.PASSED)
    session = Session()
    return attempt_of(run, replace(plan(), cache=cache), session=session), session


async def test_a_passed_build_saves() -> None:
    attempt, session = closing()
    await save_cache(attempt)
    (asked,) = session.asked
    assert (asked.what, asked.path, asked.cache, asked.limit) == (
        "cache",
        "/pipeline/cache",
        True,
        1000,
    )
    assert 0 < asked.seconds <= 300
    assert asked.entries > 0


@pytest.mark.parametrize(
    ("passed", "cache"),
    [
        (False, CACHE),
        (True, replace(CACHE, save=False)),
        (True, PlanCache()),
    ],
    ids=["failed", "read-only", "none"],
)
async def test_no_other_build_saves_whatever_its_box_says(passed: bool, cache: PlanCache) -> None:
    """Any process of a box can speak for it: a URL is only signed for a build that may save."""
    attempt, box = closing(passed=passed, cache=cache)
    await save_cache(attempt)
    box.say(r.Packed, what="cache", bytes=5, sha256=DIGEST)
    box.finish(1)
    await signed(attempt, box, "log/1")
    assert box.asked == []
    assert [what for what, _ in box.sent] == ["log/1"]
    note_saved(attempt, box.state)
    assert attempt.writer.status.cache is None


async def test_the_url_is_for_this_cache_s_key_and_replaces_what_is_there() -> None:
    attempt, box = closing()
    box.say(r.Packed, what="cache", bytes=5, sha256=DIGEST)
    await signed(attempt, box, "cache")
    assert box.sent == [("cache", f"{KEY}?5&again")]


async def test_no_url_for_more_than_the_limit() -> None:
    attempt, box = closing()
    box.say(r.Packed, what="cache", bytes=1001 + PACKED_OVERHEAD, sha256=DIGEST)
    box.finish(1)
    await signed(attempt, box, "log/1")
    assert [what for what, _ in box.sent] == ["log/1"]


async def signed(attempt: Attempt, box: Session, last: str) -> None:
    """Sign until `last` has its URL."""
    signing = asyncio.create_task(Uploads(attempt).sign())
    async with asyncio.timeout(150):
        while last not in [what for what, _ in box.sent]:
            await asyncio.sleep(0)
    box.end()
    await signing


COLLECTED = {"path": "p", "files": 3, "sha256": DIGEST, "bytes": 5, "size": 70, "empty": False}


@pytest.mark.parametrize(
    ("record", "fields", "saved", "notice"),
    [
        (r.Collected, COLLECTED, "Saved", ""),
        (r.Collected, {**COLLECTED, "unchanged": True}, "Unchanged", ""),
        (r.Collected, {**COLLECTED, "empty": True}, "Empty", ""),
        (
            r.Collected,
            {**COLLECTED, "notice": "1 socket left out"},
            "Saved",
            "the cache: 1 socket left out",
        ),
        (
            r.CollectFailed,
            {"path": "p", "reason": "TooLarge", "text": "its files have 3 MiB, more than 2 MiB"},
            "TooLarge",
            "the cache is not saved, and stays as it was: its files have 3 MiB, more than 2 MiB. Remove from "
            "$WERCKER_CACHE_DIR what is not needed, or raise spec.cache.maxSize or cache.maxMib",
        ),
        (
            r.CollectFailed,
            {"path": "p", "reason": "Refused", "text": "HTTP 403"},
            "Failed",
            "the cache is not saved, and stays as it was: HTTP 403",
        ),
    ],
    ids=["saved", "unchanged", "empty", "left out", "too large", "refused"],
)
def test_what_became_of_saving_it(record: Any, fields: Any, saved: str, notice: str) -> None:
    attempt, box = closing()
    box.say(record, what="cache", **fields)
    note_saved(attempt, box.state)
    status = attempt.writer.status.cache
    assert status is not None
    assert status.saved == saved
    assert notices(attempt) == ([notice] if notice else [])
    assert attempt.writer.holds(ConditionType.SUCCEEDED) is True


def test_a_box_that_is_lost_meanwhile_changes_nothing_but_the_cache() -> None:
    attempt, box = closing()
    note_saved(attempt, box.state)
    status = attempt.writer.status.cache
    assert status is not None
    assert (status.saved, notices(attempt)) == ("", [])
    assert status.message == "the box ended before it said what became of the cache"
    box.say(r.Packed, what="cache", bytes=5, sha256=DIGEST)
    note_saved(attempt, box.state)
    status = attempt.writer.status.cache
    assert status is not None
    assert status.saved == "Failed"
    assert "not stored within" in notices(attempt)[0]
