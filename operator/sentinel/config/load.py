"""The door of this package: the bytes of a wercker.yml in, a Config and diagnostics out.

Never raises for anything that a file can contain. Mistakes in one pipeline leave the others usable: `pipeline_of`
says whether the one that a Build asks for can be run.
"""

from __future__ import annotations

from dataclasses import dataclass

from sentinel.api.reasons import Reason
from sentinel.config.codes import Code
from sentinel.config.decode import DocumentError, decode
from sentinel.config.diagnostics import Diagnostic, Severity, render
from sentinel.config.document import parse
from sentinel.config.findings import (
    FINDINGS_LIMIT,
    Findings,
    TooManyFindings,
    did_you_mean,
)
from sentinel.config.model import Config, Pipeline, Workflow
from sentinel.config.root import parse_root
from sentinel.errors import UserError

FILE_NAMES = ("ewok.yml", "wercker.yml", ".wercker.yml")
"""Where a project keeps its configuration; the first that exists counts."""

MISNAMED = ("wercker.yaml", ".wercker.yaml", "ewok.yaml", "Wercker.yml", "box.yml", "werker.yml")
"""Names that people give the file and that are not read."""


WORKFLOWS = "workflows"
"""The section that findings in workflows belong to."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What became of a file. `config` is None where it is no document; `text` is what was read."""

    config: Config | None
    diagnostics: tuple[Diagnostic, ...]
    text: str


class ConfigError(UserError):
    """The file, or the pipeline asked for, cannot be run; `diagnostics` says why, the gravest first."""

    def __init__(
        self, message: str, *, reason: Reason, diagnostics: tuple[Diagnostic, ...]
    ) -> None:
        super().__init__(message, reason=reason)
        self.diagnostics = diagnostics


def load(data: bytes) -> Loaded:
    """Read a wercker.yml."""
    findings = Findings()
    text = ""
    config: Config | None = None
    fatal: tuple[Diagnostic, ...] = ()
    try:
        text = decode(data)
        config = parse_root(parse(text, findings=findings), findings)
    except DocumentError as error:
        fatal = (error.diagnostic,)
        if error.diagnostic.code == Code.NOT_UTF8:
            text = data.decode(errors="replace")
    except TooManyFindings:
        message = f"this file has more than {FINDINGS_LIMIT} errors and warnings; showing the first {FINDINGS_LIMIT}"
        fatal = (Diagnostic(code=Code.TOO_MANY_FINDINGS, message=message),)
    return Loaded(config=config, diagnostics=tuple(sorted((*findings.sorted(), *fatal))), text=text)


def pipeline_of(loaded: Loaded, name: str, *, path: str = "wercker.yml") -> Pipeline:
    """The pipeline `name`, if it can be run.

    Raises ConfigError: ConfigInvalid where the file or this pipeline has errors, with those errors rendered in the
    message; PipelineNotFound, with the nearest name and the list of all, where there is no such pipeline.
    """
    blocking = tuple(
        d
        for d in loaded.diagnostics
        if d.severity is Severity.ERROR and (not d.pipeline or d.pipeline == name)
    )
    if blocking:
        shown = "\n".join(render(d, path=path, text=loaded.text) for d in blocking[:3])
        more = f"\n… and {len(blocking) - 3} more" if len(blocking) > 3 else ""
        raise ConfigError(shown + more, reason=Reason.CONFIG_INVALID, diagnostics=blocking)
    known = loaded.config.pipelines if loaded.config is not None else {}
    if name in known:
        return known[name]
    listed = ", ".join(known) or "none"
    message = f"{path} has no pipeline {name}; it has: {listed}"
    hint = did_you_mean(name, tuple(known)) or (
        "set spec.pipeline to one of them, or add the section"
        if known
        else f"add {name}: at the left margin, and steps: under it"
    )
    unknown = Diagnostic(code=Code.PIPELINE_UNKNOWN, message=message, hint=hint)
    # A key at the wrong margin is why: upstream's users searched for that for hours.
    stray = [d for d in loaded.diagnostics if d.code == Code.UNKNOWN_KEY and d.pipeline]
    why = "".join("\n" + render(d, path=path, text=loaded.text) for d in stray[:2])
    raise ConfigError(
        f"{message}. {hint}{why}", reason=Reason.PIPELINE_NOT_FOUND, diagnostics=(unknown, *stray)
    )


def workflow_of(loaded: Loaded, name: str, *, path: str = "wercker.yml") -> Workflow:
    """The workflow `name`, or the only one where `name` is "", if it can be run.

    Raises ConfigError: ConfigInvalid where the file or its workflows have errors, PipelineNotFound where there is no
    such workflow, or several and no name.
    """
    blocking = tuple(
        d
        for d in loaded.diagnostics
        if d.severity is Severity.ERROR and d.pipeline in ("", WORKFLOWS)
    )
    if blocking:
        shown = "\n".join(render(d, path=path, text=loaded.text) for d in blocking[:3])
        more = f"\n… and {len(blocking) - 3} more" if len(blocking) > 3 else ""
        raise ConfigError(shown + more, reason=Reason.CONFIG_INVALID, diagnostics=blocking)
    known = {each.name: each for each in loaded.config.workflows} if loaded.config else {}
    if name in known:
        return known[name]
    if not name and len(known) == 1:
        return next(iter(known.values()))
    listed = ", ".join(known) or "none"
    if not known:
        message = f"{path} has no workflows; run a pipeline of it with a Build, or add workflows:"
    elif name:
        message = f"{path} has no workflow {name}; it has: {listed}"
    else:
        message = f"{path} has several workflows: set spec.workflow to one of {listed}"
    raise ConfigError(message, reason=Reason.PIPELINE_NOT_FOUND, diagnostics=())


def relevant(loaded: Loaded, name: str) -> tuple[Diagnostic, ...]:
    """The findings for a Build of pipeline `name`: the file's and its own, and a warning for each other section
    that is broken."""
    own = [d for d in loaded.diagnostics if d.pipeline in ("", name)]
    broken: dict[str, Diagnostic] = {}
    for each in loaded.diagnostics:
        if each.pipeline not in ("", name) and each.severity is Severity.ERROR:
            broken.setdefault(each.pipeline, each)
    others = [
        Diagnostic(
            code=Code.ELSEWHERE_BROKEN,
            severity=Severity.WARNING,
            line=first.line,
            column=first.column,
            message=f"{section} has errors, which do not concern {name}: {first.message}",
            hint=first.hint,
        )
        for section, first in broken.items()
    ]
    return (*own, *others)
