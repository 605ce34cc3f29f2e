"""Who leads: one Lease, one holder, renewed while it lives (kubernetes.md).

A candidate trusts no other clock than its own: it takes a Lease whose record did not change for the holder's own
duration, measured here. The identity is the pod's name, so that a container restarted in its pod leads again at once.
Not here: what to do on loss. Who waits on `lost` has to stop at once (`app.begin_anew`): another leads soon.

The Lease alone is no fence against a leader that hangs and wakes up. Names are locks and status writes carry
resourceVersions; `epoch` counts the acquisitions.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from sentinel.clock import Clock, SystemClock, rfc3339
from sentinel.errors import Conflict, SentinelError, TransientError
from sentinel.kube.errors import NotFound, Unavailable
from sentinel.kube.resources import LEASES, Resource

T = TypeVar("T")
Json = dict[str, Any]


class LeaseApi(Protocol):
    """The three calls of `Kube` that a Lease needs."""

    async def get(self, resource: Resource, *, name: str, namespace: str | None = None) -> Json: ...

    async def create(
        self, resource: Resource, body: Json, *, namespace: str | None = None
    ) -> Json: ...

    async def replace(self, resource: Resource, body: Json, *, subresource: str = "") -> Json: ...


class LeaderLease:
    """`await lease.acquire()`, then `run()` in a task beside the work, and `lost.wait()` where work must stop.

    Seconds: others wait `duration` after our last renewal before they take over; we give up `renew_deadline` after it,
    earlier; `retry` is between two looks, with jitter. They must rise: retry < renew_deadline < duration.
    """

    def __init__(
        self,
        kube: LeaseApi,
        *,
        name: str,
        namespace: str,
        identity: str,
        duration: float = 15,
        renew_deadline: float = 10,
        retry: float = 2,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < retry < renew_deadline < duration:
            raise ValueError(
                f"a lease needs retry < renew_deadline < duration, not {retry}, {renew_deadline}, {duration}"
            )
        self.lost = asyncio.Event()
        self.epoch = 0
        """leaseTransitions since we lead; higher than that of any leader before."""
        self.holder = ""
        """Whom we last saw leading."""
        self.unreleased = False
        """The leader before us did not hand the Lease back: it was killed, or cut off."""
        self._kube = kube
        self._name, self._namespace, self._identity = name, namespace, identity
        self._duration, self._renew_deadline, self._retry = duration, renew_deadline, retry
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._lease: Json | None = None
        self._renewed: float | None = None
        self._seen: Json | None = None
        self._seen_at = 0.0

    @property
    def leading(self) -> bool:
        """Whether we may act: acquired, and renewed within the deadline."""
        return (
            self._renewed is not None
            and not self.lost.is_set()
            and self._clock.monotonic() - self._renewed < self._renew_deadline
        )

    @property
    def stale(self) -> bool:
        """Whether the Lease was acquired and then not renewed for so long that it must have been lost.

        `run()` notices that after `renew_deadline`; here it has failed to.
        """
        return (
            self._renewed is not None
            and self._clock.monotonic() - self._renewed > 2 * self._duration
        )

    async def acquire(self) -> None:
        """Return when we lead. Raises what no retry mends: Forbidden, the namespace's NotFound."""
        while True:
            started = self._clock.monotonic()
            try:
                if await self._within(self._renew_deadline, self._try_acquire()):
                    self._renewed = started
                    self.lost.clear()
                    return
            except TransientError:
                pass  # another was faster, or the server is away: look again
            await self._pause()

    async def run(self) -> None:
        """Renew until the Lease is lost; then sets `lost` and returns. Cancel it before `release()`."""
        try:
            while await self._keep():
                pass
        except asyncio.CancelledError:
            raise  # our own doing: the Lease is still ours, and `release()` follows
        except Exception:
            self.lost.set()
            raise
        self.lost.set()

    async def release(self) -> None:
        """Release the Lease if it is still ours. Never raises: it expires anyway."""
        lease, self._lease, self._renewed = self._lease, None, None
        if lease is None or self.lost.is_set():
            return
        with suppress(SentinelError):
            await self._within(self._renew_deadline, self._release(lease))

    async def _release(self, lease: Json) -> None:
        while True:
            try:
                await self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1})
                return
            except Conflict:
                # A renewal that was cancelled may still have reached the server. Others would then wait for its expiry.
                lease = await self._read()
                if not self._is_ours(lease):
                    return

    async def _keep(self) -> bool:
        """Pause and renew once. False when the Lease is lost; a failed try is no loss before the deadline."""
        await self._pause()
        started = self._clock.monotonic()
        left = self._renew_deadline - (started - (self._renewed or 0.0))
        if left <= 0:
            return False
        try:
            if not await self._within(left, self._renew()):
                return False
        except SentinelError:
            return True
        self._renewed = started
        return True

    async def _try_acquire(self) -> bool:
        try:
            lease = await self._read()
        except NotFound:
            await self._create()
            return True
        spec = lease.get("spec") or {}
        self.holder = spec.get("holderIdentity") or ""
        if self.holder not in ("", self._identity) and not self._ran_out(spec):
            return False
        epoch = int(spec.get("leaseTransitions") or 0) + 1
        unreleased = bool(self.holder)
        self._lease = await self._write(
            lease, {**self._claim(), "acquireTime": self._stamp(), "leaseTransitions": epoch}
        )
        self.epoch, self.holder, self.unreleased = epoch, self._identity, unreleased
        return True

    async def _create(self) -> None:
        body = {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {**self._claim(), "acquireTime": self._stamp(), "leaseTransitions": 1},
        }
        self._lease = await self._kube.create(LEASES, body, namespace=self._namespace)
        self.epoch, self.holder = 1, self._identity

    async def _renew(self) -> bool:
        """Write the hour into the Lease. False when it is another's, or another process's of our own name."""
        if self._lease is None:
            return False  # released, or never acquired
        try:
            self._lease = await self._write(self._lease, self._claim())
            return True
        except (Conflict, NotFound):
            # Perhaps an earlier write of ours arrived after we had given up waiting for its answer.
            self._lease = await self._read()
        if not self._is_ours(self._lease):
            return False
        self._lease = await self._write(self._lease, self._claim())
        return True

    async def _read(self) -> Json:
        return await self._kube.get(LEASES, name=self._name, namespace=self._namespace)

    def _is_ours(self, lease: Json) -> bool:
        """Whether we hold it, and it is the one that we acquired; notes who does."""
        spec = lease.get("spec") or {}
        self.holder = spec.get("holderIdentity") or ""
        return (self.holder, spec.get("leaseTransitions")) == (self._identity, self.epoch)

    async def _write(self, lease: Json, spec: Json) -> Json:
        """PUT with the resourceVersion that we read: a write in between wins, and we get a Conflict."""
        body = {**lease, "spec": {**(lease.get("spec") or {}), **spec}}
        return await self._kube.replace(LEASES, body)

    def _ran_out(self, spec: Json) -> bool:
        if spec != self._seen:
            self._seen, self._seen_at = spec, self._clock.monotonic()
        duration = float(spec.get("leaseDurationSeconds") or self._duration)
        return self._clock.monotonic() - self._seen_at >= duration

    def _claim(self) -> Json:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._duration),
            "renewTime": self._stamp(),
        }

    def _stamp(self) -> str:
        return rfc3339(self._clock.now(), micro=True)

    async def _pause(self) -> None:
        await self._clock.sleep(self._retry * (0.8 + 0.4 * self._jitter()))

    async def _within(self, seconds: float, request: Coroutine[Any, Any, T]) -> T:
        """The request's result, or Unavailable when our clock says that it took too long."""
        work = asyncio.create_task(request)
        timer = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise Unavailable(f"lease {self._namespace}/{self._name}: no answer in {seconds:.1f} s")
        finally:
            for task in (work, timer):
                task.cancel()
            await asyncio.gather(work, timer, return_exceptions=True)
