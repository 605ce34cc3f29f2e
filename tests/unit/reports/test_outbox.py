"""Reports on their way: a real server that is dead, slow, failing or flapping; restarts; several receivers."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.fakeapi import FakeApi
from tests.unit.reports import stories
from tests.unit.reports.receiver import Receiver, serve
from tests.unit.reports.stories import Story

from sentinel.network import Policy
from sentinel.reports.cursors import DONE, SHARDS, Cursors
from sentinel.reports.destinations import Destinations
from sentinel.reports.event import Rank
from sentinel.reports.lane import Lane
from sentinel.reports.outbox import Outbox
from sentinel.reports.post import Post
from sentinel.reports.sender import Answer, Sender
from sentinel.settings import Settings, StoreSettings
from sentinel.settings.reports import CloudEventsSettings, ReportSettings, WerckerAPISettings

SPEED = 40.0
LOOPBACK = Policy.make(allowed=["127.0.0.0/8"], environ={})


class FastClock:
    """The machine's clock, forty times as fast for pauses; the hour is when the stories begin."""

    def __init__(self) -> None:
        self.hour = datetime(2026, 11, 28, 10, tzinfo=UTC)

    def now(self) -> datetime:
        return self.hour

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0) / SPEED)


class Logs:
    """The object store: logs by step id."""

    def __init__(self, **logs: bytes) -> None:
        self.logs = {key.replace("_", "-"): value for key, value in logs.items()}
        self.read_bytes: list[int] = []

    def _find(self, key: str) -> bytes | None:
        return self.logs.get(key.split("/")[-2])

    async def size(self, key: str) -> int | None:
        data = self._find(key)
        return None if data is None else len(data)

    async def read(self, key: str, *, start: int, length: int) -> bytes:
        data = self._find(key)
        assert data is not None
        self.read_bytes.append(length)
        return data[start : start + length]


ALL = {"script_1": b"one\n", "script_2": b"two\n", "script_3": b"three\n"}


@dataclass
class World:
    settings: Settings
    kube: FakeApi = field(default_factory=FakeApi)
    clock: FastClock = field(default_factory=FastClock)
    store: Any = field(default_factory=lambda: Logs(**ALL))
    recorded: list[tuple[str, str, str]] = field(default_factory=list)
    policy: Policy = LOOPBACK
    tenant_policy: Policy = LOOPBACK

    @asynccontextmanager
    async def reporter(self) -> AsyncIterator[Outbox]:
        """A reporter's process, from start to stop."""
        async with AsyncExitStack() as stack:
            cursors = Cursors(self.kube, namespace="system")  # type: ignore[arg-type]
            await cursors.load()
            timeout = self.settings.reports.timeout_seconds
            ours = await stack.enter_async_context(
                Sender(self.policy, clock=self.clock, timeout=timeout)
            )
            theirs = await stack.enter_async_context(
                Sender(self.tenant_policy, clock=self.clock, timeout=timeout)
            )

            async def send(post: Post, *, ours_: bool, secret: bool) -> Answer:
                return await (ours if ours_ else theirs).send(post, secret=secret)

            outbox = Outbox(
                settings=self.settings,
                cursors=cursors,
                destinations=Destinations(
                    self.settings.reports,
                    kube=self.kube,  # type: ignore[arg-type]
                    clock=self.clock,
                ),
                send=lambda post, *, ours, secret: send(post, ours_=ours, secret=secret),
                store=self.store,
                tell=lambda raw, reason, note: self.recorded.append(
                    (raw["metadata"]["name"], reason, note)
                ),
                clock=self.clock,
            )
            outbox.begin()
            tasks = [
                asyncio.create_task(outbox.run()),
                asyncio.create_task(outbox.flush_forever()),
            ]
            try:
                yield outbox
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await cursors.flush()


