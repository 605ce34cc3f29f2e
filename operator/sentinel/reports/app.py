"""The reporter put together: it watches Builds and lets the outbox send what they imply.

One process leads (a Lease of its own); the operator is not asked for anything and does not wait for anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, aclosing
from typing import Any

from prometheus_client import Gauge

from sentinel import __version__
from sentinel.clock import Clock, SystemClock
from sentinel.errors import SentinelError, UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Expired
from sentinel.kube.events import Recorder
from sentinel.kube.lease import LeaderLease
from sentinel.kube.resources import BUILDS
from sentinel.network import Policy
from sentinel.observe.health import Health, serve_health
from sentinel.observe.metrics import LEADING, REGISTRY
from sentinel.plan.names import of_instance
from sentinel.reports.cursors import Cursors
from sentinel.reports.destinations import Destinations
from sentinel.reports.outbox import Outbox
from sentinel.reports.post import Post
from sentinel.reports.sender import Answer, Sender
from sentinel.settings import Settings
from sentinel.source.address import parse_web_address
from sentinel.store.objects import ObjectStore

log = logging.getLogger(__name__)

WAITING = Gauge(
    "sentinel_reports_waiting_builds",
    "Builds that have not ended, or whose reports are not all delivered.",
    registry=REGISTRY,
)
FAILING = Gauge(
    "sentinel_reports_failing_receivers",
    "Receivers that did not take the last report.",
    registry=REGISTRY,
)

LEASE = "sentinel-reporter"
CONTROLLER = "sentinel.wercker.com/reporter"
RESYNC_SECONDS = 600.0
RETRY_SECONDS = 2.0


async def run_reporter(settings: Settings) -> None:
    """Run the reporter until SIGTERM. Raises UserError where nothing is to be reported."""
    if not settings.reports.enabled:
        raise UserError(
            "there is nothing to report to: set SENTINEL_REPORTS__WERCKER_API__URL, __CLOUD_EVENTS__URL, "
            "__COMMIT_STATUSES or __NAMESPACE_SECRETS"
        )
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None  # noqa: S101 - we are one
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        main.cancel()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop)
    try:
        await _run(settings)
    except asyncio.CancelledError:
        if not stopped:
            raise


async def _run(settings: Settings) -> None:
    identity = settings.pod_name or socket.gethostname()
    clock = SystemClock()
    health = Health()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve_health(health, port=settings.health_port))
        kube = await stack.enter_async_context(
            await Kube.connect(user_agent=f"sentinel-reporter/{__version__}")
        )
        lease = LeaderLease(kube, name=LEASE, namespace=settings.pod_namespace, identity=identity)
        # A rollout must not wait for something that only a leader has.
        health.ready = True
        health.checks["lease"] = lambda: "it was not renewed in time" if lease.stale else ""
        log.info("version %s, waiting for the Lease %s as %s", __version__, LEASE, identity)
        LEADING.labels(LEASE).set(0)
        await lease.acquire()
        LEADING.labels(LEASE).set(1)
        log.info("leading as %s", identity)
        stack.push_async_callback(lease.release)
        recorder = Recorder(kube, instance=identity, controller=CONTROLLER)
        stack.push_async_callback(recorder.close)
        cursors = Cursors(kube, namespace=settings.pod_namespace)
        await cursors.load()
        ours = await stack.enter_async_context(
            Sender(
                _release_policy(settings),
                clock=clock,
                timeout=settings.reports.timeout_seconds,
                ca=settings.source.ca,
            )
        )
        theirs = await stack.enter_async_context(
            Sender(
                settings.network.policy(),
                clock=clock,
                timeout=settings.reports.timeout_seconds,
                ca=settings.ca,
            )
        )

        async def send(post: Post, *, ours_: bool, secret: bool) -> Answer:
            return await (ours if ours_ else theirs).send(post, secret=secret)

        def tell(raw: dict[str, Any], reason: str, note: str) -> None:
            recorder.record(raw, reason=reason, action="Report", note=note, type="Warning")

        store = ObjectStore.from_settings(settings.store)
        if store is not None:
            stack.callback(store.close)
        outbox = Outbox(
            settings=settings,
            cursors=cursors,
            destinations=Destinations(settings.reports, kube=kube, clock=clock),
            send=lambda post, *, ours, secret: send(post, ours_=ours, secret=secret),
            store=store,
            tell=tell,
            clock=clock,
        )
        WAITING.set_function(lambda: outbox.waiting)
        FAILING.set_function(lambda: sum(bool(lane.failures) for lane in outbox.lanes.values()))
        outbox.begin()
        await cursors.flush()
        health.leading = True
        places: list[str | None] = [*settings.namespaces] or [None]
        selector = of_instance(settings.instance)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_end_when_lost(lease), name="lease")
                group.create_task(outbox.run(), name="outbox")
                group.create_task(outbox.flush_forever(), name="cursors")
                group.create_task(
                    _resync_forever(kube, outbox, places, clock, selector), name="resync"
                )
                for place in places:
                    group.create_task(
                        _watch_forever(kube, outbox, place, clock, selector), name="watch"
                    )
        finally:
            # What was delivered in the last second must not be delivered again.
            await asyncio.shield(_flush(cursors))


async def _flush(cursors: Cursors) -> None:
    try:
        await cursors.flush()
    except SentinelError as error:
        log.warning("some reports will be sent again: %s", error.message)


def _release_policy(settings: Settings) -> Policy:
    """The address rules, with the receivers that an administrator named as exceptions of the cluster's ranges."""
    reports = settings.reports
    policy = settings.network.policy()
    urls = [
        reports.wercker_api.url,
        reports.cloud_events.url,
        *(host.api_url for host in reports.commit_statuses),
    ]
    for url in urls:
        if url:
            policy = policy.with_host(parse_web_address(url).hostname)
    return policy


