"""The agent put together: it thaws what a dead predecessor froze, then does its node's commits.

kopf brings the objects, workers do the work. There is no port: the probes look at files (`observe/health.py`).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kopf

from sentinel import __version__
from sentinel.agent.commit import run_commit
from sentinel.agent.indexes import PREFIX as INDEX_PREFIX
from sentinel.agent.queue import TOGETHER, Queue
from sentinel.agent.runtimes.base import Runtime
from sentinel.agent.runtimes.containerd import ContainerdRuntime
from sentinel.agent.runtimes.docker import DockerRuntime
from sentinel.agent.spool import PREFIX, Spool
from sentinel.agent.threads import Threads
from sentinel.agent.tools import Tools, status_of
from sentinel.api import GROUP, VERSION
from sentinel.api.imagecommit import NODE_LABEL, UNFINISHED, CommitPhase, ImageCommitStatus
from sentinel.clock import Clock, SystemClock
from sentinel.errors import SentinelError, UserError
from sentinel.kube.client import Kube
from sentinel.kube.resources import IMAGE_COMMITS
from sentinel.kube.watches import WatchTasks, check_installed, log_in, tune
from sentinel.observe.health import BEAT_SECONDS, Health, beat
from sentinel.plan.names import of_instance
from sentinel.settings import Settings

log = logging.getLogger(__name__)

_CAP_DAC_READ_SEARCH, _CAP_SYS_ADMIN = 2, 21


async def run_agent(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run the agent until SIGTERM, or until `stop` is set.

    Raises UserError when it cannot work on this node: no node name, missing capabilities; CommitFailure when the node's
    runtime does not answer, or is not one that boxes can be committed from.
    """
    check_settings(settings)
    check_capabilities(await asyncio.to_thread(Path("/proc/self/status").read_text))
    clock = SystemClock()
    health = Health()
    beating = asyncio.create_task(beat_forever(health, Path(settings.spool), clock), name="beat")
    runtime = make_runtime(settings, clock)
    try:
        await start(runtime, settings)
        async with await Kube.connect(user_agent=f"sentinel-agent/{__version__}") as kube:
            await check_installed(kube, IMAGE_COMMITS, namespaces=settings.namespaces)
            tools = Tools(
                kube=kube,
                runtime=runtime,
                settings=settings,
                clock=clock,
                boot_id=str(uuid.uuid4()),
                spool=Spool(Path(settings.spool), most=settings.spool_bytes),
                threads=Threads(clock),
            )
            queue = Queue(clock=clock)
            health.checks |= {
                "threads": tools.threads.problem,
                "commits": queue.problem,
                "watch": WatchTasks(
                    IMAGE_COMMITS, namespaces=settings.namespaces, clock=clock
                ).problem,
            }
            # Created before kopf starts: when it stops, kopf cancels every task that is younger.
            ours = [
                *(
                    asyncio.create_task(work_forever(queue, tools), name=f"commits-{number}")
                    for number in range(TOGETHER)
                ),
                asyncio.create_task(announce_forever(queue, tools), name="announcements"),
                asyncio.create_task(resync_forever(queue, tools, clock), name="resync"),
            ]
            for task in ours:
                health.follow(task)
            health.ready = True
            try:
                await kopf.operator(
                    registry=make_registry(queue, settings),
                    standalone=True,
                    clusterwide=not settings.namespaces,
                    namespaces=settings.namespaces,
                    stop_flag=stop,
                )
            finally:
                # A commit under way thaws its box before it ends.
                for task in ours:
                    task.cancel()
                await asyncio.gather(*ours, return_exceptions=True)
    finally:
        beating.cancel()
        await runtime.close()


def make_runtime(settings: Settings, clock: Clock) -> Runtime:
    """The node's runtime. The DaemonSet decides which: it mounts that one's socket and files and no other's."""
    if settings.agent_runtime == "docker":
        return DockerRuntime(
            socket=settings.docker_socket,
            state=settings.docker_state,
            root=settings.runtime_root,
            instance=settings.instance,
            clock=clock,
        )
    return ContainerdRuntime(
        socket=settings.containerd_socket,
        state=settings.containerd_state,
        root=settings.runtime_root,
        instance=settings.instance,
        clock=clock,
    )