def settings(wercker: str = "", *, events: str = "", **more: Any) -> Settings:
    return Settings(
        store=StoreSettings(bucket="builds"),
        reports=ReportSettings(
            wercker_api=WerckerAPISettings(url=wercker),
            cloud_events=CloudEventsSettings(url=events),
            timeout_seconds=more.pop("timeout_seconds", 60.0),
            **more,
        ),
    )


def is_empty(outbox: Outbox) -> Callable[[], bool]:
    return lambda: outbox.waiting == 0


def failures(outbox: Outbox) -> int:
    lane = outbox.lanes.get("wercker-api")
    return lane.failures if lane is not None else 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(150):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with serve() as each:
        yield each


META = stories.created()["metadata"]

WHOLE = [
    "runstarted",
    "runstepstarted setup environment",
    "runsourcefetched",
    "runconfigparsed",
    "runsteplogs setup environment",
    "runstepfinished setup environment passed",
    "runstepsadded",
    "runenvironmentset",
    "runstepstarted script-1",
    "runsteplogs script-1",
    "runstepfinished script-1 passed",
    "runstepstarted script-2",
    "runsteplogs script-2",
    "runstepfinished script-2 passed",
    "runstepstarted store",
    "runstepfinished store passed",
    "runfinished passed",
    "runstepstarted script-3",
    "runsteplogs script-3",
    "runstepfinished script-3 passed",
    "runcompleted",
]


def calls(receiver: Receiver) -> list[str]:
    found = []
    for each in receiver.taken:
        words = [each.path.removeprefix("/"), each.body.get("stepSafeId", "")]
        if each.path != "/runconfigparsed":
            words.append(each.body.get("result", ""))
        found.append(" ".join(filter(None, words)))
    return found


async def test_a_build_is_reported_in_wercker_s_order_while_it_goes_on(receiver: Receiver) -> None:
    world = World(settings(receiver.url))
    async with world.reporter() as outbox:
        for state in stories.passed().states:
            outbox.offer(state)
            await asyncio.sleep(0)
        await until(is_empty(outbox))
    assert calls(receiver) == WHOLE
    first = receiver.taken[0]
    assert first.body == {
        "runId": stories.UID,
        "pipeline": "build",
        "startedBy": "ada",
        "namespace": "team",
        "build": "b",
    }
    assert first.id == f"{stories.UID}.0.0.0.0.0"
    logs = [each.body for each in receiver.taken if each.path == "/runsteplogs"]
    assert base64.b64decode(logs[1]["logs"]) == b"one\n"
    assert (logs[1]["stream"], logs[1]["chunk"]) == ("stdout", 1)
    assert world.recorded == []


async def test_what_wercker_s_protocol_does_not_have_can_be_left_out(receiver: Receiver) -> None:
    world = World(settings())
    world.settings.reports.wercker_api.url = receiver.url
    world.settings.reports.wercker_api.extended = False
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(is_empty(outbox))
    extended = ("runsourcefetched", "runconfigparsed", "runenvironmentset", "runcompleted")
    assert calls(receiver) == [each for each in WHOLE if not each.startswith(extended)]


async def test_a_receiver_may_not_know_the_extended_reports(receiver: Receiver) -> None:
    receiver.answer = lambda path, _: 404 if path == "/runsourcefetched" else 200
    world = World(settings(receiver.url))
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(is_empty(outbox))
    assert calls(receiver) == [each for each in WHOLE if each != "runsourcefetched"]


async def test_a_restart_goes_on_where_it_was(receiver: Receiver) -> None:
    """Cut after every state: nothing is lost, and nothing is sent twice but under its id."""
    world = World(settings(receiver.url))
    for state in stories.passed().states:
        async with world.reporter() as outbox:
            outbox.offer(state)
            await asyncio.sleep(0.02)
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(is_empty(outbox))
    ids = receiver.taken_of(stories.UID)
    assert list(dict.fromkeys(ids)) == sorted(set(ids), key=ids.index)
    unique = [each for n, each in enumerate(receiver.taken) if each.id not in ids[:n]]
    receiver.received = unique
    assert calls(receiver) == WHOLE