async def _end_when_lost(lease: LeaderLease) -> None:
    try:
        await lease.run()
    finally:
        if lease.lost.is_set():
            log.critical("lost leadership; restarting")
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves


async def _watch_forever(
    kube: Kube, outbox: Outbox, namespace: str | None, clock: Clock, selector: str
) -> None:
    """Offer every Build that `selector` has, and each change of it.

    A watch without a resourceVersion begins with all that there are, in no order. Until a bookmark says that all of
    them came, a watch that breaks is begun from the start: a version of one of them would skip the others.
    """
    version = ""
    while True:
        try:
            async with aclosing(
                kube.watch(BUILDS, namespace=namespace, labels=selector, resource_version=version)
            ) as changes:
                async for kind, raw in changes:
                    if version or kind == "BOOKMARK":
                        version = str(raw["metadata"].get("resourceVersion", version))
                    if kind == "BOOKMARK":
                        continue
                    _offer(outbox, raw, deleted=kind == "DELETED")
        except Expired:
            version = ""
        except SentinelError as error:
            log.warning("the watch of Builds begins again: %s", error.message)
            await clock.sleep(RETRY_SECONDS)


async def _resync_forever(
    kube: Kube, outbox: Outbox, places: list[str | None], clock: Clock, selector: str
) -> None:
    """List all Builds now and then: what was deleted while no watch ran has left no other trace."""
    while True:
        await clock.sleep(RESYNC_SECONDS)
        try:
            # One that is created meanwhile may be in no page, and is not missing.
            known = outbox.known
            present: set[str] = set()
            reported: set[str] = set()
            for namespace in places:
                async for raw in kube.each(BUILDS, namespace=namespace, labels=selector):
                    present.add(raw["metadata"]["uid"])
                    if not outbox.is_past(raw):
                        reported.add(raw["metadata"]["uid"])
                        _offer(outbox, raw)
            outbox.missing(known - present)
            outbox.keep_only(reported)
        except SentinelError as error:
            log.warning("resync failed: %s", error.message)


def _offer(outbox: Outbox, raw: dict[str, Any], *, deleted: bool = False) -> None:
    try:
        outbox.offer(raw, deleted=deleted)
    except Exception:
        log.exception("a Build is not reported")
