"""The root of a wercker.yml: what is said once for all pipelines, and which of its keys are pipelines."""

from __future__ import annotations

import re
from dataclasses import replace

from sentinel.config.boxes import parse_box, parse_services
from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.document import Items, Node, Scalar, Table
from sentinel.config.findings import Findings, did_you_mean
from sentinel.config.model import Box, Config, Pipeline
from sentinel.config.pipelines import PIPELINE_KEYS, parse_pipeline
from sentinel.config.scalars import is_null, number, source_text
from sentinel.config.workflows import parse_workflows

TOP_KEYS = (
    "box",
    "services",
    "command-timeout",
    "no-response-timeout",
    "source-dir",
    "ignore-file",
    "workflows",
)
_IN_A_PIPELINE = ("base-path", "docker")
_OF_THE_BOX = ("env", "ports", "cmd", "entrypoint", "user", "volumes")
_FOREIGN = {
    **{
        key: f"{key} belongs in the box: write box:, below it id: with the image's name, and {key}: beside id"
        for key in _OF_THE_BOX
    },
    "image": "the image that the steps run in is called box",
    "env": "env belongs in the box: write box:, below it id: with the image's name, and env: beside id; or set "
    "variables in the Build's spec.env",
    "stages": "each pipeline stands at the left margin, e.g. build: with steps: under it",
    "jobs": "each pipeline stands at the left margin, e.g. build: with steps: under it",
    "on": "wercker.yml does not choose branches or events: create Builds for those that you want",
    "timeouts": "write command-timeout: and no-response-timeout:, in minutes, or set spec.timeouts of the Build",
    "pipelines": "each pipeline stands at the left margin, e.g. build: with steps: under it",
    "script": "commands are the code of a step: build:, under it steps:, and - script: with code:",
}
"""Keys of other systems' files, or that people expect here."""

LONGEST_TIMEOUT = 60
"""Minutes: longer timeouts in wercker.yml are cut to this."""


def parse_root(root: Node | None, findings: Findings) -> Config | None:
    """The file, or None where there is nothing in it."""
    if root is None or is_null(root):
        findings.add(
            Diagnostic(
                code=Code.EMPTY_FILE,
                message="wercker.yml is empty",
                hint="it needs a box and a pipeline, e.g. build: with steps:",
            )
        )
        return None
    if not isinstance(root, Table):
        findings.error(
            Code.ROOT_NOT_MAP,
            f"wercker.yml is a {'list' if isinstance(root, Items) else 'text'}, so there is no pipeline in it",
            at=root,
            hint=f"write box: {root.text} and, below it, build: with steps:"
            if isinstance(root, Scalar) and re.fullmatch(r"\S+", root.text)
            else "begin with box: and build: at the left margin",
        )
        return Config()
    findings.assign(
        sorted(
            (key.line, key.text if key.text == "workflows" or key.text not in TOP_KEYS else "")
            for key, _ in root.entries
        )
    )
    pipelines: dict[str, Pipeline] = {}
    for key, value in root.entries:
        if key.text in TOP_KEYS:
            continue
        if key.text in _IN_A_PIPELINE and isinstance(value, Scalar):
            # For all pipelines: the original ignored it, and a Build of any of them should show it.
            findings.warning(
                Code.UNKNOWN_KEY,
                f"{key.text} belongs in a pipeline; at the left margin it is ignored",
                at=key,
                hint=f"write build:, and below it {key.text}:, two spaces in",
            )
            continue
        with findings.within(key.text):
            pipeline = _section(key, value, findings)
        if pipeline is not None:
            pipelines[key.text] = pipeline
    inherited = Findings()
    box = _box(root, inherited)
    services = _services(root, inherited)
    _share(inherited, findings, pipelines, root)
    defined = [key.text for key, _ in root.entries if key.text not in TOP_KEYS]
    flows = root.get("workflows")
    with findings.within("workflows"):
        workflows = () if flows is None else parse_workflows(flows, findings, defined=defined)
    _explain_classic(findings)
    return Config(
        box=box,
        services=services,
        command_timeout=_timeout(root, "command-timeout", findings),
        no_response_timeout=_timeout(root, "no-response-timeout", findings),
        source_dir=_text(root, "source-dir", findings),
        ignore_file=_text(root, "ignore-file", findings),
        pipelines=pipelines,
        workflows=workflows,
    )


def _explain_classic(findings: Findings) -> None:
    """One word for the whole where several findings say that the file is older than Docker images."""
    signs = [d for d in findings.sorted() if d.code in (Code.CLASSIC, Code.BOX_CLASSIC)]
    lines = sorted({d.line for d in signs})
    if len(lines) > 1:
        findings.warning(
            Code.CLASSIC_FILE,
            "this file is in wercker's classic format, from before Docker images (lines "
            f"{', '.join(map(str, lines[:5]))}{', …' if len(lines) > 5 else ''})",
            at=signs[0],
            hint="name Docker images as box and services; after-steps are what passed-, failed- and final-steps were",
        )