async def test_a_delivered_build_is_not_reported_again_after_a_restart(receiver: Receiver) -> None:
    world = World(settings(receiver.url))
    for _ in range(2):
        async with world.reporter() as outbox:
            outbox.offer(stories.passed().raw)
            await until(is_empty(outbox))
    assert calls(receiver) == WHOLE


async def test_builds_that_ended_before_the_first_start_are_not_reported(
    receiver: Receiver,
) -> None:
    world = World(settings(receiver.url))
    world.clock.hour = datetime(2026, 11, 28, 12, tzinfo=UTC)
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(is_empty(outbox))
    assert receiver.received == []


def flapping() -> Callable[[str, dict[str, Any]], Any]:
    count = 0

    def answer(path: str, body: dict[str, Any]) -> int:
        nonlocal count
        count += 1
        return (500, 200, 200, 503, 200, 429, 200)[count % 7]

    return answer


@pytest.mark.parametrize("builds", [1, 20])
async def test_a_flapping_receiver_gets_everything_in_order(
    receiver: Receiver, builds: int
) -> None:
    receiver.answer = flapping()
    world = World(settings(receiver.url, log_kib=0))
    uids = [f"{n:08d}-1111-4222-8333-444455556666" for n in range(builds)]
    async with world.reporter() as outbox:
        for uid in uids:
            outbox.offer(stories.passed(uid=uid).raw)
        await until(is_empty(outbox))
    for uid in uids:
        ids = receiver.taken_of(uid)
        ranks = [tuple(map(int, each.removeprefix(f"{uid}.").split("."))) for each in ids]
        assert ranks == sorted(set(ranks))
        assert len(ranks) == len(WHOLE) - 3  # without the steps' logs


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A port that refuses connections until the test listens on it, and that no other process gets meanwhile."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


def url_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


async def test_a_receiver_that_is_dead_gets_everything_when_it_is_back(
    bound: socket.socket,
) -> None:
    world = World(settings(url_of(bound)))
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(lambda: failures(outbox) >= 2)
        async with serve(bound) as receiver:
            await until(is_empty(outbox))
    assert calls(receiver) == WHOLE


async def test_a_dead_receiver_costs_others_nothing(
    bound: socket.socket, receiver: Receiver
) -> None:
    world = World(settings(url_of(bound), events=receiver.url))
    async with world.reporter() as outbox:
        for n in range(30):
            uid = f"{n:08d}-1111-4222-8333-444455556666"
            outbox.offer(stories.passed(uid=uid).raw)
        await until(lambda: len(receiver.taken) == 30 * (len(WHOLE) - 4))
        assert outbox.waiting == 30
        dead = outbox.lanes["wercker-api"]
        assert dead.failures >= 1


async def test_a_slow_receiver_is_cut_off_and_tried_one_build_at_a_time(
    receiver: Receiver,
) -> None:
    receiver.delay = 5.0
    world = World(settings(receiver.url, timeout_seconds=0.1))
    async with world.reporter() as outbox:
        for n in range(10):
            outbox.offer(stories.passed(uid=f"{n:08d}-1111-4222-8333-444455556666").raw)
        await until(lambda: failures(outbox) >= 3)
        lane: Lane = outbox.lanes["wercker-api"]
        assert len(lane._running) <= 1


async def test_retry_after_is_obeyed(receiver: Receiver) -> None:
    waits: list[float] = []
    answers = iter([(429, {"Retry-After": "7"}), (503, {"Retry-After": "5"})])

    def answer(path: str, body: dict[str, Any]) -> Any:
        waits.append(world.clock.monotonic())
        return next(answers, 200)

    world = World(settings(receiver.url))
    receiver.answer = answer
    async with world.reporter() as outbox:
        outbox.offer(stories.refused().raw)
        await until(is_empty(outbox))
    assert waits[1] - waits[0] >= 7
    assert waits[2] - waits[1] >= 5


