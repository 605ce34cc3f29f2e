"""`sentinel logs`: what a build's steps print, live from its box, and from the results API once it is over.

Live bytes come over an exec attach of our own beside the operator's; a caller who may not `create` pods/exec gets them
from the pod's log (`get` on pods/log), as far as the node has it.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import click

from sentinel import __version__
from sentinel.api.build import Build, StepStatus
from sentinel.api.conditions import ConditionType, Phase, get_condition
from sentinel.backoff import Backoff
from sentinel.cli.cluster import build_argument, run
from sentinel.cli.options import duration
from sentinel.cli.podlog import PodLog
from sentinel.cli.printer import Printer
from sentinel.cli.results import NoResultsApi, OwnStore, ResultsApi
from sentinel.cli.wait import PATIENCE
from sentinel.config.findings import visible
from sentinel.errors import GoneError, InfrastructureError, NotYet, TransientError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden, NotFound, Unavailable
from sentinel.kube.resources import BUILDS
from sentinel.layout import BOXKIT
from sentinel.plan.names import BOX
from sentinel.session.client import Session
from sentinel.session.stream import ByteStream

ATTACH = (BOXKIT, "attach")
MOST_LINES = 100_000
"""Lines of a pod's log that are read at once."""
LOOK_EVERY = 0.2
"""Seconds between two looks at the Build: for its pod to appear, and for its end."""
AGAIN = Backoff(first=0.2, longest=5.0)
"""Pauses between two tries to read a pod's log."""
ANSWERS_WITHIN = 10.0
"""Seconds that a box whose steps run may take to answer; without --follow nothing is printed after them."""


@click.command()
@build_argument
@click.option("-f", "--follow", is_flag=True, help="Follow until the build has finished.")
@click.option("--step", default="", help="Only the step of this name, unmodified.")
@click.option(
    "--since",
    metavar="DURATION",
    callback=duration,
    help="Only the steps that ran in this time, such as 90s or 1h30m.",
)
def logs(build: str, namespace: str, follow: bool, step: str, since: float | None) -> None:
    """Print the logs of BUILD's steps."""
    run(print_logs(build, namespace, follow=follow, only=step, since=since))


async def print_logs(
    name: str, namespace: str, *, follow: bool, only: str = "", since: float | None = None
) -> None:
    """Write the logs to standard output. An empty namespace is the kubeconfig's. Raises SentinelError."""
    async with await Kube.connect(user_agent=f"sentinel-logs/{__version__}") as kube:
        namespace = namespace or kube.namespace
        begin = None if since is None else datetime.now(UTC) - timedelta(seconds=since)
        printer = Printer(sys.stdout.buffer, only=only, since=begin, terminal=sys.stdout.isatty())
        followed = _Followed(kube, await _read(kube, name, namespace))
        if not _finished(followed.build):
            await _live(kube, followed, printer, only=only, follow=follow)
        build = followed.build
        _check_step(build, only, printer)
        if _finished(build):
            await _stored(kube, build, printer)


async def _read(kube: Kube, name: str, namespace: str) -> Build:
    try:
        return Build.parse(await kube.get(BUILDS, namespace=namespace, name=name))
    except NotFound:
        raise GoneError(
            f"there is no Build {name!r} in namespace {namespace!r}; `sentinel list -n {namespace}` lists the others"
        ) from None


class _Followed:
    """A Build that is read again and again; `build` is what the last answer had."""

    def __init__(self, kube: Kube, build: Build) -> None:
        self.build = build
        self._kube = kube
        self._failing: float | None = None
        """When the first look since the last answer failed. While a pod log is read it is long from one to the next."""

    async def look(self) -> Build:
        """Read it; an API server that restarts is waited for, as `sentinel wait` does it.

        Raises GoneError where the Build was deleted, TransientError after PATIENCE seconds without an answer.
        """
        known, now = self.build, asyncio.get_running_loop().time()
        try:
            found = await _read(self._kube, known.name, known.namespace)
        except TransientError:
            self._failing = now if self._failing is None else self._failing
            if now - self._failing > PATIENCE:
                raise
            return known
        self._failing = None
        if found.uid != known.uid:
            raise GoneError(
                f"Build {known.name} was deleted, and another one of its name was created"
            )
        self.build = found
        return found


def _check_step(build: Build, only: str, printer: Printer) -> None:
    """Raises GoneError where the Build has steps and none of them is the wanted one."""
    if build.status.steps and not any(printer.names(step) for step in build.status.steps):
        names = ", ".join(visible(step.display_name or step.name) for step in build.status.steps)
        raise GoneError(f"Build {build.name} has no step {only!r}; its steps are: {names}")


def _finished(build: Build) -> bool:
    finished = get_condition(build.status.conditions, ConditionType.FINISHED)
    return finished is not None and finished.status == "True"