def _section(key: Scalar, value: Node, findings: Findings) -> Pipeline | None:
    """A root key that upstream did not know: a pipeline, or something that was dropped without a word."""
    names = {name.text for name, _ in value.entries} if isinstance(value, Table) else set()
    pipeline_like = is_null(value) or bool(names & set(PIPELINE_KEYS)) or names == set()
    if key.text in PIPELINE_KEYS and not isinstance(value, Table):
        findings.error(
            Code.UNKNOWN_KEY,
            f"{key.text} belongs in a pipeline, not at the left margin",
            at=key,
            hint=f"write build:, and below it {key.text}:, two spaces in",
        )
        return None
    hint = _FOREIGN.get(key.text) or did_you_mean(key.text, TOP_KEYS)
    if isinstance(value, Scalar) and not is_null(value):
        findings.error(
            Code.UNKNOWN_KEY,
            f"unknown key {key.text}; expected a map with steps, got a string",
            at=key,
            hint=hint,
        )
        return None
    if hint and (isinstance(value, Items) or not pipeline_like):
        findings.error(
            Code.UNKNOWN_KEY,
            f"unknown key {key.text}, which does not look like a pipeline",
            at=key,
            hint=hint,
        )
        return None
    # A list may be there only to be referred to as an alias; it hurts who asks for it as a pipeline.
    return parse_pipeline(key, value, findings)


def _box(root: Table, findings: Findings) -> Box | None:
    node = root.get("box")
    return None if node is None else parse_box(node, findings)


def _services(root: Table, findings: Findings) -> tuple[Box, ...]:
    node = root.get("services")
    return () if node is None else parse_services(node, findings) or ()


def _share(
    inherited: Findings, findings: Findings, pipelines: dict[str, Pipeline], root: Table
) -> None:
    """Give each error in the file's own box and services to the pipelines that inherit what it is in."""
    box_lines = _lines(root, "box")
    for diagnostic in inherited.sorted():
        if diagnostic.severity is not Severity.ERROR:
            findings.add(diagnostic)
            continue
        in_box = diagnostic.line in box_lines
        heirs = [p.name for p in pipelines.values() if (p.box if in_box else p.services) is None]
        if len(heirs) == len(pipelines):
            findings.add(diagnostic)
        elif not heirs:
            findings.add(replace(diagnostic, severity=Severity.WARNING))
        for heir in heirs if len(heirs) < len(pipelines) else ():
            findings.add(replace(diagnostic, pipeline=heir))


def _lines(root: Table, key: str) -> range:
    """The lines from `key` up to the next key of the root."""
    starts = sorted(name.line for name, _ in root.entries)
    own = next((name.line for name, _ in root.entries if name.text == key), None)
    if own is None:
        return range(0)
    return range(own, next((line for line in starts if line > own), 1 << 30))


def _timeout(root: Table, key: str, findings: Findings) -> float | None:
    """Minutes, whole, as upstream took them; None where it ignored what stands there."""
    node = root.get(key)
    if is_null(node) or node is None:
        return None
    value = number(node) if isinstance(node, Scalar) else None
    if value is None:
        findings.warning(
            Code.TIMEOUT,
            f"{key} must be a number of minutes; the value is ignored",
            at=node,
            hint=f"write {key}: {_digits(node)}, without quotes or unit",
        )
        return None
    # 1e999 is a number too: infinity, which no integer is.
    minutes = float(int(max(-1e9, min(value, 1e9))))
    if minutes <= 0:
        findings.warning(
            Code.TIMEOUT, f"{key} must be at least 1 minute; the default is used", at=node
        )
    elif minutes > LONGEST_TIMEOUT:
        findings.warning(
            Code.TIMEOUT,
            f"{key} is cut to {LONGEST_TIMEOUT} minutes",
            at=node,
            hint="spec.timeouts of the Build may be longer",
        )
    return minutes


def _digits(node: Node) -> str:
    found = re.match(r"\d{1,4}", node.text) if isinstance(node, Scalar) else None
    return found[0] if found else "25"


def _text(root: Table, key: str, findings: Findings) -> str:
    node = root.get(key)
    if node is None or isinstance(node, Scalar):
        return "" if node is None else source_text(node)
    findings.warning(Code.WRONG_TYPE, f"{key} must be a string; the value is ignored", at=node)
    return ""


def effective_timeout(minutes: float | None, *, default: float) -> float:
    """Seconds of a timeout of wercker.yml: none, zero and less are `default` minutes, more than 60 are 60."""
    if minutes is None or minutes <= 0:
        minutes = default
    return min(minutes, LONGEST_TIMEOUT) * 60.0
