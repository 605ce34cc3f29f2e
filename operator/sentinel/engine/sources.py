"""Stages 2 and 3: exactly which files a Build is of, and their configuration.

The resolver reads what tenants and their servers wrote; what follows from its answer is decided here. What a kind of
source needs is in `wanted_of` and `found_of`. Not here: what comes after it (`prepare.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.api.build import DiagnosticStatus, SourceStatus
from sentinel.api.reasons import Reason
from sentinel.api.source import ArchiveSource, GitSource, Source
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.model import Config, Pipeline
from sentinel.engine.run import Run
from sentinel.engine.secrets import References
from sentinel.engine.status import StatusWriter
from sentinel.errors import InternalError, UserError
from sentinel.plan.source import PlanSource, secret_of
from sentinel.resolver.client import Session, raise_failure
from sentinel.resolver.messages import ArchiveWanted, GitWanted, SourceAnswer, SourceRequest
from sentinel.source.address import holds_login


async def resolve_source(run: Run, session: Session) -> tuple[PlanSource, Config, Pipeline]:
    """The source at one revision, and the wercker.yml in it.

    Findings go to the status; errors of the wanted pipeline end the build.
    """
    spec, settings, inherited = run.build.spec, run.tools.settings, run.inherited
    git, archive = None, None
    if run.source.upload is None:
        git, archive = await wanted_of(run.source, run.references)
    request = SourceRequest(
        git=git,
        archive=archive,
        config=spec.config or (inherited.config if inherited is not None else ""),
        pipeline=spec.pipeline,
        generate=settings.detect_config,
        ca=settings.source.ca,
        network=settings.network.policy().to_json(),
    )
    answer = await session.source(request)
    source, status = found_of(run.source, answer)
    if inherited is not None:
        source, status = inherited.apply(source, status)
    run.writer.change(source=status)
    if answer.generated:
        run.writer.change(generated_config=answer.generated)
    run.writer.change(diagnostics=[])
    show(run.writer, answer.diagnostics)
    if answer.failure is not None:
        raise_failure(answer.failure)
    config = answer.config
    if config is None or spec.pipeline not in config.pipelines:
        raise InternalError("the resolver gave neither a configuration nor why there is none")
    return source, config, config.pipelines[spec.pipeline]


async def wanted_of(
    source: Source, references: References
) -> tuple[GitWanted | None, ArchiveWanted | None]:
    """What the resolver is to look at: exactly one of them. Raises UserError InvalidSpec and SecretNotFound.

    Not for an upload, of which the resolver sees nothing.
    """
    match source.git, source.archive:
        case GitSource() as git, None:
            _refuse_password(git.url, field="spec.source.git")
            credentials = await references.git_credentials(secret_of(git))
            return GitWanted(url=git.url, ref=git.commit or git.ref, credentials=credentials), None
        case None, ArchiveSource() as archive:
            _refuse_password(archive.url, field="spec.source.archive")
            credentials = await references.archive_credentials(secret_of(archive))
            return None, ArchiveWanted(
                url=archive.url, sha256=archive.sha256, credentials=credentials
            )
        case _:
            raise UserError(
                "spec.source must name exactly one place: set spec.source.git or spec.source.archive",
                reason=Reason.INVALID_SPEC,
            )


def found_of(source: Source, answer: SourceAnswer) -> tuple[PlanSource, SourceStatus]:
    """What is built, for the Plan and for the status."""
    if source.upload is not None:
        # It is sent to the pod: all that is known of it is in the Build.
        sent = source.upload
        return (
            PlanSource(url="", digest=sent.sha256, upload=sent.size),
            SourceStatus(digest=f"sha256:{sent.sha256}"),
        )
    if source.git is not None:
        if not answer.commit:
            raise InternalError("the resolver gave no commit for a repository")
        wanted = source.git
        branch, tag = names_of(wanted) if wanted.commit else (answer.branch, answer.tag)
        return (
            PlanSource(
                url=wanted.url,
                commit=answer.commit,
                ref=wanted.ref,
                secret=secret_of(wanted),
                submodules=wanted.submodules,
                branch=branch,
                tag=tag,
                subject=answer.subject,
            ),
            SourceStatus(
                url=wanted.url,
                commit=answer.commit,
                branch=branch,
                tag=tag,
                subject=answer.subject,
            ),
        )
    assert source.archive is not None  # noqa: S101 - the last kind, as `wanted_of` has checked
    if not answer.digest:
        raise InternalError("the resolver gave no digest for an archive")
    return (
        PlanSource(
            url=source.archive.url,
            digest=answer.digest,
            secret=secret_of(source.archive),
        ),
        SourceStatus(digest=f"sha256:{answer.digest}"),
    )


def names_of(wanted: GitSource) -> tuple[str, str]:
    """The branch and the tag that `ref` names beside a commit; the repository is not asked."""
    ref = wanted.ref.removeprefix("refs/heads/")
    if ref.startswith("refs/tags/"):
        return "", ref.removeprefix("refs/tags/")
    return ("", "") if ref == "HEAD" or ref.startswith("refs/") else (ref, "")


def _refuse_password(url: str, *, field: str) -> None:
    if holds_login(url):
        raise UserError(
            f"{field}.url holds a user name or password, which everyone who can read the Build or its pod can see: "
            f"put it into a Secret of type kubernetes.io/basic-auth and name that in {field}.secretRef",
            reason=Reason.INVALID_SPEC,
        )


def show(writer: StatusWriter, found: Sequence[Diagnostic]) -> None:
    """Add findings to the status."""
    shown = [
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
    before = writer.status.diagnostics
    new = [each for each in shown if each not in before]
    if new:
        writer.change(diagnostics=[*before, *new][:10])