async def test_github_s_rate_limit_pauses_all_builds_until_its_reset(receiver: Receiver) -> None:
    world = World(settings(receiver.url))
    reset = int(world.clock.now().timestamp()) + 9
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
    answers = iter([(403, headers)])
    receiver.answer = lambda *_: next(answers, 200)
    began = world.clock.monotonic()
    async with world.reporter() as outbox:
        for uid in ("one", "two"):
            outbox.offer(stories.refused().raw | {"metadata": {**META, "uid": uid}})
        await until(is_empty(outbox))
    assert world.clock.monotonic() - began >= 9
    assert len(receiver.received) == 2 * 6 + 1


async def test_a_refused_report_is_skipped_with_an_event(receiver: Receiver) -> None:
    receiver.answer = lambda path, _: 422 if path == "/runstepsadded" else 200
    world = World(settings(receiver.url))
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(is_empty(outbox))
    assert calls(receiver) == [each for each in WHOLE if each != "runstepsadded"]
    text = "wercker-api at 127.0.0.1 answered 422; the report is skipped"
    assert world.recorded == [("b", "ReportRefused", text)]


async def test_one_build_that_is_always_refused_does_not_stop_the_others(
    receiver: Receiver,
) -> None:
    receiver.answer = lambda _, body: 500 if body["runId"] == stories.UID else 200
    world = World(settings(receiver.url))
    others = [f"{n:08d}-1111-4222-8333-444455556666" for n in range(5)]
    async with world.reporter() as outbox:
        for uid in (stories.UID, *others):
            outbox.offer(stories.passed(uid=uid).raw)
        await until(lambda: outbox.waiting == 1)
    assert all(len(receiver.taken_of(uid)) == len(WHOLE) for uid in others)


async def test_reports_are_given_up_after_a_time_with_an_event(receiver: Receiver) -> None:
    receiver.answer = lambda *_: 500
    world = World(settings(receiver.url, give_up_seconds=3600))
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(lambda: failures(outbox) >= 1)
        world.clock.hour = datetime(2026, 11, 28, 11, 30, tzinfo=UTC)
        await until(is_empty(outbox))
    ((name, reason, note),) = world.recorded
    assert (name, reason) == ("b", "ReportsGivenUp")
    assert "wercker-api at 127.0.0.1" in note


async def test_too_many_waiting_builds_are_given_up_where_most_wait(receiver: Receiver) -> None:
    receiver.answer = lambda *_: 500
    world = World(settings(receiver.url, most_builds=10))
    async with world.reporter() as outbox:
        quiet = stories.passed(uid="quiet").raw
        quiet["metadata"]["namespace"] = "quiet"
        outbox.offer(quiet)
        for n in range(30):
            outbox.offer(stories.passed(uid=f"{n}").raw)
        assert outbox.waiting == 10
        assert "quiet" in outbox.known
    assert len(world.recorded) == 21


async def test_a_log_that_is_not_stored_yet_is_waited_for(receiver: Receiver) -> None:
    world = World(settings(receiver.url), store=Logs())
    running = stories.passed().states[9]
    assert running["status"]["steps"][0]["state"] == "Passed"
    async with world.reporter() as outbox:
        outbox.offer(running)
        await until(lambda: "runstepstarted script-1" in calls(receiver))
        await asyncio.sleep(0.1)
        assert "runstepfinished script-1 passed" not in calls(receiver)
        world.store.logs["script-1"] = b"late\n"
        await until(lambda: "runstepfinished script-1 passed" in calls(receiver))
        outbox.offer(stories.passed().raw)
        await until(is_empty(outbox))
    # The logs that never came are missing, and nothing else is.
    lost = ("runsteplogs script-2", "runsteplogs script-3")
    assert calls(receiver) == [each for each in WHOLE if each not in lost]


