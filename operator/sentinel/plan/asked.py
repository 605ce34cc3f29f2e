"""What `sentinel check` finds about boxes and services: what is gone for an operator with default settings, and with
`--images` what registries answer. Pure.

Not here: asking them (`cli/images.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sentinel.api.reasons import Reason
from sentinel.config.boxes import classic_message
from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.findings import visible
from sentinel.config.model import Box, Config, Pipeline
from sentinel.plan.logins import wants_login, with_registry
from sentinel.plan.rewrite import is_classic, rewritten


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A box or service of a pipeline. `image` is what runs, with default settings; "" where variables name it.

    `login` tells whether wercker.yml has one for it.
    """

    what: str
    written: str
    image: str
    line: int
    pipeline: str = ""
    login: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a registry has under a name: digest and platforms (os/architecture), or why it has nothing for us."""

    digest: str = ""
    platforms: tuple[str, ...] = ()
    reason: Reason | None = None
    message: str = ""


def images_of(config: Config, pipeline: str = "") -> tuple[Wanted, ...]:
    """The boxes and services of all pipelines, or of one; each once, what pipelines inherit too."""
    found: dict[Wanted, None] = {}
    for each in config.pipelines.values():
        if pipeline not in ("", each.name):
            continue
        services = config.services if each.services is None else each.services
        for what, box in (("box", each.box or config.box), *(("service", one) for one in services)):
            if box is None or not box.id.strip():
                continue
            own = box in (each.box, *(each.services or ()))
            instead = rewritten(box, what=what, pipeline=each, rules=()).box
            wanted = Wanted(
                what=what,
                written=box.image,
                image=_name(instead),
                line=box.line,
                pipeline=each.name if own else "",
                login=wants_login(box),
            )
            found[wanted] = None
    return tuple(found)


def _name(box: Box) -> str:
    if "$" in box.image or is_classic(box):
        return ""
    return with_registry(box.image, [pair for pair in box.auth if "$" not in pair[1]])


_CODES = {
    Reason.IMAGE_NOT_FOUND: (Code.IMAGE_MISSING, Severity.ERROR),
    Reason.INVALID_IMAGE_NAME: (Code.IMAGE_MISSING, Severity.ERROR),
    # Where a Build has the login, it runs.
    Reason.IMAGE_AUTH_FAILED: (Code.IMAGE_DENIED, Severity.WARNING),
}


def about_answers(
    wanted: Sequence[Wanted], answers: Mapping[str, Answer], *, platform: str
) -> tuple[Diagnostic, ...]:
    """The findings. `answers` are by `Wanted.image`, `platform` is what the nodes are (os/architecture)."""
    found: set[Diagnostic] = set()
    for each in wanted:
        answer = answers.get(each.image)
        if answer is None:
            continue
        if answer.reason is not None:
            if each.login and answer.reason is Reason.IMAGE_AUTH_FAILED:
                # It was asked for without the login that wercker.yml has.
                continue
            code, severity = _CODES.get(answer.reason, (Code.IMAGE_UNKNOWN, Severity.WARNING))
            found.add(_finding(each, code, severity, answer.message))
        elif answer.platforms and platform not in answer.platforms:
            offered = ", ".join(answer.platforms[:16])
            message = (
                f"image {each.image} is not available for {platform}: it is available for {offered}"
            )
            found.add(_finding(each, Code.IMAGE_PLATFORM, Severity.ERROR, message))
    return tuple(sorted(found))


def _finding(wanted: Wanted, code: Code, severity: Severity, message: str) -> Diagnostic:
    return Diagnostic(
        line=wanted.line,
        column=1,
        code=code,
        severity=severity,
        message=visible(message),
        pipeline=wanted.pipeline,
    )


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
