"""Workflows: which pipelines follow which (wercker.md "Workflows").

Upstream stopped at the first mistake; we report all. A Build runs one pipeline, so a mistake in here spoils none:
its findings belong to the section `workflows`, which cannot be a pipeline's name.
"""

from __future__ import annotations

from collections.abc import Collection

from sentinel.config.codes import Code
from sentinel.config.document import Items, Node, Scalar, Table
from sentinel.config.findings import Findings, did_you_mean
from sentinel.config.model import Workflow, WorkflowStage
from sentinel.config.scalars import is_null, source_text

_KEYS = ("name", "pipelines")
_STAGE_KEYS = ("name", "pipelineName", "requires", "artifactPipeline", "envFile")


def parse_workflows(
    node: Node, findings: Findings, *, defined: Collection[str]
) -> tuple[Workflow, ...]:
    """The workflows at `node`. `defined` names the file's pipelines, broken ones included."""
    if is_null(node):
        return ()
    workflows: list[Workflow] = []
    seen: dict[str, int] = {}
    for item in _tables(node, findings, "workflows"):
        workflow = _workflow(item, findings, defined)
        if workflow.name in seen:
            findings.error(
                Code.WORKFLOW_DUPLICATE,
                f"there is a workflow {workflow.name} on line {seen[workflow.name]} already",
                at=item,
                hint="give one of the two another name",
            )
        seen.setdefault(workflow.name, workflow.line)
        workflows.append(workflow)
    return tuple(workflows)


def _workflow(table: Table, findings: Findings, defined: Collection[str]) -> Workflow:
    _refuse_keys(table, _KEYS, "workflow", findings)
    name = _text(table, "name", findings)
    if not name:
        findings.error(
            Code.WORKFLOW_SHAPE, "this workflow has no name", at=table, hint="add name: to it"
        )
    node = table.get("pipelines")
    if node is None or is_null(node):
        findings.error(
            Code.WORKFLOW_SHAPE,
            f"workflow {name} has no pipelines",
            at=table,
            hint="add pipelines: with a list, e.g. - name: build",
        )
        return Workflow(name=name, line=table.line)
    tables = _tables(node, findings, f"pipelines of workflow {name}")
    stages = [_stage(each, findings) for each in tables]
    _check(stages, tables, whole=table, name=name, findings=findings, defined=defined)
    return Workflow(name=name, stages=tuple(stages), line=table.line)


def _stage(table: Table, findings: Findings) -> WorkflowStage:
    _refuse_keys(table, _STAGE_KEYS, "pipeline of a workflow", findings)
    name = _text(table, "name", findings)
    if not name:
        findings.error(
            Code.WORKFLOW_SHAPE,
            "this entry of the workflow has no name",
            at=table,
            hint="write: - name: build",
        )
    return WorkflowStage(
        name=name,
        pipeline=_text(table, "pipelineName", findings) or name,
        requires=_requires(table, findings),
        artifact_pipeline=_text(table, "artifactPipeline", findings),
        env_file=_text(table, "envFile", findings),
        line=table.line,
    )


def _requires(table: Table, findings: Findings) -> tuple[str, ...]:
    node = table.get("requires")
    if node is None or is_null(node):
        return ()
    if not isinstance(node, Items):
        findings.error(
            Code.WORKFLOW_SHAPE,
            "requires must be a list of names",
            at=node,
            hint=f"write: requires: [{node.text}]" if isinstance(node, Scalar) else "",
        )
        return ()
    return tuple(source_text(each) for each in node.items if isinstance(each, Scalar))