async def test_a_long_log_comes_in_chunks_and_is_cut_in_its_middle(receiver: Receiver) -> None:
    log = b"".join(b"%07d\n" % n for n in range(20_000))
    world = World(settings(receiver.url, log_kib=64), store=Logs(script_1=log))
    async with world.reporter() as outbox:
        outbox.offer(stories.failed().raw)
        await until(is_empty(outbox))
    bodies = [
        each.body
        for each in receiver.taken
        if each.path == "/runsteplogs" and each.body["stepSafeId"] == "script-1"
    ]
    assert [each["chunk"] for each in bodies] == list(range(1, len(bodies) + 1))
    pieces = [base64.b64decode(each["logs"]) for each in bodies]
    assert max(map(len, pieces)) <= 10_240
    note = f"\n[{len(log) - 65536} bytes are not reported]\n".encode()
    assert b"".join(pieces) == log[:32768] + note + log[-32768:]
    assert max(world.store.read_bytes) <= 122_880


async def test_a_restart_within_a_log_goes_on_with_the_next_chunk(receiver: Receiver) -> None:
    log = b"x" * 100_000
    world = World(settings(receiver.url), store=Logs(script_1=log))
    receiver.answer = lambda _, body: 500 if body.get("chunk") == 5 else 200
    async with world.reporter() as outbox:
        outbox.offer(stories.failed().raw)
        await until(lambda: failures(outbox) >= 1)
    receiver.answer = lambda *_: 200
    async with world.reporter() as outbox:
        outbox.offer(stories.failed().raw)
        await until(is_empty(outbox))
    chunks = [
        each.body["chunk"]
        for each in receiver.taken
        if each.path == "/runsteplogs" and each.body["stepSafeId"] == "script-1"
    ]
    assert chunks == list(range(1, 11))


async def test_a_log_of_another_build_is_never_read(receiver: Receiver) -> None:
    """A user who can write a Build's status names another one's results."""
    raw = stories.failed().raw
    raw["status"]["results"]["prefix"] = "other/project-artifacts/shop/other-uid/1/"
    world = World(settings(receiver.url))
    async with world.reporter() as outbox:
        outbox.offer(raw)
        await until(is_empty(outbox))
    assert world.store.read_bytes == []


async def test_a_build_that_is_deleted_while_no_operator_watches_has_failed(
    receiver: Receiver,
) -> None:
    story = Story()
    story.begin()
    story.accept("main")
    world = World(settings(receiver.url))
    async with world.reporter() as outbox:
        outbox.offer(story.raw)
        await until(lambda: len(receiver.taken) == 4)
        outbox.missing({stories.UID})
        await until(is_empty(outbox))
    assert calls(receiver)[-2:] == ["runfinished failed", "runcompleted"]


async def test_cursors_of_builds_that_are_gone_are_dropped(receiver: Receiver) -> None:
    world = World(settings(receiver.url))
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(is_empty(outbox))
        outbox.keep_only(set())
    stored = [key for each in world.kube.objects["configmaps"].values() for key in each["data"]]
    assert stored == ["since.wercker"]


async def test_what_was_delivered_is_few_writes_for_any_number_of_builds() -> None:
    kube = FakeApi()
    cursors = Cursors(kube, namespace="system")  # type: ignore[arg-type]
    for n in range(1000):
        cursors.advance(f"uid-{n}", "wercker", Rank(1, 1, n))
    await cursors.flush()
    await cursors.flush()
    assert len(kube.created) + len(kube.replaced) == SHARDS
    again = Cursors(kube, namespace="system")  # type: ignore[arg-type]
    await again.load()
    assert [again.get(f"uid-{n}", "wercker") for n in range(1000)] == [
        Rank(1, 1, n) for n in range(1000)
    ]


