"""`sentinel logs`: what a build's steps print, live from its box, and from the object store once it is over.

Live bytes come over an exec attach of our own beside the operator's (the caller needs `create` on pods/exec). The
store is read with the caller's own access: SENTINEL_STORE__BUCKET, __ENDPOINT, __ACCESS_KEY_ID, __SECRET_ACCESS_KEY;
for a directory store __URL and __KEY.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import click

from sentinel import __version__
from sentinel.api.build import Build
from sentinel.api.conditions import ConditionType, get_condition
from sentinel.cli.cluster import build_argument, run
from sentinel.cli.printer import Printer
from sentinel.config.findings import visible
from sentinel.errors import GoneError, InfrastructureError, NotYet
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import BUILDS
from sentinel.layout import BOXKIT
from sentinel.plan.keys import step_log
from sentinel.plan.names import BOX
from sentinel.session.client import Session
from sentinel.session.stream import ByteStream
from sentinel.settings import Settings
from sentinel.store.objects import ObjectStore

ATTACH = (BOXKIT, "attach")
LOOK_EVERY = 0.2
"""Seconds between two looks at the Build: for its pod to appear, and for its end."""


@click.command()
@build_argument
@click.option("-f", "--follow", is_flag=True, help="Follow until the build has finished.")
@click.option("--step", default="", help="Only the step of this name, unmodified.")
def logs(build: str, namespace: str, follow: bool, step: str) -> None:
    """Print the logs of BUILD's steps."""
    run(print_logs(build, namespace, follow=follow, only=step))


async def print_logs(name: str, namespace: str, *, follow: bool, only: str = "") -> None:
    """Write the logs to standard output. An empty namespace is the kubeconfig's. Raises SentinelError."""
    async with await Kube.connect(user_agent=f"sentinel-logs/{__version__}") as kube:
        namespace = namespace or kube.namespace
        printer = Printer(sys.stdout.buffer, only=only, terminal=sys.stdout.isatty())
        build = await _read(kube, name, namespace)
        if not _finished(build):
            await _live(kube, build, printer, only=only, follow=follow)
            build = await _read(kube, name, namespace)
        _check_step(build, only, printer)
        if _finished(build):
            await _stored(build, printer)


async def _read(kube: Kube, name: str, namespace: str) -> Build:
    try:
        return Build.parse(await kube.get(BUILDS, namespace=namespace, name=name))
    except NotFound:
        raise GoneError(f"there is no Build {name!r} in namespace {namespace!r}") from None


def _check_step(build: Build, only: str, printer: Printer) -> None:
    """Raises GoneError where the Build has steps and none of them is the wanted one."""
    if build.status.steps and not any(printer.wants(step) for step in build.status.steps):
        names = ", ".join(visible(step.display_name or step.name) for step in build.status.steps)
        raise GoneError(f"Build {build.name} has no step {only!r}; its steps are: {names}")


def _finished(build: Build) -> bool:
    finished = get_condition(build.status.conditions, ConditionType.FINISHED)
    return finished is not None and finished.status == "True"


async def _live(kube: Kube, build: Build, printer: Printer, *, only: str, follow: bool) -> None:
    """Print logs from the box until the build is over; without `follow` until nothing comes for a moment."""
    current = build
    denied: list[Forbidden] = []

    async def connect() -> ByteStream:
        pod = current.status.pod
        if pod is None or not pod.name:
            raise NotYet("the build has no pod yet")
        try:
            return await kube.exec(
                namespace=current.namespace, pod=pod.name, container=BOX, command=ATTACH
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
        printer.take(current.status.steps, ordinal, offset, data, ran=ran)

    async with Session(connect, on_log=heard) as session:
        quiet = 0
        while not _finished(current) and session.state.closed is None:
            if denied:
                raise denied[0]
            seen = printer.bytes
            _check_step(current, only, printer)
            await asyncio.sleep(LOOK_EVERY)
            with suppress(NotFound):
                current = await _read(kube, build.name, build.namespace)
            quiet = quiet + 1 if printer.bytes == seen else 0
            if not follow and quiet * LOOK_EVERY >= 1.0:
                return
    while follow and not _finished(current):
        await asyncio.sleep(LOOK_EVERY)
        current = await _read(kube, build.name, build.namespace)


async def _stored(build: Build, printer: Printer) -> None:
    """Print what the store has and was not printed yet."""
    started = [
        (ordinal, step)
        for ordinal, step in enumerate(build.status.steps, start=1)
        if step.start_time and printer.wants(step)
    ]
    results = build.status.results
    if not started:
        return
    store = ObjectStore.from_settings(Settings().store)
    if store is None or results is None:
        place = f"below {results.prefix} in the operator's store" if results else "in its pod"
        raise GoneError(
            f"Build {build.name} has finished; its logs are {place}. To read them here set SENTINEL_STORE__BUCKET, "
            "SENTINEL_STORE__ENDPOINT and, if needed, SENTINEL_STORE__ACCESS_KEY_ID and "
            "SENTINEL_STORE__SECRET_ACCESS_KEY, or for a directory store SENTINEL_STORE__URL and SENTINEL_STORE__KEY; "
            "without a store use kubectl logs"
        )
    missing, wrong = [], []
    ran = {ordinal for ordinal, _ in started}
    try:
        for ordinal, step in started:
            try:
                data = await store.get(step_log(results.prefix, step.id))
            except GoneError:
                # A box that was killed uploads nothing more: the other steps' logs are there all the same.
                missing.append(visible(step.display_name or step.name))
                ran.discard(ordinal)
                continue
            except InfrastructureError as e:
                wrong.append(f"the log of {visible(step.display_name or step.name)}: {e.message}")
                ran.discard(ordinal)
                continue
            have = printer.have(ordinal)
            printer.take(build.status.steps, ordinal, have, data[have:], ran=ran)
    finally:
        store.close()
    if missing:
        wrong.append(f"no log in the store for: {', '.join(missing)}")
    if wrong:
        raise GoneError("; ".join(wrong))
