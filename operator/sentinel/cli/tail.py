"""The last lines of a step's log, from where the caller may read them: the object store, else the kubelet."""

from __future__ import annotations

import re

from pydantic import ValidationError

from sentinel.cli.cluster import Found
from sentinel.cli.printer import TerminalFilter
from sentinel.config.findings import visible
from sentinel.errors import GoneError, SentinelError
from sentinel.kube.client import Kube
from sentinel.plan.keys import step_log
from sentinel.plan.names import BOX
from sentinel.settings import Settings
from sentinel.store.objects import ObjectStore

LINES = 20
_STORE_BYTES = 64 * 1024
"""Bytes at the end of a log in the store in which the last lines are looked for."""
_POD_LINES = 2000
"""Lines at the end of the box's output in which the step is looked for: after-steps come behind it."""
_HEAD = re.compile(rb"^--- sentinel step=([0-9]+) .*\n?", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


async def read_tail(kube: Kube, found: Found, ordinal: int) -> bytes:
    """The end of the log of the step with that number, from 1. Raises GoneError where it cannot be read here."""
    problems: list[str] = []
    for source in (_from_store, _from_pod):
        try:
            return await source(kube, found, ordinal)
        except SentinelError as e:
            problems.append(e.message)
    raise GoneError("; ".join(problems))


async def _from_store(_: Kube, found: Found, ordinal: int) -> bytes:
    try:
        settings = Settings()
    except ValidationError as e:
        raise GoneError("the settings in the environment are not valid") from e
    store, results = ObjectStore.from_settings(settings.store), found.status.results
    if store is None or results is None:
        raise GoneError("no object store is set" if store is None else "the store has nothing yet")
    try:
        key = step_log(results.prefix, found.status.steps[ordinal - 1].id)
        size = await store.size(key)
        if size is None:
            raise GoneError("the store does not have it")
        start = max(0, size - _STORE_BYTES)
        return await store.read(key, start=start, length=size - start) if size else b""
    finally:
        store.close()


async def _from_pod(kube: Kube, found: Found, ordinal: int) -> bytes:
    pod = found.status.pod
    if pod is None or not pod.name:
        raise GoneError("the build had no pod")
    output = await kube.logs(
        namespace=found.namespace, pod=pod.name, container=BOX, tail_lines=_POD_LINES
    )
    part = _part(output, ordinal)
    if part is None:
        raise GoneError(f"it is not in the last {_POD_LINES} lines of pod {pod.name}")
    return part


def _part(output: bytes, ordinal: int) -> bytes | None:
    """What a step printed, out of the box's output, which has a line before each step's (boxkit's README, Logs)."""
    heads = list(_HEAD.finditer(output))
    ends = [*(head.start() for head in heads[1:]), len(output)]
    parts = [
        output[head.end() : end]
        for head, end in zip(heads, ends, strict=True)
        if int(head[1]) == ordinal
    ]
    return b"".join(parts) if parts else None


def last_lines(data: bytes) -> list[str]:
    """The last LINES lines of a log as a terminal would show them, without colours; each bounded."""
    text = _COLOUR.sub("", TerminalFilter().feed(data).decode("utf-8", "replace"))
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n") if text.strip() else []
    # Of a line that was written over and over, as progress bars are, the last state is what was seen.
    return [visible(line.rsplit("\r", 1)[-1].expandtabs()) for line in lines[-LINES:]]
