"""Stages 2 to 5: from a Build to its Plan. Everything that can be known to be wrong is found here, before a pod exists.

What is found goes to `status.source`, `status.diagnostics` and the Accepted condition. Nothing here leaves a trace
that a second run would have to respect: doing it again gives the same Plan, or says why not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar, cast
from urllib.parse import urlsplit

from sentinel.api.build import (
    ArchiveSource,
    BoxStatus,
    DiagnosticStatus,
    GitSource,
    SourceStatus,
)
from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.config.detect import detect
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.load import FILE_NAMES, load, pipeline_of, relevant
from sentinel.config.model import Config, Pipeline
from sentinel.engine.crashes import counted
from sentinel.engine.images import check_images
from sentinel.engine.pullsecret import keep_logins, logins
from sentinel.engine.pushing import check_pushing
from sentinel.engine.run import Run
from sentinel.engine.secrets import (
    archive_credentials,
    git_credentials,
)
from sentinel.engine.steps import find_steps
from sentinel.errors import InfrastructureError, InternalError, UserError
from sentinel.plan.durations import check_durations
from sentinel.plan.model import Plan, PlanSource
from sentinel.plan.notices import notices
from sentinel.plan.options import check_options
from sentinel.plan.plan import images_for, make_plan, steps_for
from sentinel.plan.podpolicy import check_pod
from sentinel.source import archive, git
from sentinel.source.download import without_query

A = TypeVar("A")
B = TypeVar("B")

GENERATED = "generated wercker.yml"
"""What diagnostics call a wercker.yml that was made for a project without one."""


async def prepare(run: Run, *, attempt: int) -> Plan:
    """The Plan of an attempt, written to the status as accepted. Raises UserError or InfrastructureError.

    One deadline for all of it (`prepare_seconds`): what a tenant names may answer as slowly as it likes.
    """
    seconds = run.tools.settings.prepare_seconds
    deadline = asyncio.timeout(seconds)
    try:
        async with counted(run), deadline:
            return await _prepare(run, attempt=attempt)
    except TimeoutError:
        if not deadline.expired():
            raise
        resolved = run.writer.status.source is not None
        what = "its images and steps were not found" if resolved else "its source was not resolved"
        raise InfrastructureError(
            f"{what} within {seconds:.0f} s (setting prepare_seconds): a server answers too slowly",
            reason=Reason.REGISTRY_UNAVAILABLE if resolved else Reason.SOURCE_UNAVAILABLE,
        ) from None


async def _prepare(run: Run, *, attempt: int) -> Plan:
    settings = run.tools.settings
    started = datetime.fromisoformat(run.writer.status.start_time)
    check_durations(run.build)
    check_pod(run.build, settings)
    source, found = await _resolve_source(run)
    await check_pushing(run, source)
    config, pipeline = _load_config(run, *_config_text(run, found, source))
    wanted = images_for(
        run.build,
        config=config,
        pipeline=pipeline,
        source=source,
        settings=settings,
        started=started,
    )
    found_logins = await logins(run, wanted)
    chosen = [step for _, step in steps_for(run.build, pipeline)]
    (box, *services), steps = await _all_that_exist(
        check_images(run, [wanted.box, *wanted.services], found_logins),
        find_steps(run, chosen, source=source),
    )
    _tell(run, check_options(chosen, steps, pipeline=pipeline.name))
    plan = make_plan(
        run.build,
        source=source,
        config=config,
        pipeline=pipeline,
        box=box,
        services=services,
        steps=steps,
        settings=settings,
        attempt=attempt,
        started=started,
    )
    plan = await keep_logins(run, plan, found_logins)
    _accept(run, plan, notices(run.build, pipeline=pipeline, wanted=wanted, plan=plan))
    return plan


class Found(Protocol):
    """What is known of a project's files: the wanted ones of its root directory, and the names there."""

    @property
    def files(self) -> Mapping[str, bytes]: ...
    @property
    def root(self) -> tuple[str, ...]: ...


async def _resolve_source(run: Run) -> tuple[PlanSource, Found]:
    """Stage 2: exactly which files the build is of, and the configuration among them."""
    source = run.build.spec.source
    if source.git is not None and source.archive is None:
        return await _resolve_git(run, source.git)
    if source.archive is not None and source.git is None:
        return await _resolve_archive(run, source.archive)
    raise UserError(
        "spec.source must name exactly one place: set spec.source.git or spec.source.archive",
        reason=Reason.INVALID_SPEC,
    )


def _refuse_password(url: str, *, field: str) -> None:
    if _has_password(url):
        raise UserError(
            f"{field}.url holds a password, which everybody who sees the Build or its pod could read: put it "
            f"into a Secret of type kubernetes.io/basic-auth and name that in {field}.secretRef",
            reason=Reason.INVALID_SPEC,
        )


def _has_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        # No URL at all: whoever fetches from it says so.
        return False


