"""The logs of a box that ended before it could store them: what the kubelet still has of its output.

All that a box prints is masked before it gets there, under one header line for each step (boxkit/README.md). It is not
the truth: what came last may be missing, and the kubelet keeps ten megabytes. So a log that comes from there says so.
The one case in which log bytes pass through the operator.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from sentinel.api.build import StepStatus
from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.clock import rfc3339
from sentinel.engine.attempt import Attempt
from sentinel.engine.ours import find_pod
from sentinel.engine.run import Run
from sentinel.engine.status import MESSAGE_LIMIT
from sentinel.errors import SentinelError
from sentinel.kube.errors import NotFound
from sentinel.plan.keys import step_log
from sentinel.plan.names import BOX, AttemptId
from sentinel.plan.observe import observe
from sentinel.retry import retry
from sentinel.store.objects import ObjectStore

log = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024 * 1024
"""Of a container's output; the kubelet's default is to keep 10 MiB."""

READ_WITHIN = 10.0
"""Seconds for the output of a box that is being stopped."""

READ_AT_ONCE = 4
"""Outputs that are in memory whole at a time: a drained node ends many boxes together."""

AT_ONCE = Backoff(first=0.05, longest=0.2, tries=4)
"""Pauses where the kubelet does not give the output of a box that got SIGTERM: it may be there for a second only."""

AGAIN = Backoff(first=0.5, longest=2.0, tries=3)
"""Pauses where the kubelet does not give the output of a box that has ended."""

KEPT_BYTES = 512 * 1024
"""Of a box's output, kept until its logs are known to be stored."""

CUT = b"--- sentinel: the beginning of this log is missing\n"

PARTIAL = (
    b"--- sentinel: the box ended before this log was stored; this is what the node had of it\n"
)

_reading = asyncio.Semaphore(READ_AT_ONCE)

_HEADER = re.compile(rb"^--- sentinel step=([0-9]{1,9}) offset=0 id=(\S+) name=.*\n", re.MULTILINE)


async def salvage_logs(run: Run, attempt: int, *, reason: Reason | str, message: str) -> bool:
    """Store the logs that are missing of a box that has ended. Whether all of them are in the store now.

    `reason` and `message` say why it ended: a step of which only its output tells that it began has failed with them.
    """
    store, results = run.tools.store, run.writer.status.results
    if store is None or results is None:
        return False
    try:
        missing = await _missing(store, results.prefix, run.writer.status.steps)
        ids = {ordinal: step.id for ordinal, step in enumerate(run.writer.status.steps, start=1)}
        async with _reading:
            printed = await _printed(run, attempt)
            if printed is None:
                return not missing
            found = _longest(run.printed, split_log(printed, ids))
            steps = _begun(
                run.writer.status.steps,
                found.keys(),
                reason=reason,
                message=message,
                now=rfc3339(run.tools.clock.now()),
            )
            if steps != run.writer.status.steps:
                run.writer.change(steps=steps)
                missing = await _missing(store, results.prefix, run.writer.status.steps)
            for ordinal in missing:
                await store.put(
                    step_log(results.prefix, ids[ordinal]), found.get(ordinal, b"") + PARTIAL
                )
    except SentinelError as e:
        log.warning("build %s/%s: no logs from the node: %s", *run.key, e.message)
        return False
    return True


@asynccontextmanager
async def output_kept(attempt: Attempt) -> AsyncIterator[None]:
    """While the block runs, read the box's output from its node as soon as the box gets SIGTERM.

    Where a pod exceeded a limit of its own, the kubelet leaves the box one second, and removes its output with it.
    """
    reading = asyncio.create_task(_keep_output(attempt), name="last output")
    try:
        yield
    finally:
        if attempt.session.state.stopping is None:
            reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _keep_output(attempt: Attempt) -> None:
    try:
        await attempt.session.wait_for(lambda state: state.stopping is not None)
        async with asyncio.timeout(READ_WITHIN), _reading:
            printed = await _read(attempt.run, attempt.id, AT_ONCE)
    except (SentinelError, TimeoutError) as e:
        log.info("build %s/%s: no output of a box that stops: %s", *attempt.run.key, e)
        return
    found = split_log(printed, {step.ordinal: step.id for step in attempt.plan.steps})
    uploads = attempt.session.state.uploads
    stored = {what for what, each in uploads.items() if each.state == "uploaded"}
    attempt.run.printed = _ends(found, stored=stored)


