"""`sentinel logs`: what a build's steps print, live from its box, and from the object store once it is over.

Live bytes come over an exec attach of our own beside the operator's (the caller needs `create` on pods/exec). The
store is read with the caller's own access: SENTINEL_STORE__BUCKET, __ENDPOINT, __ACCESS_KEY_ID, __SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Set
from contextlib import suppress
from typing import BinaryIO

import click

from sentinel import __version__
from sentinel.api.build import Build, StepStatus
from sentinel.api.conditions import ConditionType, get_condition
from sentinel.errors import GoneError, NotYet, SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import BUILDS
from sentinel.plan.keys import step_log
from sentinel.plan.names import BOX
from sentinel.session.client import ByteStream, Session
from sentinel.settings import Settings
from sentinel.store.s3 import ObjectStore

BOXKIT = ("/run/sentinel/kit/boxkit", "attach")
LOOK_EVERY = 0.2
"""Seconds between two looks at the Build: for its pod to appear, and for its end."""


@click.command()
@click.argument("build")
@click.option(
    "-n", "--namespace", default="default", show_default=True, help="The Build's namespace."
)
@click.option("-f", "--follow", is_flag=True, help="Go on until the build has finished.")
@click.option("--step", default="", help="Only the step of this name; its bytes as they are.")
def logs(build: str, namespace: str, follow: bool, step: str) -> None:
    """Print the logs of BUILD's steps."""
    try:
        asyncio.run(_logs(build, namespace, follow=follow, only=step))
    except SentinelError as e:
        raise click.ClickException(e.message) from e


async def _logs(name: str, namespace: str, *, follow: bool, only: str) -> None:
    async with await Kube.connect(user_agent=f"sentinel-logs/{__version__}") as kube:
        printer = _Printer(sys.stdout.buffer, only=only)
        build = await _read(kube, name, namespace)
        if not _finished(build):
            await _live(kube, build, printer, follow=follow)
            build = await _read(kube, name, namespace)
        if _finished(build):
            await _stored(build, printer)


async def _read(kube: Kube, name: str, namespace: str) -> Build:
    try:
        return Build.parse(await kube.get(BUILDS, namespace=namespace, name=name))
    except NotFound:
        raise GoneError(f"there is no Build {name!r} in namespace {namespace!r}") from None


def _finished(build: Build) -> bool:
    finished = get_condition(build.status.conditions, ConditionType.FINISHED)
    return finished is not None and finished.status == "True"


async def _live(kube: Kube, build: Build, printer: _Printer, *, follow: bool) -> None:
    """Print what the box says, until the build is over; without `follow` until it says nothing for a moment."""
    current = build

    async def connect() -> ByteStream:
        pod = current.status.pod
        if pod is None or not pod.name:
            raise NotYet("the build has no pod yet")
        try:
            return await kube.exec(
                namespace=current.namespace, pod=pod.name, container=BOX, command=BOXKIT
            )
        except NotFound as e:
            raise NotYet(e.message) from e

    def heard(ordinal: int, offset: int, data: bytes) -> None:
        ran = {
            o for o, step in session.state.steps.items() if step.state in ("running", "finished")
        }
        printer.take(current.status.steps, ordinal, offset, data, ran=ran)

    async with Session(connect, on_log=heard) as session:
        quiet = 0
        while not _finished(current) and session.state.closed is None:
            seen = printer.bytes
            await asyncio.sleep(LOOK_EVERY)
            with suppress(NotFound):
                current = await _read(kube, build.name, build.namespace)
            quiet = quiet + 1 if printer.bytes == seen else 0
            if not follow and quiet * LOOK_EVERY >= 1.0:
                return
    while follow and not _finished(current):
        await asyncio.sleep(LOOK_EVERY)
        current = await _read(kube, build.name, build.namespace)


async def _stored(build: Build, printer: _Printer) -> None:
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
        place = f"below {results.prefix} in the operator's bucket" if results else "in its pod"
        raise GoneError(
            f"Build {build.name} has finished; its logs lie {place}. To read them here set SENTINEL_STORE__BUCKET, "
            "SENTINEL_STORE__ENDPOINT and, if needed, SENTINEL_STORE__ACCESS_KEY_ID and "
            "SENTINEL_STORE__SECRET_ACCESS_KEY; without a store use kubectl logs"
        )
    try:
        for ordinal, step in started:
            data = await store.get(step_log(results.prefix, step.id))
            have = printer.have(ordinal)
            printer.take(
                build.status.steps, ordinal, have, data[have:], ran={o for o, _ in started}
            )
    finally:
        store.close()


class _Printer:
    """Writes log bytes, each once, under a headline per step; with `only` one step's bytes and nothing else."""

    def __init__(self, out: BinaryIO, *, only: str) -> None:
        self.bytes = 0
        self._out = out
        self._only = only
        self._have: dict[int, int] = {}
        self._titled = 0
        self._bold, self._plain = (b"\033[1m", b"\033[0m") if sys.stdout.isatty() else (b"", b"")

    def have(self, ordinal: int) -> int:
        """How many bytes of a step's log were printed."""
        return self._have.get(ordinal, 0)

    def wants(self, step: StepStatus) -> bool:
        """Whether this step is printed at all."""
        return not self._only or self._only in (step.display_name, step.name, step.id)

    def take(
        self, steps: list[StepStatus], ordinal: int, offset: int, data: bytes, *, ran: Set[int]
    ) -> None:
        """Bytes of a step's log at `offset`. Steps of `ran` before it that printed nothing get their headline too."""
        step = steps[ordinal - 1] if ordinal <= len(steps) else None
        if step is not None and not self.wants(step):
            return
        for each in range(self._titled + 1, ordinal + 1):
            if not self._only and (each in ran or each == ordinal):
                self._title(steps, each)
        self._titled = max(self._titled, ordinal)
        self._have[ordinal] = offset + len(data)
        self.bytes += len(data)
        self._out.write(data)
        self._out.flush()

    def _title(self, steps: list[StepStatus], ordinal: int) -> None:
        step = steps[ordinal - 1] if ordinal <= len(steps) else None
        title = (step.display_name or step.name) if step is not None else f"step {ordinal}"
        self._out.write(self._bold + f"▶ {title}".encode() + self._plain + b"\n")
