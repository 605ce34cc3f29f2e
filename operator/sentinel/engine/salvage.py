"""The logs of a box that ended before it could store them: what the kubelet still has of its output.

Everything a box prints is masked before it gets there, under one header line for each step (`session.md` §4). It is not
the truth: what came last may be missing, and the kubelet keeps ten megabytes. So a log that comes from there says so.
The one case in which log bytes pass through the operator.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from sentinel.engine.run import Run
from sentinel.errors import SentinelError
from sentinel.kube.resources import PODS
from sentinel.plan.keys import step_log
from sentinel.plan.names import BOX, pod_name
from sentinel.plan.observe import observe

log = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024 * 1024
"""Of a container's output; the kubelet's default is to keep 10 MiB."""

PARTIAL = (
    b"--- sentinel: the box ended before this log was stored; this is what the node had of it\n"
)

_HEADER = re.compile(rb"^--- sentinel step=(\d+) offset=0 id=(\S+) name=.*\n", re.MULTILINE)


async def salvage_logs(run: Run, *, attempt: int) -> bool:
    """Store the logs that are missing of a box that has ended. Whether all of them are in the store now."""
    store, results = run.tools.store, run.writer.status.results
    name = pod_name(build=run.build.name, uid=run.build.uid, attempt=attempt)
    if store is None or results is None:
        return False
    try:
        raw = await run.tools.kube.get(PODS, namespace=run.build.namespace, name=name)
        if observe(raw).box_ended is None:
            return False
        steps = dict(enumerate(run.writer.status.steps, start=1))
        missing = {
            ordinal: step.id
            for ordinal, step in steps.items()
            if step.start_time and await store.head(step_log(results.prefix, step.id)) is None
        }
        if not missing:
            return True
        printed = await run.tools.kube.logs(
            namespace=run.build.namespace, pod=name, container=BOX, limit_bytes=MOST_BYTES
        )
        found = split_log(printed, {ordinal: step.id for ordinal, step in steps.items()})
        for ordinal, step_id in missing.items():
            await store.put(step_log(results.prefix, step_id), found.get(ordinal, b"") + PARTIAL)
    except SentinelError as e:
        log.warning("build %s/%s: no logs from the node: %s", *run.key, e.message)
        return False
    return True


def split_log(printed: bytes, steps: Mapping[int, str]) -> dict[int, bytes]:
    """What a box printed, by ordinal; `steps` maps ordinals to ids. Bytes before the first header are nobody's.

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
