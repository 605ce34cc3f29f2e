"""What `sentinel check` finds about boxes and services that are gone, for an operator with default settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sentinel.config.boxes import classic_message
from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.findings import visible
from sentinel.config.model import Box, Config, Pipeline
from sentinel.plan.rewrite import is_classic, rewritten


def about_gone(config: Config) -> tuple[Diagnostic, ...]:
    """A warning for each that a default operator replaces, an error for a classic one that it does not know."""
    found: set[Diagnostic] = set()
    for pipeline, what, box in _images(config):
        own = box in (pipeline.box, *(pipeline.services or ()))
        found |= _about(box, what, pipeline, pipeline.name if own else "")
    return tuple(sorted(found))


def with_gone(found: Sequence[Diagnostic], config: Config) -> tuple[Diagnostic, ...]:
    """What was found in the file and `about_gone`, each classic box once: what becomes of it is worth more than that
    it is one."""
    known = {visible(classic_message(box.id, what)) for _, what, box in _images(config)}
    rest = (each for each in found if each.code != Code.BOX_CLASSIC or each.message not in known)
    return tuple(sorted({*rest, *about_gone(config)}))


def _images(config: Config) -> Iterator[tuple[Pipeline, str, Box]]:
    """Every box and service that a pipeline runs and that is named without variables."""
    for pipeline in config.pipelines.values():
        box = pipeline.box or config.box
        services = config.services if pipeline.services is None else pipeline.services
        for what, each in (("box", box), *(("service", service) for service in services)):
            if each is not None and "$" not in each.image:
                yield pipeline, what, each


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