async def test_two_reporters_that_write_at_once_keep_the_higher_rank() -> None:
    kube = FakeApi()
    one, two = (Cursors(kube, namespace="system") for _ in range(2))  # type: ignore[arg-type]
    one.advance("uid", "wercker", Rank(2))
    two.advance("uid", "wercker", Rank(1))
    two.advance("uid", "events", Rank(1))
    await one.flush()
    await two.flush()
    after = Cursors(kube, namespace="system")  # type: ignore[arg-type]
    await after.load()
    assert (after.get("uid", "wercker"), after.get("uid", "events")) == (Rank(2), Rank(1))


async def test_a_full_config_map_leaves_out_what_was_delivered_in_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sentinel.reports.cursors.MOST_BYTES", 2000)
    kube = FakeApi()
    cursors = Cursors(kube, namespace="system")  # type: ignore[arg-type]
    for n in range(1000):
        cursors.advance(f"uid-{n}", "wercker", DONE if n % 100 else Rank(1))
    await cursors.flush()
    stored = {key for each in kube.objects["configmaps"].values() for key in each["data"]}
    assert {f"uid-{n}" for n in range(0, 1000, 100)} <= stored
    assert len(stored) < 1000


def secret(**data: str) -> dict[str, Any]:
    encoded = {
        key.replace("__", "."): base64.b64encode(v.encode()).decode() for key, v in data.items()
    }
    return {"metadata": {"name": "sentinel-reports", "namespace": "team"}, "data": encoded}


async def test_the_secret_of_a_namespace_names_receivers_of_its_own(receiver: Receiver) -> None:
    world = World(settings(namespace_secrets=True))
    world.tenant_policy = Policy.make(allowed=["127.0.0.0/8"], plain_http=["127.0.0.1"], environ={})
    world.kube.add("secrets", secret(werckerAPI__url=receiver.url, werckerAPI__token="s3cret&x"))
    elsewhere = stories.passed(uid="elsewhere").raw
    elsewhere["metadata"]["namespace"] = "other"
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        outbox.offer(elsewhere)
        await until(is_empty(outbox))
    assert calls(receiver) == WHOLE
    assert {each.query for each in receiver.taken} == {"wercker_token=s3cret%26x"}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/", "a loopback address"),
        ("http://169.254.169.254/", "a link-local address"),
        ("http://10.96.0.1/", "an address of the cluster itself"),
        ("http://localhost:9/", "a loopback address"),
    ],
)
async def test_receivers_of_tenants_obey_the_address_rules(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, url: str, why: str
) -> None:
    world = World(settings(receiver.url, namespace_secrets=True))
    world.tenant_policy = Policy.make(denied=["10.96.0.0/12"], environ={})
    world.kube.add("secrets", secret(werckerAPI__url=url))
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(lambda: why in caplog.text)
        await until(lambda: len(receiver.taken) == len(WHOLE))


async def test_a_token_is_not_sent_by_plain_http(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(settings(namespace_secrets=True))
    world.kube.add("secrets", secret(werckerAPI__url=receiver.url, werckerAPI__token="s3cret"))
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(lambda: "no token is sent to 127.0.0.1 by plain http" in caplog.text)
    assert receiver.received == []
    assert "s3cret" not in caplog.text


async def test_a_secret_that_cannot_be_used_is_an_event_and_stops_nothing_else(
    receiver: Receiver,
) -> None:
    world = World(settings(receiver.url, namespace_secrets=True))
    world.kube.add("secrets", secret(werckerAPI__url="file:///etc/passwd"))
    async with world.reporter() as outbox:
        outbox.offer(stories.passed().raw)
        await until(is_empty(outbox))
    assert calls(receiver) == WHOLE
    ((_, reason, note),) = world.recorded
    assert reason == "ReportsMisconfigured"
    assert "url" in note
    assert "passwd" not in note


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    async with serve() as other:
        receiver.answer = lambda *_: (302, {"Location": other.url})
        world = World(settings(receiver.url))
        async with world.reporter() as outbox:
            outbox.offer(stories.passed().raw)
            await until(lambda: len(receiver.received) >= 2)
        assert other.received == []