async def _live(
    kube: Kube, followed: _Followed, printer: Printer, *, only: str, follow: bool
) -> None:
    """Print logs from the box until the build is over; without `follow` until nothing comes for a moment."""
    denied: list[Forbidden] = []

    async def connect() -> ByteStream:
        pod = followed.build.status.pod
        if pod is None or not pod.name:
            raise NotYet("the build has no pod yet")
        try:
            return await kube.exec(
                namespace=followed.build.namespace, pod=pod.name, container=BOX, command=ATTACH
            )
        except NotFound as e:
            raise NotYet(e.message) from e
        except Forbidden as e:
            denied.append(e)
            raise

    def heard(ordinal: int, offset: int, data: bytes) -> None:
        ran = {
            o for o, step in session.state.steps.items() if step.state in ("running", "finished")
        }
        printer.take(followed.build.status.steps, ordinal, offset, data, ran=ran)

    async with Session(connect, on_log=heard) as session:
        quiet, silent = 0, 0.0
        while not _finished(followed.build) and session.state.closed is None:
            if denied:
                await _by_pod_log(kube, followed, printer, follow=follow, denied=denied[0])
                return
            seen = printer.bytes
            _check_step(followed.build, only, printer)
            await asyncio.sleep(LOOK_EVERY)
            await followed.look()
            if session.welcome is None and _runs(followed.build) and silent < ANSWERS_WITHIN:
                # There is a box, and it has what its steps have printed: it is only slow to answer.
                silent += LOOK_EVERY
                continue
            quiet = quiet + 1 if printer.bytes == seen else 0
            if not follow and quiet * LOOK_EVERY >= 1.0:
                return
    while follow and not _finished(followed.build):
        await asyncio.sleep(LOOK_EVERY)
        await followed.look()


def _runs(build: Build) -> bool:
    """Whether steps run, so that there is a box with what they have printed."""
    return build.status.phase in (Phase.RUNNING, Phase.FINISHING)


async def _by_pod_log(
    kube: Kube, followed: _Followed, printer: Printer, *, follow: bool, denied: Forbidden
) -> None:
    """Print the logs from the pod's own log; with `follow` until the build is over.

    Raises `denied`, the refusal of the exec, where the caller may not read that either.
    """
    pod, log = followed.build.status.pod, PodLog()
    if pod is None:
        raise denied

    async def take(data: bytes) -> None:
        if log.step == 0:
            await followed.look()
        steps = followed.build.status.steps
        for ordinal, part in log.feed(data, steps):
            ran = set(range(1, ordinal + 1))
            printer.take(steps, ordinal, printer.have(ordinal), part, ran=ran)
            printer.complete(ordinal)

    namespace, name = followed.build.namespace, pod.name
    taken = tried = 0
    while not _finished(followed.build):
        # Every try begins with the first byte of the log.
        known = taken
        tried += 1
        try:
            if not follow:
                printed = await kube.logs(
                    namespace=namespace, pod=name, container=BOX, tail_lines=MOST_LINES
                )
                await take(printed)
                return
            async with aclosing(kube.follow(namespace=namespace, pod=name, container=BOX)) as data:
                async for piece in data:
                    fresh, known = piece[known:], max(known - len(piece), 0)
                    taken += len(fresh)
                    if fresh:
                        tried = 1
                        await take(fresh)
            break
        except Forbidden:
            raise denied from None
        except NotFound:
            break
        except NotYet:
            if not follow:
                return
        except Unavailable:
            # The connection was cut, or silent for long.
            if not follow:
                raise
        await asyncio.sleep(AGAIN.pause(tried))
        await followed.look()
    while follow and not _finished(followed.build):
        await asyncio.sleep(LOOK_EVERY)
        await followed.look()


async def _stored(kube: Kube, build: Build, printer: Printer) -> None:
    """Print what the store has and was not printed yet."""
    started = [
        (ordinal, step)
        for ordinal, step in enumerate(build.status.steps, start=1)
        if step.start_time and printer.wants(step) and not printer.is_complete(ordinal)
    ]
    if not started:
        return
    if build.status.results is None:
        pod = build.status.pod.name if build.status.pod else "POD"
        raise GoneError(
            f"Build {build.name} has finished and stored nothing; without an object store its pod keeps the logs: "
            f"`kubectl logs -n {build.namespace} {pod} -c {BOX}`"
        )
    try:
        await _print(
            ResultsApi(kube, namespace=build.namespace, name=build.name), build, started, printer
        )
    except NoResultsApi as error:
        prefix = build.status.results.prefix
        store = OwnStore.open(prefix)
        if store is None:
            raise GoneError(
                f"Build {build.name} has finished, and {error.message}. To read its logs from the store itself, "
                f"below {prefix}, set SENTINEL_STORE__BUCKET, SENTINEL_STORE__ENDPOINT and, if needed, "
                "SENTINEL_STORE__ACCESS_KEY_ID and SENTINEL_STORE__SECRET_ACCESS_KEY, or for a directory store "
                "SENTINEL_STORE__URL and SENTINEL_STORE__KEY"
            ) from error
        try:
            await _print(store, build, started, printer)
        finally:
            store.close()


async def _print(
    source: ResultsApi | OwnStore,
    build: Build,
    started: list[tuple[int, StepStatus]],
    printer: Printer,
) -> None:
    """Raises GoneError at the end, where logs are missing."""
    missing, wrong = [], []
    ran = {ordinal for ordinal, _ in started}
    for ordinal, step in started:
        name = visible(step.display_name or step.name)
        try:
            async with aclosing(source.log(step.id, start=printer.have(ordinal))) as data:
                async for piece in data:
                    printer.take(build.status.steps, ordinal, printer.have(ordinal), piece, ran=ran)
        except GoneError:
            # A box that was killed uploads nothing more: the other steps' logs are there all the same.
            missing.append(name)
            ran.discard(ordinal)
            continue
        except InfrastructureError as e:
            wrong.append(f"the log of {name}: {e.message}")
            ran.discard(ordinal)
            continue
        printer.take(build.status.steps, ordinal, printer.have(ordinal), b"", ran=ran)
    if missing:
        wrong.append(f"no log in the store for: {', '.join(missing)}")
    if wrong:
        raise GoneError("; ".join(wrong))
