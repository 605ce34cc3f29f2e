"""What a child reads for a WorkflowRun: the source's workflow, and the envFiles that its pipelines name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.config.load import FILE_NAMES, load, workflow_of
from sentinel.config.model import Workflow
from sentinel.errors import UserError
from sentinel.resolver.failures import failure_of
from sentinel.resolver.messages import (
    MOST_ENV_FILES,
    MOST_ENV_TEXT,
    EnvFileFound,
    SourceAnswer,
    WorkflowAnswer,
    WorkflowRequest,
)
from sentinel.resolver.reading import config_text, read_source


def read_workflow(request: WorkflowRequest, scratch: Path) -> WorkflowAnswer:
    """The answer to a request for a workflow. Raises UserError and InfrastructureError where there is no source."""
    answer, files, root, what = read_source(request, scratch, () if request.config else FILE_NAMES)
    try:
        name, text = config_text(request.config, files, root, what, generate=False)
        workflow = workflow_of(load(text), request.workflow, path=name)
        found = _env_files(request, answer, workflow, scratch)
    except UserError as error:
        return WorkflowAnswer(source=answer, failure=failure_of(error))
    return WorkflowAnswer(source=answer, workflow=workflow, env_files=found)


def _env_files(
    request: WorkflowRequest, answer: SourceAnswer, workflow: Workflow, scratch: Path
) -> tuple[EnvFileFound, ...]:
    """The envFiles of the workflow, read at the same revision. Raises UserError ConfigInvalid."""
    names = tuple(dict.fromkeys(each.env_file for each in workflow.stages if each.env_file))
    if not names:
        return ()
    deep = [each for each in names if "/" in each.removeprefix("./")]
    if deep or len(names) > MOST_ENV_FILES:
        problem = f"{deep[0]!r} is in a directory" if deep else f"there are {len(names)} of them"
        raise UserError(
            f"envFile of workflow {workflow.name}: {problem}; at most {MOST_ENV_FILES} files in the project's root "
            "are read",
            reason=Reason.CONFIG_INVALID,
        )
    pinned: dict[str, Any] = {}
    if request.git is not None:
        pinned["git"] = request.git.model_copy(update={"ref": answer.commit})
    if request.archive is not None:
        pinned["archive"] = request.archive.model_copy(update={"sha256": answer.digest})
    short = tuple(each.removeprefix("./") for each in names)
    _, files, _, what = read_source(request.model_copy(update=pinned), scratch, short)
    found = []
    for name, path in zip(names, short, strict=True):
        if path not in files:
            raise UserError(
                f"{what} has no file {path!r} at its root, which workflow {workflow.name} names as envFile",
                reason=Reason.CONFIG_INVALID,
            )
        text = files[path].decode("utf-8", "replace")
        if len(text) > MOST_ENV_TEXT:
            raise UserError(
                f"{path!r} of {what} is larger than {MOST_ENV_TEXT // 1024} KiB",
                reason=Reason.CONFIG_INVALID,
            )
        found.append(EnvFileFound(name=name, text=text))
    return tuple(found)