async def _resolve_archive(run: Run, wanted: ArchiveSource) -> tuple[PlanSource, Found]:
    _refuse_password(wanted.url, field="spec.source.archive")
    found = await archive.inspect(
        url=wanted.url,
        sha256=wanted.sha256,
        credentials=await archive_credentials(run),
        ca=run.tools.settings.source.ca,
        paths=() if run.build.spec.config else FILE_NAMES,
        cache_dir=run.tools.git_cache,
    )
    run.writer.change(source=SourceStatus(digest=f"sha256:{found.digest}"))
    source = PlanSource(
        url=wanted.url,
        digest=found.digest,
        secret=wanted.secret_ref.name if wanted.secret_ref is not None else "",
    )
    return source, found


async def _resolve_git(run: Run, wanted: GitSource) -> tuple[PlanSource, Found]:
    _refuse_password(wanted.url, field="spec.source.git")
    resolved = await git.resolve(
        url=wanted.url,
        ref=wanted.ref,
        credentials=await git_credentials(run),
        paths=() if run.build.spec.config else FILE_NAMES,
        cache_dir=run.tools.git_cache,
        ca=run.tools.settings.source.ca,
    )
    run.writer.change(
        source=SourceStatus(
            commit=resolved.commit,
            branch=resolved.branch,
            tag=resolved.tag,
            subject=resolved.subject[:256],
        )
    )
    source = PlanSource(
        url=wanted.url,
        commit=resolved.commit,
        ref=wanted.ref,
        branch=resolved.branch,
        tag=resolved.tag,
        subject=resolved.subject[:256],
        secret=wanted.secret_ref.name if wanted.secret_ref is not None else "",
        submodules=wanted.submodules,
    )
    return source, resolved


def _config_text(run: Run, found: Found, source: PlanSource) -> tuple[str, bytes]:
    if run.build.spec.config:
        return "spec.config", run.build.spec.config.encode()
    chosen = choose_config(found, generate=run.tools.settings.detect_config)
    if chosen is None:
        what = f"commit {source.short} of {source.url}"
        if source.digest:
            what = f"{without_query(source.url)} ({source.short})"
        raise UserError(
            f"{what} has no wercker.yml (nor ewok.yml or .wercker.yml) at its "
            "root: add one (`sentinel detect` makes a first one), or give its text in spec.config",
            reason=Reason.CONFIG_MISSING,
        )
    name, text = chosen
    if name == GENERATED:
        run.writer.change(generated_config=text.decode())
    return chosen


def choose_config(found: Found, *, generate: bool) -> tuple[str, bytes] | None:
    """The project's configuration and its name. Where it has none: one made for it if `generate`, else None."""
    for name in FILE_NAMES:
        if name in found.files:
            return name, found.files[name]
    return (GENERATED, detect(found.root).text.encode()) if generate else None


def _load_config(run: Run, name: str, text: bytes) -> tuple[Config, Pipeline]:
    """Stage 3. Findings go to the status; errors of the wanted pipeline end the build."""
    loaded = load(text)
    wanted = run.build.spec.pipeline
    run.writer.change(diagnostics=[])
    _tell(run, relevant(loaded, wanted))
    pipeline = pipeline_of(loaded, wanted, path=name)
    if loaded.config is None:
        raise InternalError(f"{name} has a pipeline {wanted!r} and no configuration")
    return loaded.config, pipeline


def _tell(run: Run, found: Sequence[Diagnostic]) -> None:
    """Put findings into the status, after those that stand there."""
    told = [
        DiagnosticStatus(
            code=d.code,
            severity="error" if d.severity is Severity.ERROR else "warning",
            line=d.line,
            column=d.column,
            message=d.message[:256],
            hint=d.hint[:256],
        )
        for d in found
    ]
    before = run.writer.status.diagnostics
    new = [each for each in told if each not in before]
    if new:
        run.writer.change(diagnostics=[*before, *new][:10])


async def _all_that_exist(images: Awaitable[A], steps: Awaitable[B]) -> tuple[A, B]:
    """Both answers; where images and steps are missing, one error that names all of them."""
    found = await asyncio.gather(images, steps, return_exceptions=True)
    problems = [each for each in found if isinstance(each, UserError)]
    if problems:
        raise UserError("\n".join(each.message for each in problems), reason=problems[0].reason)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return cast("tuple[A, B]", tuple(found))


def _accept(run: Run, plan: Plan, known: Sequence[str]) -> None:
    """Stage 5: the Plan stands. Who acts for this attempt from now on must find its number in the status."""
    writer = run.writer
    writer.condition(
        ConditionType.ACCEPTED,
        "True",
        Reason.VALID,
        "; note: ".join(
            [
                f"pipeline {plan.pipeline!r} of {plan.source.short}: {len(plan.steps)} steps in {plan.box.name}",
                *known,
            ]
        ),
    )
    writer.change(box=BoxStatus(image=plan.box.name, digest=plan.box.digest))
    writer.begin_attempt(plan)
    run.report.accepted(plan=plan)
    if known:
        run.report.noticed(message="; ".join(known))
