"""`sentinel describe`: why a Build failed, or how far it is, in a screenful."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from sentinel.api.build import StepImage, StepStatus
from sentinel.api.conditions import Phase
from sentinel.api.reasons import Blame, Reason, read_reason
from sentinel.cli.cluster import Found, build_argument, connect, read, run
from sentinel.cli.events import read_warnings, time_of
from sentinel.cli.table import between, since
from sentinel.cli.tail import LINES, last_lines, read_tail
from sentinel.config.findings import visible
from sentinel.errors import SentinelError
from sentinel.text import printable

Json = dict[str, Any]

MOST_MESSAGE_LINES = 12
CAUSE = {
    Blame.USER: "the project or the Build",
    Blame.PLATFORM: "the cluster or Sentinel",
}
CHECK = {
    Reason.CONFIG_INVALID: "sentinel check",
    Reason.PIPELINE_NOT_FOUND: "sentinel check",
    Reason.CONFIG_MISSING: "sentinel detect",
}
"""Commands that find the same error in a checkout of the project."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was read besides the Build. `missing` has the reasons why `log` or `events` could not be read."""

    log: Sequence[str] = ()
    events: Sequence[Json] = ()
    missing: Sequence[str] = ()


@click.command()
@build_argument
def describe(build: str, namespace: str) -> None:
    """Show why BUILD failed, or how far it is: reason, remedy, the failed step's last lines, warnings, what to do."""
    for line in run(_describe(build, namespace)):
        click.echo(line)


async def _describe(name: str, namespace: str) -> list[str]:
    async with await connect() as kube:
        found = await read(kube, name, namespace)
        missing: list[str] = []
        log: list[str] = []
        events: list[Json] = []
        if ordinal := failed_step(found.status.steps):
            try:
                log = last_lines(await read_tail(kube, found, ordinal))
            except SentinelError as e:
                missing.append(_no_log(found.status.steps[ordinal - 1], e))
        try:
            events = await read_warnings(kube, found)
        except SentinelError as e:
            missing.append(f"Events cannot be read: {visible(e.message)}")
        evidence = Evidence(log=log, events=events, missing=missing)
        return list(page(found, evidence, now=datetime.now(UTC)))


def failed_step(steps: Sequence[StepStatus]) -> int:
    """The number, from 1, of the step that failed the build: the first main one, else an after-step; 0 for none."""
    failed = [number for number, step in enumerate(steps, start=1) if step.state == "Failed"]
    return min(failed, key=lambda number: steps[number - 1].phase != "main", default=0)


def page(found: Found, evidence: Evidence, *, now: datetime) -> Iterator[str]:
    """The lines that are printed. Everything from the cluster is made printable here."""
    ordinal = failed_step(found.status.steps)
    step = found.status.steps[ordinal - 1] if ordinal else None
    for label, text in _rows(found, step, now=now):
        first, *more = text.splitlines() or [""]
        yield f"{label + ':':<9} {first}"
        yield from (f"{'':<9} {line}" for line in more)
    if step is not None and evidence.log:
        yield ""
        yield f"The last lines of {_label(step)} (at most {LINES}):"
        yield from (f"  {line}" for line in evidence.log)
    if evidence.events:
        yield ""
        yield "Warnings:"
        for event in evidence.events:
            ago = since(time_of(event), now=now) or "?"
            said = f"{event.get('reason', '')}: {event.get('message', '')}"
            yield f"  {ago:>4}  {visible(said)}"
    if evidence.missing:
        yield ""
        yield from evidence.missing
    yield ""
    yield f"Next:     {_next(found, step)}"


