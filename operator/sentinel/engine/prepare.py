"""Stages 2 to 5: from a Build to its Plan. Everything that can be known to be wrong is found here, before a pod exists.

The resolver reads what tenants and their servers wrote; what is decided from its answers is decided here. What is
found goes to `status.source`, `status.diagnostics` and the Accepted condition. Nothing here leaves a trace
that a second run would have to respect: doing it again gives the same Plan, or says why not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from sentinel.api.build import (
    ArchiveSource,
    BoxStatus,
    DiagnosticStatus,
    GitSource,
    SourceStatus,
)
from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.model import Config, Pipeline
from sentinel.engine.attempt import Attempt
from sentinel.engine.crashes import counted
from sentinel.engine.facts import find_facts
from sentinel.engine.pullsecret import keep_logins, logins
from sentinel.engine.pushing import check_pushing
from sentinel.engine.run import Run
from sentinel.engine.secrets import (
    archive_credentials,
    git_credentials,
)
from sentinel.errors import InfrastructureError, InternalError, UserError
from sentinel.plan.durations import check_durations
from sentinel.plan.logins import Login
from sentinel.plan.model import Plan, PlanSource
from sentinel.plan.notices import notices
from sentinel.plan.options import check_options
from sentinel.plan.plan import images_for, make_plan, steps_for
from sentinel.plan.podpolicy import check_pod
from sentinel.resolver.client import Session, raise_failure
from sentinel.resolver.messages import (
    ArchiveWanted,
    GitWanted,
    SourceAnswer,
    SourceRequest,
)
from sentinel.source.address import holds_login


async def prepare(run: Run, number: int) -> Attempt:
    """An attempt with its Plan, written to the status as accepted. Raises UserError or InfrastructureError.

    One deadline for all of it (`prepare_seconds`): what a tenant names may answer as slowly as it likes.
    """
    seconds = run.tools.settings.prepare_seconds
    deadline = asyncio.timeout(seconds)
    try:
        async with counted(run), deadline:
            plan, found, known = await _prepare(run, number)
    except TimeoutError:
        if not deadline.expired():
            raise
        resolved = run.writer.status.source is not None
        what = "its images and steps were not found" if resolved else "its source was not resolved"
        raise InfrastructureError(
            f"{what} within {seconds:.0f} s (setting prepare_seconds): a server answers too slowly, or other Builds of "
            "the namespace take its share of the resolver (setting resolver.perNamespace)",
            reason=Reason.REGISTRY_UNAVAILABLE if resolved else Reason.SOURCE_UNAVAILABLE,
        ) from None
    # What waits for a quota does so until `timeouts.pending`.
    attempt = Attempt(run=run, plan=plan)
    await keep_logins(attempt, found)
    _accept(attempt, known)
    return attempt


async def _prepare(run: Run, number: int) -> tuple[Plan, dict[str, Login], tuple[str, ...]]:
    """The Plan, the registry logins that its pod needs, and what people should know of it."""
    settings = run.tools.settings
    started = datetime.fromisoformat(run.writer.status.start_time)
    check_durations(run.build)
    check_pod(run.build, settings)
    resolver = run.tools.resolver
    async with resolver.session(namespace=run.build.namespace, build=run.build.name) as session:
        source, config, pipeline = await resolve_source(run, session)
        await check_pushing(run, source)
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
        (box, *services), steps = await find_facts(
            run,
            session,
            images=[wanted.box, *wanted.services],
            logins=found_logins,
            steps=chosen,
            source=source,
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
        attempt=number,
        started=started,
    )
    return plan, found_logins, notices(run.build, pipeline=pipeline, wanted=wanted, plan=plan)


async def resolve_source(run: Run, session: Session) -> tuple[PlanSource, Config, Pipeline]:
    """Stages 2 and 3: exactly which files the build is of, and their configuration.

    Findings go to the status; errors of the wanted pipeline end the build.
    """
    wanted = run.build.spec.source
    if (wanted.git is None) == (wanted.archive is None):
        raise UserError(
            "spec.source must name exactly one place: set spec.source.git or spec.source.archive",
            reason=Reason.INVALID_SPEC,
        )
    request = SourceRequest(
        git=await _git_wanted(run, wanted.git) if wanted.git is not None else None,
        archive=await _archive_wanted(run, wanted.archive) if wanted.archive is not None else None,
        config=run.build.spec.config,
        pipeline=run.build.spec.pipeline,
        generate=run.tools.settings.detect_config,
        ca=run.tools.settings.source.ca,
        network=run.tools.settings.network.policy().to_json(),
    )
    answer = await session.source(request)
    if wanted.git is not None:
        source = _git_source(run, wanted.git, answer)
    else:
        assert wanted.archive is not None  # noqa: S101 - one of the two, as checked above
        source = _archive_source(run, wanted.archive, answer)
    if answer.generated:
        run.writer.change(generated_config=answer.generated)
    run.writer.change(diagnostics=[])
    _tell(run, answer.diagnostics)
    if answer.failure is not None:
        raise_failure(answer.failure)
    config = answer.config
    if config is None or run.build.spec.pipeline not in config.pipelines:
        raise InternalError("the resolver gave neither a configuration nor why there is none")
    return source, config, config.pipelines[run.build.spec.pipeline]


def _refuse_password(url: str, *, field: str) -> None:
    if _has_password(url):
        raise UserError(
            f"{field}.url holds a user name or password, which everybody who sees the Build or its pod can read: put "
            f"it into a Secret of type kubernetes.io/basic-auth and name that in {field}.secretRef",
            reason=Reason.INVALID_SPEC,
        )


def _has_password(url: str) -> bool:
    return holds_login(url)


async def _git_wanted(run: Run, wanted: GitSource) -> GitWanted:
    _refuse_password(wanted.url, field="spec.source.git")
    return GitWanted(url=wanted.url, ref=wanted.ref, credentials=await git_credentials(run))


def _git_source(run: Run, wanted: GitSource, answer: SourceAnswer) -> PlanSource:
    if not answer.commit:
        raise InternalError("the resolver gave no commit for a repository")
    run.writer.change(
        source=SourceStatus(
            commit=answer.commit,
            branch=answer.branch,
            tag=answer.tag,
            subject=answer.subject,
        )
    )
    return PlanSource(
        url=wanted.url,
        commit=answer.commit,
        ref=wanted.ref,
        branch=answer.branch,
        tag=answer.tag,
        subject=answer.subject,
        secret=wanted.secret_ref.name if wanted.secret_ref is not None else "",
        submodules=wanted.submodules,
    )


async def _archive_wanted(run: Run, wanted: ArchiveSource) -> ArchiveWanted:
    _refuse_password(wanted.url, field="spec.source.archive")
    return ArchiveWanted(
        url=wanted.url, sha256=wanted.sha256, credentials=await archive_credentials(run)
    )


def _archive_source(run: Run, wanted: ArchiveSource, answer: SourceAnswer) -> PlanSource:
    if not answer.digest:
        raise InternalError("the resolver gave no digest for an archive")
    run.writer.change(source=SourceStatus(digest=f"sha256:{answer.digest}"))
    return PlanSource(
        url=wanted.url,
        digest=answer.digest,
        secret=wanted.secret_ref.name if wanted.secret_ref is not None else "",
    )


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


def _accept(attempt: Attempt, known: Sequence[str]) -> None:
    """Stage 5: the Plan stands. From now on its number is in the status, where another operator finds it."""
    plan, writer = attempt.plan, attempt.writer
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
    attempt.report.accepted(plan=plan)
    if known:
        attempt.report.noticed(message="; ".join(known))