async def start(runtime: Runtime, settings: Settings) -> None:
    """Thaw what was left frozen and empty the spool (images.md)."""
    version = await runtime.version()
    for container in await runtime.recover():
        log.warning("container %s was left paused by an earlier agent: resumed it", container)
    await asyncio.to_thread(empty_spool, Path(settings.spool))
    log.info("agent %s of node %s, %s", __version__, settings.node_name, version)


def empty_spool(spool: Path) -> None:
    """Make the spool, and remove the layers and indexes that a dead predecessor left in it."""
    spool.mkdir(parents=True, exist_ok=True)
    for left in spool.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    for index in spool.glob(f"{INDEX_PREFIX}*"):
        index.unlink(missing_ok=True)


async def work_forever(queue: Queue, tools: Tools) -> None:
    """Do the queue's commits, one after another; several workers do several at once."""
    while True:
        async with queue.next() as (namespace, name):
            try:
                await run_commit(namespace=namespace, name=name, tools=tools)
            except SentinelError as error:
                # The object is unchanged, so the next list brings it again.
                log.warning("commit %s/%s is retried later: %s", namespace, name, error)
            except Exception:
                # A bug that one object triggers must not end the work on all others.
                log.exception("commit %s/%s is retried later", namespace, name)


async def announce_forever(queue: Queue, tools: Tools) -> None:
    """Write Pending into commits that have to wait for others: the operator then knows that there is an agent."""
    while True:
        raw = await queue.behind.get()
        try:
            await status_of(raw, tools).write(
                ImageCommitStatus(
                    phase=CommitPhase.PENDING,
                    message="waiting for other commits on this node",
                )
            )
        except SentinelError as error:
            log.info("commit %s was not set to Pending: %s", raw["metadata"]["name"], error)


async def resync_forever(queue: Queue, tools: Tools, clock: Clock) -> None:
    """List our objects now and then, in case the watch missed some."""
    while True:
        await clock.sleep(tools.settings.resync_seconds)
        places: list[str | None] = [*tools.settings.namespaces] or [None]
        for namespace in places:
            try:
                items, _ = await tools.kube.list(
                    IMAGE_COMMITS, namespace=namespace, labels=selector(tools.settings)
                )
            except SentinelError as error:
                log.warning("listing commits failed: %s", error)
                continue
            for item in items:
                queue.offer(item)


async def beat_forever(health: Health, folder: Path, clock: Clock) -> None:
    """Keep the files that the probes look at: the agent has no port."""
    while True:
        beat(health, folder)
        await clock.sleep(BEAT_SECONDS)


def make_registry(queue: Queue, settings: Settings) -> kopf.OperatorRegistry:
    """kopf's handlers: the watch selects our node's commits by label, and each is only put into the queue."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        tune(settings)
        settings.watching.label_selectors[GROUP, "imagecommits"] = own

    kopf.on.login(registry=registry)(log_in)

    @kopf.on.event(GROUP, VERSION, "imagecommits", registry=registry)
    async def offer(event: kopf.RawEvent, **_: Any) -> None:
        if event["type"] != "DELETED":
            queue.offer(dict(event["object"]))

    own = selector(settings)
    return registry


def selector(settings: Settings) -> str:
    """The label selector for the commits of our node and installation that have not ended."""
    return of_instance(settings.instance, f"{NODE_LABEL}={settings.node_name},{UNFINISHED}")


def check_settings(settings: Settings) -> None:
    """Raises UserError when the DaemonSet does not say where we are."""
    if not settings.node_name:
        raise UserError(
            "SENTINEL_NODE_NAME is not set: give the agent its node's name from spec.nodeName (downward API)"
        )


def check_capabilities(status: str) -> None:
    """Without these two, deleted directories would silently come back in the image (images.md).

    `status` is the text of /proc/self/status. Raises UserError.
    """
    effective = next(
        (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0
    )
    missing = list(_missing(effective))
    if missing:
        raise UserError(
            f"the agent lacks {' and '.join(missing)}: run it as uid 0 with these two capabilities added"
        )


def _missing(effective: int) -> Iterator[str]:
    if not effective >> _CAP_DAC_READ_SEARCH & 1:
        yield "CAP_DAC_READ_SEARCH"
    if not effective >> _CAP_SYS_ADMIN & 1:
        yield "CAP_SYS_ADMIN"
