"""The last lines of a step's log, from where the caller may read them: the results API, else the kubelet."""

from __future__ import annotations

import re

from sentinel.cli.cluster import Found
from sentinel.cli.printer import TerminalFilter
from sentinel.cli.results import ResultsApi
from sentinel.config.findings import visible
from sentinel.errors import GoneError, SentinelError
from sentinel.kube.client import Kube
from sentinel.plan.names import BOX

LINES = 20
_POD_LINES = 2000
"""Lines at the end of the box's output in which the step is looked for: after-steps come behind it."""
_HEAD = re.compile(rb"^--- sentinel step=([0-9]+) .*\n?", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


async def read_tail(kube: Kube, found: Found, ordinal: int) -> bytes:
    """The end of the log of the step with that number, from 1. Raises GoneError where it cannot be read here."""
    problems: list[str] = []
    for source in (_from_results, _from_pod):
        try:
            return await source(kube, found, ordinal)
        except SentinelError as e:
            problems.append(e.message)
    raise GoneError("; ".join(problems))


async def _from_results(kube: Kube, found: Found, ordinal: int) -> bytes:
    api = ResultsApi(kube, namespace=found.namespace, name=found.name)
    return await api.tail(found.status.steps[ordinal - 1].id, lines=LINES)


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
