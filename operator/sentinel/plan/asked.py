"""What registries answer about the images of a wercker.yml, for `sentinel check --images`. Pure.

Not here: asking them (`cli/images.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentinel.api.reasons import Reason
from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity
from sentinel.config.findings import visible
from sentinel.config.model import Box, Config
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