def _rows(found: Found, step: StepStatus | None, *, now: datetime) -> Iterator[tuple[str, str]]:
    status = found.status
    yield "Build", f"{visible(found.namespace)}/{visible(found.name)}"
    yield "Phase", _phase(found, now=now)
    yield "Source", _source(found)
    if (condition := found.condition) is not None:
        reason = read_reason(condition.reason)
        known = reason if isinstance(reason, Reason) else None
        yield "Reason", visible(reason) + (f": {known.meaning}" if known else "")
        if condition.message:
            yield "Message", _block(condition.message)
        if known and known.blame in CAUSE and condition.status != "True":
            yield "Cause", CAUSE[known.blame]
        if known and known.remedy:
            yield "Remedy", known.remedy
    if step is not None:
        yield "Step", _failure(step, now=now)
    if status.image is not None and status.image.digest:
        tags = f" ({', '.join(status.image.tags)})" if status.image.tags else ""
        yield "Image", visible(f"{status.image.repository}@{status.image.digest}{tags}")
    elif found.finished and found.phase is Phase.SUCCEEDED:
        yield "Image", "none"
    if images := [
        _image(number, each) for number, each in enumerate(status.steps, 1) if each.image
    ]:
        yield "Images", "\n".join(images)


def _phase(found: Found, *, now: datetime) -> str:
    status = found.status
    took = between(status.start_time, status.completion_time, now=now)
    if found.finished:
        ago = since(status.completion_time, now=now)
        return (
            str(found.phase) + (f" after {took}" if took else "") + (f", {ago} ago" if ago else "")
        )
    text = str(found.phase) + (f" for {took}" if took else "")
    if status.progress:
        text += f", {visible(status.progress)} steps"
    return text + (f", now {visible(status.current_step)}" if status.current_step else "")


def _source(found: Found) -> str:
    source = found.status.source
    pipeline = f"pipeline {visible(str(found.spec.get('pipeline') or 'build'))}"
    if source is None:
        return f"{pipeline}; not read yet"
    name = f" of {source.branch or source.tag}" if source.branch or source.tag else ""
    at = f"commit {source.short_commit}{name}" if source.commit else source.digest[:19]
    return f"{pipeline} at {visible(at)}" + (
        f": {visible(source.subject)}" if source.subject else ""
    )


def _failure(step: StepStatus, *, now: datetime) -> str:
    how = f"exit code {step.exit_code}" if step.exit_code is not None else step.reason or "failed"
    took = between(step.start_time, step.completion_time, now=now)
    after = " (an after-step)" if step.phase == "after" else ""
    return f"{_label(step)}{after}: {visible(how)}" + (f" after {took}" if took else "")


def _label(step: StepStatus) -> str:
    return visible(step.display_name or step.name)


def _block(message: str) -> str:
    """A message of several lines, such as those that quote wercker.yml."""
    lines = message.strip().splitlines()
    shown = [printable(line.expandtabs(), instead="\ufffd") for line in lines[:MOST_MESSAGE_LINES]]
    return "\n".join(shown + ["…"] * (len(lines) > MOST_MESSAGE_LINES))


def _next(found: Found, step: StepStatus | None) -> str:
    """The command to type next."""
    condition = found.condition
    reason = read_reason(condition.reason) if condition is not None else ""
    if not found.finished:
        return f"sentinel logs -f {found.address}"
    if isinstance(reason, Reason) and reason in CHECK:
        return f"{CHECK[reason]}   (in a checkout of the project)"
    if found.phase is Phase.FAILED and step is not None:
        return f"sentinel logs {found.address} --step {_argument(step)}"
    if found.phase is Phase.SUCCEEDED:
        return f"sentinel logs {found.address}"
    if (found.spec.get("source") or {}).get("upload"):
        return f"sentinel run --cluster -n {visible(found.namespace)}   (in the directory)"
    return f"sentinel retry {found.address}"


def _image(number: int, step: StepStatus) -> str:
    """The image of the box after a step, or why there is none."""
    image = step.image or StepImage()
    what = image.digest or f"none: {image.reason}: {image.message}"
    return f"{number} {_label(step)}: {visible(what)}"


def _argument(step: StepStatus) -> str:
    """The step as `--step` takes it, for a shell."""
    name = step.display_name or step.name
    return shlex.quote(name if name == visible(name) else visible(step.id))


def _no_log(step: StepStatus, error: SentinelError) -> str:
    return f"The log of {_label(step)} cannot be read here: {visible(error.message)}"