def _ends(found: Mapping[int, bytes], *, stored: Collection[str]) -> dict[int, bytes]:
    """The last KEPT_BYTES of what the steps printed whose logs are not stored, the latest step first."""
    ends: dict[int, bytes] = {}
    room = KEPT_BYTES
    for ordinal in sorted(found, reverse=True):
        if room <= 0 or f"log/{ordinal}" in stored:
            continue
        text = found[ordinal]
        ends[ordinal] = text if len(text) <= room else CUT + text[-room:]
        room -= len(text)
    return ends


def _longest(*found: Mapping[int, bytes]) -> dict[int, bytes]:
    """Of each step the longest text that any of them has."""
    ordinals = {ordinal for each in found for ordinal in each}
    return {n: max((each.get(n, b"") for each in found), key=len) for n in ordinals}


async def _missing(store: ObjectStore, prefix: str, steps: Sequence[StepStatus]) -> list[int]:
    """Ordinals of the steps that began and have no log in the store."""
    return [
        ordinal
        for ordinal, step in enumerate(steps, start=1)
        if step.start_time and await store.head(step_log(prefix, step.id)) is None
    ]


async def _printed(run: Run, attempt: int) -> bytes | None:
    """What the node has of the box's output, empty where pod or container are gone; None while the box may go on."""
    over = False
    try:
        raw = await find_pod(run, attempt)
        if raw is None:
            return b""
        view = observe(raw)
        over = view.over
        if view.box_ended is None and not over:
            return None
        return await _read(run, run.id(attempt), AGAIN)
    except NotFound:
        return b""
    except SentinelError as e:
        if not run.printed and not over:
            raise
        # What was read when the box got SIGTERM counts. And of an evicted pod the kubelet removes the containers, and
        # answers with errors of several kinds from then on.
        log.info("build %s/%s: no output of an ended box: %s", *run.key, e.message)
        return b""


async def _read(run: Run, pod: AttemptId, backoff: Backoff) -> bytes:
    """The output of the pod's box, from its node."""
    namespace, name = pod.key
    return await retry(
        partial(
            run.tools.kube.logs,
            namespace=namespace,
            pod=name,
            container=BOX,
            limit_bytes=MOST_BYTES,
        ),
        clock=run.tools.clock,
        backoff=backoff,
        what=f"reading the output of pod {namespace}/{name}",
    )


def _begun(
    known: Sequence[StepStatus],
    ordinals: Iterable[int],
    *,
    reason: Reason | str,
    message: str,
    now: str,
) -> list[StepStatus]:
    """The steps, of which those that began and are shown as skipped have failed.

    A box that is killed may take its journal's last records with it, but its output has a header for each step.
    """
    steps = list(known)
    for ordinal in ordinals:
        step = steps[ordinal - 1]
        if step.state == "Skipped" and not step.start_time:
            change = {
                "state": "Failed",
                "reason": reason,
                "message": message[:MESSAGE_LIMIT],
                "start_time": now,
                "completion_time": now,
            }
            steps[ordinal - 1] = step.model_copy(update=change)
    return steps


def split_log(printed: bytes, steps: Mapping[int, str]) -> dict[int, bytes]:
    """What a box printed, by ordinal; `steps` maps ordinals to ids. Bytes before the first header are dropped.

    A header counts if its step comes after the one before: what a step prints that looks like one is its own output,
    unless it knows the id of a later step.
    """
    found: dict[int, bytes] = {}
    last, begin = 0, 0
    for match in _HEADER.finditer(printed):
        ordinal = int(match[1])
        if ordinal > last and steps.get(ordinal, "").encode() == match[2]:
            if last:
                found[last] = printed[begin : match.start()]
            last, begin = ordinal, match.end()
    if last:
        found[last] = printed[begin:]
    return {
        n: text if not text or text.endswith(b"\n") else text + b"\n" for n, text in found.items()
    }
