"""Pipelines: the sections of a wercker.yml that can be run (wercker.md "Targets and pipelines", "The file")."""

from __future__ import annotations

import posixpath

from sentinel.config.boxes import parse_box, parse_services
from sentinel.config.codes import Code
from sentinel.config.document import Items, Node, Scalar, Table
from sentinel.config.findings import Findings, did_you_mean
from sentinel.config.model import Box, Pipeline, Step
from sentinel.config.scalars import boolean, is_null, source_text
from sentinel.config.steps import STEP_OPTIONS, parse_steps
from sentinel.layout import REPORT_DIR, RUN_DIR, WERCKER_DIR

PIPELINE_KEYS = ("box", "services", "steps", "after-steps", "base-path", "docker")
_CLASSIC = ("passed-steps", "failed-steps", "final-steps")
_ELSEWHERE = ("command-timeout", "no-response-timeout", "source-dir", "ignore-file")


def parse_pipeline(name: Scalar, node: Node, findings: Findings) -> Pipeline | None:
    """The pipeline `name`, with everything in it that can be used; None where it is no map."""
    if is_null(node):
        findings.error(
            Code.PIPELINE_EMPTY,
            f"pipeline {name.text} is empty",
            at=name,
            hint="add steps: under it",
        )
        return None
    if not isinstance(node, Table):
        findings.error(
            Code.PIPELINE_NOT_MAP,
            f"pipeline {name.text} is a {'list' if isinstance(node, Items) else 'text'}; its steps belong under steps:",
            at=node,
            hint=f"write {name.text}:, under it steps:, and under that the list",
        )
        return None
    box: Box | None = None
    services: tuple[Box, ...] | None = None
    lists: dict[str, tuple[Step, ...]] = {}
    base_path = ""
    docker = False
    for key, value in node.entries:
        match key.text:
            case "box":
                box = parse_box(value, findings)
            case "services":
                services = parse_services(value, findings)
            case "base-path":
                base_path = _base_path(value, findings)
            case "docker":
                docker = _docker(value, findings)
            case "steps" | "after-steps":
                lists[key.text] = parse_steps(value, findings)
            case _ if isinstance(value, Items) or is_null(value):
                _hint_at_classic(key, value, findings)
                lists[key.text] = parse_steps(value, findings)
            case _:
                _refuse_key(name, key, value, findings)
    steps = lists.pop("steps", ())
    after = lists.pop("after-steps", ())
    return Pipeline(
        name=name.text,
        box=box,
        services=services,
        steps=steps,
        after_steps=after,
        targets=lists,
        base_path=base_path,
        docker=docker,
        line=name.line,
    )


_TAKEN = {
    "/proc": "the kernel's",
    "/sys": "the kernel's",
    "/dev": "the kernel's",
    WERCKER_DIR: "where Sentinel mounts source and steps",
    RUN_DIR: "Sentinel's own",
    REPORT_DIR: "where steps put their reports",
}
"""Directories that cannot hold a source → what they are."""


def _base_path(node: Node, findings: Findings) -> str:
    if is_null(node):
        return ""
    if not isinstance(node, Scalar):
        findings.error(Code.WRONG_TYPE, "base-path must be a path, written as a string", at=node)
        return ""
    text = source_text(node)
    # Its parent is deleted and recreated in the box, so it must not be the root or a part of the machinery.
    normal = posixpath.normpath(text)
    taken = [path for path in _TAKEN if f"{normal}/".startswith(f"{path}/")]
    why = ""
    if not text.startswith("/"):
        why = "it must be absolute, beginning with /"
    elif taken:
        why = f"{taken[0]} is {_TAKEN[taken[0]]}"
    elif normal.count("/") < 2:
        why = "it must be at least two levels deep, as its parent is recreated"
    if why:
        findings.error(
            Code.BASE_PATH,
            f"base-path {text} cannot hold the source: {why}",
            at=node,
            hint="write it like /go/src/example.com/owner/project",
        )
    return text.removesuffix("/")


def _docker(node: Node, findings: Findings) -> bool:
    flag = boolean(node) if isinstance(node, Scalar) else None
    if flag is None and not is_null(node):
        findings.error(
            Code.WRONG_TYPE,
            "docker must be true or false, without quotes",
            at=node,
            hint="docker: true",
        )
    return bool(flag)


_FOREIGN_LISTS = {
    "branches": "wercker.yml does not choose branches: create Builds for the branches that you want",
    "only": "wercker.yml does not choose branches: create Builds for the branches that you want",
    "except": "wercker.yml does not choose branches: create Builds for the branches that you want",
    "script": "commands are the code of a step: write steps:, below it - script:, and code: | in it",
    "before_script": "write the commands as the first step under steps:",
    "after_script": "write the commands as a step under after-steps:",
    "needs": "write a workflow under workflows: to order pipelines",
    "env": "set variables in the Build's spec.env, or in env of the box",
}
"""Lists of other systems' files, which would be taken as deploy targets."""


def _hint_at_classic(key: Scalar, value: Node, findings: Findings) -> None:
    if key.text in _CLASSIC:
        findings.warning(
            Code.CLASSIC,
            f"{key.text} is from wercker before Docker images and is not run",
            at=key,
            hint="use after-steps, which see WERCKER_RESULT",
        )
    elif (
        hint := _FOREIGN_LISTS.get(key.text) or did_you_mean(key.text, PIPELINE_KEYS)
    ) and not is_null(value):
        findings.warning(
            Code.UNKNOWN_KEY,
            f"{key.text} is taken as the name of a deploy target",
            at=key,
            hint=hint,
        )


def _refuse_key(name: Scalar, key: Scalar, value: Node, findings: Findings) -> None:
    inner = {each.text for each, _ in value.entries} if isinstance(value, Table) else set()
    if inner & {"steps", "after-steps"}:
        findings.error(
            Code.PIPELINE_KEY,
            f"deploy target {key.text} of pipeline {name.text} is a map; a deploy target is a list of steps",
            at=key,
            hint=f"remove the line steps: and write the list right below {key.text}:",
        )
        return
    if key.text in _ELSEWHERE:
        hint = f"move {key.text} to the left margin: it applies to all pipelines"
    elif key.text in STEP_OPTIONS and isinstance(value, Scalar):
        hint = (
            f"{key.text} is an option of a step: indent it four spaces further than the step's dash"
        )
    elif key.text == "env":
        hint = "set variables in the Build's spec.env, or in env of the box"
    else:
        hint = did_you_mean(key.text, PIPELINE_KEYS) or (
            "a pipeline has box, services, steps, after-steps, base-path, docker, and lists of steps as deploy targets"
        )
    findings.error(
        Code.PIPELINE_KEY, f"unknown key {key.text} in pipeline {name.text}", at=key, hint=hint
    )
