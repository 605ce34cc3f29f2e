from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.clocks import Hasty, Stepped
from tests.unit.kube.server import Server, eventually, failure, kubeconfig, obj

from sentinel.clock import Clock
from sentinel.kube import errors
from sentinel.kube.client import Kube
from sentinel.kube.lease import LeaderLease

COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/sentinel/leases"


class Polling(Hasty):
    """Hurries from look to look, and lets a request take the time it takes."""

    async def sleep(self, seconds: float) -> None:
        if seconds > 3:
            await asyncio.Event().wait()
        await super().sleep(seconds)


class Leases:
    """The lease endpoints as the API server has them: versions, 404, both kinds of 409. `faults` come first."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.faults: list[str] = []
        self.released = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "hang":
            await self.released.wait()
        if fault == "unavailable":
            return failure(503, "ServiceUnavailable", "starting")
        answer = await self._apply(request)
        if fault == "answer late":
            await self.released.wait()
        if fault == "lose the answer":
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def _apply(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return obj(self.lease) if self.lease else failure(404, "NotFound", "no lease")
        body = await request.json()
        if request.method == "POST":
            if self.lease:
                return failure(409, "AlreadyExists", "there is one")
        elif self.lease is None:
            return failure(404, "NotFound", "no lease")
        elif body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            return failure(409, "Conflict", "the object has been modified")
        self.version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**body, "metadata": metadata}
        return obj(self.lease)

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec


@pytest.fixture
def leases(server: Server) -> Leases:
    leases = Leases()
    server.handler = leases
    return leases


Candidate = Callable[[str, Clock], LeaderLease]


@pytest.fixture
async def candidate(server: Server, tmp_path: Path) -> AsyncIterator[Candidate]:
    config = kubeconfig(tmp_path / "k", server.url, {})
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(
            await Kube.connect(user_agent="t", kubeconfig=config, clock=Hasty())
        )

        def make(identity: str, clock: Clock) -> LeaderLease:
            return LeaderLease(
                kube,
                name="operator",
                namespace="sentinel",
                identity=identity,
                clock=clock,
                jitter=lambda: 0.5,
            )

        yield make


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_candidate_makes_the_lease(leases: Leases, candidate: Candidate) -> None:
    lease = candidate("pod-a", Stepped())
    assert not lease.leading
    await lease.acquire()
    assert (lease.leading, lease.epoch, lease.holder) == (True, 1, "pod-a")
    assert leases.spec == {
        "holderIdentity": "pod-a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-23T09:00:00.000000Z",
        "renewTime": "2026-11-23T09:00:00.000000Z",
        "leaseTransitions": 1,
    }


async def test_a_lease_that_is_not_renewed_is_stale(leases: Leases, candidate: Candidate) -> None:
    clock = Stepped()
    lease = candidate("pod-a", clock)
    clock.advance(100)
    assert not lease.stale  # a standby has nothing to renew
    await lease.acquire()
    clock.advance(30)
    assert not lease.stale
    clock.advance(1)
    assert lease.stale


async def test_of_two_at_once_one_leads(leases: Leases, candidate: Candidate) -> None:
    clock = Stepped()
    both = [candidate("pod-a", clock), candidate("pod-b", clock)]
    tasks = [asyncio.create_task(lease.acquire()) for lease in both]
    await eventually(lambda: any(task.done() for task in tasks) and clock.sleepers)
    assert sorted(lease.leading for lease in both) == [False, True]
    assert leases.spec["holderIdentity"] == next(x.holder for x in both if x.leading)
    for task in tasks:
        await stopped(task)


async def test_a_second_candidate_waits_for_the_whole_duration_by_its_own_clock(
    leases: Leases, candidate: Candidate
) -> None:
    await candidate("pod-a", Stepped()).acquire()
    # However old the record's times are: the other's clock may be wrong.
    leases.spec["renewTime"] = "1999-01-01T00:00:00.000000Z"
    clock = Polling()
    second = candidate("pod-b", clock)
    await second.acquire()
    assert 15 <= sum(seconds for seconds in clock.slept if seconds == 2) <= 17
    assert (second.leading, second.epoch, leases.spec["holderIdentity"]) == (True, 2, "pod-b")


async def test_a_leader_that_renews_is_not_replaced(leases: Leases, candidate: Candidate) -> None:
    clock = Stepped()
    first, second = candidate("pod-a", clock), candidate("pod-b", clock)
    await first.acquire()
    tasks = [asyncio.create_task(first.run()), asyncio.create_task(second.acquire())]
    for _ in range(30):
        before = leases.version
        # Both between two looks; a request's own deadline is further away.
        await eventually(lambda: clock.asleep(within=2) == 2)
        clock.advance(2)
        await eventually(lambda before=before: leases.version > before)
    await eventually(lambda: clock.asleep(within=2) == 2)
    assert (first.leading, second.leading, leases.spec["leaseTransitions"]) == (True, False, 1)
    for task in tasks:
        await stopped(task)


async def test_the_same_pod_leads_again_at_once(leases: Leases, candidate: Candidate) -> None:
    await candidate("pod-a", Stepped()).acquire()
    clock = Polling()
    restarted = candidate("pod-a", clock)
    await restarted.acquire()
    assert (restarted.leading, restarted.epoch) == (True, 2)
    assert 2 not in clock.slept
    # Its process was killed: an orderly end hands the Lease back.
    assert restarted.unreleased


async def test_the_process_before_the_restart_notices_that_it_does_not_lead(
    leases: Leases, candidate: Candidate
) -> None:
    before = candidate("pod-a", Polling())
    await before.acquire()
    await candidate("pod-a", Polling()).acquire()
    await before.run()
    assert (before.lost.is_set(), before.leading) == (True, False)


async def test_a_released_lease_is_taken_at_once(leases: Leases, candidate: Candidate) -> None:
    first = candidate("pod-a", Stepped())
    await first.acquire()
    await first.release()
    assert (leases.spec["holderIdentity"], first.leading) == ("", False)
    clock = Polling()
    second = candidate("pod-b", clock)
    await second.acquire()
    assert 2 not in clock.slept
    assert (second.epoch, second.unreleased) == (2, False)


async def test_a_lease_is_released_though_a_cancelled_renewal_reached_the_server(
    leases: Leases, candidate: Candidate
) -> None:
    clock = Stepped()
    first = candidate("pod-a", clock)
    await first.acquire()
    running = asyncio.create_task(first.run())
    leases.faults = ["answer late"]
    await eventually(lambda: clock.asleep(within=2) == 1)
    clock.advance(2)
    await eventually(lambda: leases.version == 2)
    await stopped(running)
    await first.release()
    assert leases.spec["holderIdentity"] == ""
    leases.released.set()


async def test_release_leaves_a_lease_alone_that_is_anothers(
    leases: Leases, candidate: Candidate
) -> None:
    first = candidate("pod-a", Stepped())
    await first.acquire()
    await candidate("pod-b", Polling()).acquire()
    await first.release()
    assert leases.spec["holderIdentity"] == "pod-b"


async def test_a_leader_whose_lease_was_taken_notices_at_the_next_look(
    leases: Leases, candidate: Candidate
) -> None:
    clock = Polling()
    first = candidate("pod-a", clock)
    await first.acquire()
    await candidate("pod-b", Polling()).acquire()
    await first.run()
    assert (first.lost.is_set(), first.holder, clock.elapsed <= 2.5) == (True, "pod-b", True)


async def test_a_server_that_is_away_for_less_than_the_deadline_costs_nothing(
    leases: Leases, candidate: Candidate
) -> None:
    clock = Stepped()
    lease = candidate("pod-a", clock)
    await lease.acquire()
    running = asyncio.create_task(lease.run())
    leases.faults = ["unavailable"] * 3
    for _ in range(4):
        await eventually(lambda: clock.asleep(within=2) == 1)
        clock.advance(2)
    await eventually(lambda: leases.version == 2)
    await eventually(lambda: clock.asleep(within=2) == 1)
    assert lease.leading
    await stopped(running)


@pytest.mark.parametrize("fault", ["unavailable", "hang"])
async def test_a_leader_that_cannot_renew_gives_up_before_others_may_take_over(
    leases: Leases, candidate: Candidate, fault: str
) -> None:
    clock = Stepped()
    lease = candidate("pod-a", clock)
    await lease.acquire()
    running = asyncio.create_task(lease.run())
    leases.faults = [fault] * 100
    while not running.done():
        await eventually(lambda: clock.sleepers or running.done())
        clock.advance(0.5)
        await asyncio.sleep(0)
    assert lease.lost.is_set()
    assert 10 <= clock.elapsed < 15
    leases.released.set()


async def test_a_renewal_whose_answer_was_lost_is_found_and_kept(
    leases: Leases, candidate: Candidate
) -> None:
    clock = Stepped()
    lease = candidate("pod-a", clock)
    await lease.acquire()
    running = asyncio.create_task(lease.run())
    leases.faults = ["lose the answer"]
    for _ in range(2):
        await eventually(lambda: clock.asleep(within=2) == 1)
        clock.advance(2)
    await eventually(lambda: leases.version == 3)
    await eventually(lambda: clock.asleep(within=2) == 1)
    assert (lease.leading, leases.spec["renewTime"]) == (True, "2026-11-23T09:00:04.000000Z")
    await stopped(running)


async def test_a_lease_that_may_not_be_read_is_an_error_at_once(
    server: Server, candidate: Candidate
) -> None:
    server.answers(failure(403, "Forbidden", "leases are not for you"))
    with pytest.raises(errors.Forbidden, match="get leases sentinel/operator: leases are not"):
        await candidate("pod-a", Polling()).acquire()


async def test_times_that_let_two_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="retry < renew_deadline < duration"):
        LeaderLease(
            None,  # type: ignore[arg-type]
            name="n",
            namespace="ns",
            identity="i",
            duration=10,
            renew_deadline=10,
        )
