"""What `sentinel check` finds about boxes and services that are gone, for an operator with default settings. Pure."""

from __future__ import annotations

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.findings import visible
from sentinel.config.model import Box, Config, Pipeline
from sentinel.plan.rewrite import is_classic, rewritten


def about_gone(config: Config) -> tuple[Diagnostic, ...]:
    """A warning for each that a default operator replaces, an error for a classic one that it does not know."""
    found: set[Diagnostic] = set()
    for pipeline in config.pipelines.values():
        box = pipeline.box or config.box
        services = config.services if pipeline.services is None else pipeline.services
        for what, each in (("box", box), *(("service", service) for service in services)):
            if each is not None and "$" not in each.image:
                own = each in (pipeline.box, *(pipeline.services or ()))
                found |= _about(each, what, pipeline, pipeline.name if own else "")
    return tuple(sorted(found))


def _about(box: Box, what: str, pipeline: Pipeline, owner: str) -> set[Diagnostic]:
    instead = rewritten(box, what=what, pipeline=pipeline, rules=())
    if is_classic(instead.box):
        code, severity = Code.BOX_CLASSIC, Severity.ERROR
        message = f"there is no image for {box.id}"
        hint = "name an image, or have the operator's setting images.rewrite name one"
    elif instead.note:
        code, severity = Code.BOX_REPLACED, Severity.WARNING
        message = instead.note.replace("images.rewrite", "by default")
        hint = f"name the image that you want, e.g. {instead.box.image}"
    else:
        return set()
    return {
        Diagnostic(
            line=box.line,
            column=1,
            code=code,
            severity=severity,
            message=visible(message),
            hint=visible(hint),
            pipeline=owner,
        )
    }
