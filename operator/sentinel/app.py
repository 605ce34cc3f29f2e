"""The operator put together: what is made once, in which order it starts, and how it stops.

What must outlive kopf's own tasks (the Lease, health, the API client) is made before kopf starts: at its end kopf
takes every task that came after it for its own (kubernetes.md).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import kopf
from pydantic import SecretStr

from sentinel import __version__
from sentinel.api.build import Build
from sentinel.clock import SystemClock
from sentinel.engine.board import Board
from sentinel.engine.build import run_build, say_queued
from sentinel.engine.events import EventReporter
from sentinel.engine.keys import load_keys, load_store_key
from sentinel.engine.metrics import BuildMetrics
from sentinel.engine.reporter import Reporters
from sentinel.engine.run import Run, Tools
from sentinel.engine.status import StatusWriter
from sentinel.engine.supervisor import Supervisor
from sentinel.engine.sweep import sweep_forever
from sentinel.engine.workflow import Reconciler
from sentinel.engine.workflows import Workflows
from sentinel.errors import UserError
from sentinel.handlers import make_registry
from sentinel.kube.client import Kube
from sentinel.kube.events import Recorder
from sentinel.kube.lease import LeaderLease
from sentinel.kube.resources import BUILDS, IMAGE_COMMITS, PODS, WORKFLOW_RUNS
from sentinel.kube.watches import WatchTasks, check_installed
from sentinel.observe.health import Health, serve_health
from sentinel.observe.metrics import LEADING, measure_lag
from sentinel.observe.stop import stop_event, until_stopped
from sentinel.resolver.client import Resolver
from sentinel.resolver.local import local_resolver
from sentinel.resolver.shelf import Known, Shelf
from sentinel.retention.cluster import mark_cluster
from sentinel.settings import Settings
from sentinel.store.objects import ObjectStore
from sentinel.store.probe import probe

log = logging.getLogger(__name__)

LEASE = "sentinel-operator"


async def run_operator(settings: Settings) -> None:
    """Run the operator until SIGTERM. If the Lease is lost the process restarts at once: another one leads."""
    # A pod's name survives a restart of its container, so the same pod leads again at once.
    identity = settings.pod_name or socket.gethostname()
    health = Health()
    # A standby waits for days. From here to kopf, which has handlers of its own, a signal must not be lost.
    stopped = stop_event()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve_health(health, port=settings.health_port))
        kube = await stack.enter_async_context(
            await Kube.connect(user_agent=f"sentinel-operator/{__version__}")
        )
        await check_installed(
            kube, BUILDS, IMAGE_COMMITS, WORKFLOW_RUNS, namespaces=settings.namespaces
        )
        # A standby is ready as well: a rollout, or a drain, must not wait for something that only a leader has.
        health.ready = True
        wary = True
        if settings.leader_election:
            lease = LeaderLease(
                kube, name=LEASE, namespace=settings.pod_namespace, identity=identity
            )
            if not await _acquired(lease, identity, stopped):
                return
            wary = await stack.enter_async_context(_leading(lease, health))
        cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentinel-")))
        shelf = Shelf(
            cache / "steps",
            limit=settings.steps.cache_bytes,
            largest=settings.steps.packed_bytes,
        )
        socket_path = settings.resolver.socket
        if not socket_path:
            socket_path = await stack.enter_async_context(local_resolver(settings.resolver, cache))
        keys = await load_keys(
            kube, namespace=settings.pod_namespace, name=settings.plan_key_secret
        )
        settings = await _with_store_key(settings, kube)
        clock = SystemClock()
        tools = Tools(
            kube=kube,
            keys=keys,
            settings=settings,
            wary=wary,
            clock=clock,
            store=ObjectStore.from_settings(settings.store),
            builds=Board(),
            pods=Board(),
            commits=Board(),
            resolver=Resolver(socket_path, settings=settings.resolver, shelf=shelf, clock=clock),
            shelf=shelf,
            known=Known(),
        )
        recorder = Recorder(kube, instance=identity)
        stack.push_async_callback(recorder.close)
        supervisor = Supervisor(
            tools=tools, make_run=_maker(tools, recorder), drive=run_build, queue=say_queued
        )
        stack.push_async_callback(supervisor.drain)
        workflows = Workflows(Reconciler(tools, recorder))
        for work, name in (
            (supervisor.run(), "supervisor"),
            (workflows.run(), "workflows"),
            (sweep_forever(tools, supervisor, workflows), "resync"),
            (measure_lag(), "loop lag"),
        ):
            health.follow(await stack.enter_async_context(_task(work, name=name)))
        if tools.store is not None:
            probing = probe(tools.store, prefix=settings.store.prefix, clock=clock)
            await stack.enter_async_context(_task(probing, name="probe the store"))
            marking = mark_cluster(tools.store, kube, prefix=settings.store.prefix, clock=clock)
            await stack.enter_async_context(_task(marking, name="mark the cluster in the store"))
        health.leading = True
        watches = WatchTasks(
            BUILDS, WORKFLOW_RUNS, PODS, IMAGE_COMMITS, namespaces=settings.namespaces, clock=clock
        )
        health.checks["watches"] = watches.problem
        await kopf.operator(
            registry=make_registry(
                supervisor=supervisor,
                workflows=workflows,
                pods=tools.pods,
                commits=tools.commits,
                keys=keys,
                metrics=BuildMetrics(namespaces=settings.metrics_namespaces),
                instance=settings.instance,
            ),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            stop_flag=stopped,
        )


async def _with_store_key(settings: Settings, kube: Kube) -> Settings:
    """The settings with the key of a directory store, from its Secret where the environment has none."""
    store = settings.store
    if not store.url or store.key.get_secret_value():
        return settings
    key = await load_store_key(kube, namespace=settings.pod_namespace, name=store.key_secret)
    store = store.model_copy(update={"key": SecretStr(key)})
    return settings.model_copy(update={"store": store})


async def _acquired(lease: LeaderLease, identity: str, stopped: asyncio.Event) -> bool:
    """Wait for the Lease. False where a signal came first; then we do not hold it."""
    log.info("version %s, waiting for the Lease %s as %s", __version__, LEASE, identity)
    LEADING.labels(LEASE).set(0)
    if await until_stopped(lease.acquire(), stopped=stopped):
        log.info("stopped by a signal while waiting for the Lease %s", LEASE)
        await lease.release()
        return False
    log.info("leading as %s", identity)
    LEADING.labels(LEASE).set(1)
    return True


@asynccontextmanager
async def _leading(lease: LeaderLease, health: Health) -> AsyncIterator[bool]:
    """Hold the Lease, which is ours, while the block runs. Whether the leader before us was killed."""
    health.checks["lease"] = lambda: "it was not renewed in time" if lease.stale else ""
    async with (
        _task(lease.run(), name="lease renewal"),
        _task(_end_when_lost(lease), name="lease lost") as ending,
    ):
        health.follow(ending)
        yield lease.unreleased
    await lease.release()


async def _end_when_lost(lease: LeaderLease) -> None:
    await lease.lost.wait()
    log.critical("lost leadership; restarting. Builds go on in their pods")
    begin_anew()


def begin_anew() -> None:
    """Replace this process by a new one, as abruptly as an exit: no task acts any more, no connection stays.

    Not an exit: an API server that was away for some seconds costs all the Lease, and a container that ends is
    restarted later each time.
    """
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[asyncio.Task[None]]:
    """`work` beside the block, ended with it."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _maker(tools: Tools, recorder: Recorder) -> Any:
    def make_run(raw: dict[str, Any]) -> Run:
        invalid: UserError | None = None
        try:
            build = Build.parse(raw)
        except UserError as e:
            # The server's schema lets little through; what it does must end the Build, not our loop.
            invalid, build = e, Build.parse({**raw, "spec": {"source": {}}})
        return Run(
            build=build,
            invalid=invalid,
            tools=tools,
            writer=StatusWriter(kube=tools.kube, builds=tools.builds, clock=tools.clock, raw=raw),
            report=Reporters([EventReporter(recorder, raw)]),
        )

    return make_run
