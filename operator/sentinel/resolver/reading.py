"""Reading a project's source in a child: what is at a ref, and which of its files is the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from sentinel.api.reasons import Reason
from sentinel.config.detect import detect
from sentinel.config.load import FILE_NAMES, MISNAMED
from sentinel.errors import UserError
from sentinel.network import Policy
from sentinel.resolver.messages import (
    ArchiveWanted,
    GitWanted,
    SourceAnswer,
    SourceRequest,
    WorkflowRequest,
)
from sentinel.source import archive, git
from sentinel.source.address import without_query
from sentinel.source.failure import Deadline

Sourced: TypeAlias = SourceRequest | WorkflowRequest
Read: TypeAlias = tuple[SourceAnswer, Mapping[str, bytes], Sequence[str], str]

GENERATED = "generated wercker.yml"
"""What diagnostics call a wercker.yml that was made for a project without one."""

GIT_SECONDS = 60.0
"""Seconds for a ref to become a commit, all tries together."""


def read_source(request: Sourced, scratch: Path, paths: Sequence[str]) -> Read:
    """The source, those `paths` of its root that exist, the names there, and what people call it."""
    if request.git is not None:
        answer, files, root = _git(request, request.git, scratch, paths)
        return (
            answer,
            files,
            root,
            f"commit {answer.commit[:12]} of {without_query(request.git.url)}",
        )
    if request.archive is not None:
        answer, files, root = _archive(request, request.archive, scratch, paths)
        what = f"{without_query(request.archive.url)} (archive sha256:{answer.digest[:12]})"
        return answer, files, root, what
    if request.config:
        # The source is sent to the build's pod later.
        return SourceAnswer(), {}, (), "spec.config"
    raise UserError(
        "spec.source.upload needs spec.config: wercker.yml is read before the directory arrives. `sentinel run "
        "--cluster` sets both",
        reason=Reason.INVALID_SPEC,
    )


def _git(
    request: Sourced, wanted: GitWanted, scratch: Path, paths: Sequence[str]
) -> tuple[SourceAnswer, Mapping[str, bytes], Sequence[str]]:
    found = git.resolve(
        url=wanted.url,
        ref=wanted.ref,
        credentials=credentials_of(wanted.credentials),
        paths=paths,
        cache_dir=scratch / "git",
        deadline=Deadline(GIT_SECONDS),
        ca=request.ca,
        allow_file=request.allow_file,
        policy=Policy.from_json(request.network),
    )
    answer = SourceAnswer(
        commit=found.commit, branch=found.branch, tag=found.tag, subject=found.subject[:256]
    )
    return answer, found.files, found.root


def _archive(
    request: Sourced, wanted: ArchiveWanted, scratch: Path, paths: Sequence[str]
) -> tuple[SourceAnswer, Mapping[str, bytes], Sequence[str]]:
    found = archive.inspect(
        url=wanted.url,
        sha256=wanted.sha256,
        credentials=credentials_of(wanted.credentials),
        ca=request.ca,
        paths=paths,
        cache_dir=scratch / "archive",
        deadline=Deadline(archive.TIMEOUT),
        allow_file=request.allow_file,
        policy=Policy.from_json(request.network),
    )
    return SourceAnswer(digest=found.digest), found.files, found.root


def credentials_of(known: Mapping[str, str] | None) -> git.GitCredentials | None:
    return None if known is None else git.GitCredentials.from_secret(known)


def config_text(
    config: str, files: Mapping[str, bytes], root: Sequence[str], what: str, *, generate: bool
) -> tuple[str, bytes]:
    if config:
        return "spec.config", config.encode()
    chosen = choose_config(files, root, generate=generate)
    if chosen is None:
        near = next((name for name in MISNAMED if name in root), None)
        remedy = (
            f"{near} is not read: rename it to wercker.yml"
            if near
            else "add one (`sentinel detect` makes a first one), or give its text in spec.config"
        )
        raise UserError(
            f"{what} has no wercker.yml (nor ewok.yml or .wercker.yml) at its root: {remedy}",
            reason=Reason.CONFIG_MISSING,
        )
    return chosen


def choose_config(
    files: Mapping[str, bytes], root: Sequence[str], *, generate: bool
) -> tuple[str, bytes] | None:
    """The project's configuration and its name. Where it has none: one made for it if `generate`, else None."""
    for name in FILE_NAMES:
        if name in files:
            return name, files[name]
    return (GENERATED, detect(root).text.encode()) if generate else None