def _check(
    stages: list[WorkflowStage],
    tables: list[Table],
    *,
    whole: Table,
    name: str,
    findings: Findings,
    defined: Collection[str],
) -> None:
    by_name: dict[str, WorkflowStage] = {}
    sound = True
    for stage, table in zip(stages, tables, strict=True):
        if stage.name in by_name:
            sound = False
            findings.error(
                Code.WORKFLOW_DUPLICATE,
                f"{stage.name} appears twice in workflow {name}: on line {by_name[stage.name].line} too",
                at=table,
                hint=f"give it another name, and set pipelineName: {stage.pipeline}",
            )
        by_name.setdefault(stage.name, stage)
        if stage.pipeline and stage.pipeline not in defined:
            findings.error(
                Code.WORKFLOW_UNDEFINED,
                f"workflow {name} runs {stage.pipeline}, and there is no such pipeline in this file",
                at=table,
                hint=did_you_mean(stage.pipeline, tuple(defined))
                or f"it has: {', '.join(defined) or 'none'}",
            )
    for stage, table in zip(stages, tables, strict=True):
        for required in stage.requires:
            if required not in by_name:
                sound = False
                findings.error(
                    Code.WORKFLOW_MISSING,
                    f"{stage.name} requires {required}, which is not in workflow {name}",
                    at=table.get("requires") or table,
                    hint=did_you_mean(required, tuple(by_name)) or f"add - name: {required}",
                )
    if sound and stages:
        _check_order(stages, by_name, whole, name, findings)


def _check_order(
    stages: list[WorkflowStage],
    by_name: dict[str, WorkflowStage],
    whole: Table,
    name: str,
    findings: Findings,
) -> None:
    roots = [stage.name for stage in stages if not stage.requires]
    circle = " → ".join(_circle(stages, by_name))
    if not roots:
        findings.error(
            Code.WORKFLOW_NO_ROOT,
            f"workflow {name} has no first pipeline: each one requires another ({circle})",
            at=whole,
            hint="remove requires: from the pipeline that is to run first",
        )
        return
    if len(roots) > 1:
        findings.error(
            Code.WORKFLOW_ROOTS,
            f"workflow {name} has several first pipelines: {', '.join(roots)}",
            at=whole,
            hint=f"let all but one require another, e.g. requires: [{roots[0]}]",
        )
    if circle:
        findings.error(
            Code.WORKFLOW_CYCLE,
            f"pipelines of workflow {name} require each other in a circle: {circle}",
            at=whole,
            hint="remove one of these requires",
        )


def _circle(stages: list[WorkflowStage], by_name: dict[str, WorkflowStage]) -> list[str]:
    """The names along a circle, the first again at the end; empty where there is none. No recursion: a file may have
    thousands of stages."""
    done: set[str] = set()
    for start in stages:
        path: list[str] = []
        on_path: set[str] = set()
        todo: list[tuple[str, bool]] = [(start.name, True)]
        while todo:
            name, entering = todo.pop()
            if not entering:
                on_path.discard(path.pop())
                done.add(name)
            elif name in on_path:
                return [*path[path.index(name) :], name]
            elif name not in done:
                path.append(name)
                on_path.add(name)
                todo.append((name, False))
                todo += [(each, True) for each in reversed(by_name[name].requires)]
    return []


def _tables(node: Node, findings: Findings, what: str) -> list[Table]:
    if not isinstance(node, Items):
        findings.error(
            Code.WORKFLOW_SHAPE,
            f"{what} must be a list",
            at=node,
            hint="put a dash before each entry",
        )
        return []
    found: list[Table] = []
    for item in node.items:
        if isinstance(item, Table):
            found.append(item)
        else:
            findings.error(
                Code.WORKFLOW_SHAPE,
                f"an entry of {what} must be a map with a name",
                at=item,
                hint=f"write: - name: {item.text}" if isinstance(item, Scalar) else "",
            )
    return found


def _refuse_keys(table: Table, known: tuple[str, ...], what: str, findings: Findings) -> None:
    for key, _ in table.entries:
        if key.text not in known:
            findings.warning(
                Code.WORKFLOW_KEY,
                f"unknown key {key.text} of a {what}; it is ignored",
                at=key,
                hint=did_you_mean(key.text, known) or f"it has: {', '.join(known)}",
            )


def _text(table: Table, key: str, findings: Findings) -> str:
    node = table.get(key)
    if node is None or isinstance(node, Scalar):
        return "" if node is None else source_text(node)
    findings.error(Code.WORKFLOW_SHAPE, f"{key} must be a string", at=node)
    return ""
