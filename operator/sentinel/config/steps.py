"""Steps in all the shapes that ten years of files have them in (wercker.md "Steps").

A scalar; a map of one key with the options under it; and the mis-indented form, where the options stand beside the
step's name instead of under it, which about a third of all files use.
"""

from __future__ import annotations

import re
from typing import Literal

from sentinel.config.codes import Code
from sentinel.config.document import Items, Node, Scalar, Table
from sentinel.config.findings import Findings, did_you_mean
from sentinel.config.knownsteps import INTERNAL, REQUIRED
from sentinel.config.model import Step
from sentinel.config.scalars import is_null, property_text, source_text
from sentinel.config.standardsteps import STANDARD

_IDENTIFIER = re.compile(
    r"""(?:(?P<owner>[^/\s"@]+)/)?(?P<name>[^\s"@]+)(?:@(?P<version>[^\s"]+))?(?:\s+"(?P<url>[^"]*)")?"""
)
_RESERVED = ("name", "cwd", "checkpoint")
STEP_OPTIONS = (*_RESERVED, "code")
"""What a step of any kind may have, and `code` of a script."""


def parse_steps(node: Node, findings: Findings) -> tuple[Step, ...]:
    """The steps of a list. What cannot be a step is reported and left out."""
    if is_null(node):
        return ()
    if not isinstance(node, Items):
        findings.error(
            Code.STEPS_NOT_LIST,
            "steps must be a list, not a " + ("map" if isinstance(node, Table) else "text"),
            at=node,
            hint=_list_hint(node),
        )
        return ()
    steps = (parse_step(item, findings) for item in node.items)
    return tuple(step for step in steps if step is not None)


def parse_step(item: Node, findings: Findings) -> Step | None:
    """One item of the list, or None where there is no step in it."""
    if is_null(item):
        findings.warning(Code.STEP_SHAPE, "an empty item is left out", at=item)
        return None
    if isinstance(item, Items) or (isinstance(item, Table) and not item.entries):
        findings.error(
            Code.STEP_SHAPE,
            "not a step: a step is a name, or a name with options under it",
            at=item,
            hint="write: - script:, and under it, four spaces further in, code: …",
        )
        return None
    if isinstance(item, Scalar):
        return _step(item, (), findings)
    if (action := _action(item)) is not None:
        _refuse_action(action, findings)
        return None
    key = _key(item, findings)
    value = item.get(key.text)
    siblings = tuple(entry for entry in item.entries if entry[0] is not key)
    options = _options(key, value, siblings, findings)
    return None if options is None else _step(key, options, findings)


def _action(item: Table) -> Scalar | None:
    """The key `run` or `uses` of a step of a GitHub workflow, None where the item is something else."""
    keys = {name.text: name for name, value in item.entries if isinstance(value, Scalar)}
    everything = {name.text for name, _ in item.entries}
    return (
        (keys.get("uses") or keys.get("run"))
        if everything <= {"uses", "run", "name", "id", "if", "with", "env", "shell"}
        else None
    )


def _refuse_action(key: Scalar, findings: Findings) -> None:
    """`- run: make` or `- uses: owner/action@v4`."""
    findings.error(
        Code.STEP_SHAPE,
        f"{key.text}: is a step of a GitHub workflow, not of wercker",
        at=key,
        hint="write - script:, and under it, four spaces further in, code: and the command"
        if key.text == "run"
        else "name a wercker step, e.g. - npm-install, or write a script; the source is checked out already",
    )


def _key(item: Table, findings: Findings) -> Scalar:
    """Which key names the step: the first, unless another one plainly does."""
    first, value = item.entries[0]
    if len(item.entries) == 1 or is_null(value) or isinstance(value, Table):
        return first
    others = [
        key
        for key, other in item.entries[1:]
        if (is_null(other) or isinstance(other, Table)) and key.text not in STEP_OPTIONS
    ]
    if first.text not in STEP_OPTIONS or len(others) != 1:
        return first
    findings.warning(
        Code.STEP_REPAIRED,
        f"{others[0].text} is taken as the step and {first.text} as its option",
        at=first,
        hint=f"write {others[0].text}: first and its options under it",
    )
    return others[0]


def _options(
    key: Scalar,
    value: Node | None,
    siblings: tuple[tuple[Scalar, Node], ...],
    findings: Findings,
) -> tuple[tuple[Scalar, Node], ...] | None:
    """The step's options, or None where what stands under it cannot be options."""
    if isinstance(value, Table):
        if not siblings:
            return value.entries
        if siblings[0][0].line >= key.line:
            # Options before the step were reported already.
            findings.warning(
                Code.STEP_REPAIRED,
                f"options of {key.text} stand under it and beside it; all of them are used",
                at=siblings[0][0],
                hint=f"indent {siblings[0][0].text} like the others",
            )
        nested = {name.text for name, _ in value.entries}
        return (*value.entries, *(each for each in siblings if each[0].text not in nested))
    if siblings:
        if not is_null(value):
            findings.warning(
                Code.STEP_VALUE,
                f"what stands behind {key.text}: is ignored, since the step has options",
                at=key,
            )
        return siblings
    if is_null(value):
        if key.text != "script":
            findings.warning(
                Code.STEP_NO_PROPERTIES,
                f"step {key.text} has a colon but no options",
                at=key,
                hint=f"write: - {key.text}",
            )
        return ()
    _refuse_value(key, value, findings)
    return None


def _refuse_value(key: Scalar, value: Node | None, findings: Findings) -> None:
    if isinstance(value, Items):
        findings.error(
            Code.STEP_SHAPE,
            f"the options of {key.text} are a list",
            at=value,
            hint="write code: | under script:, and each command on a line of its own below it, further in"
            if key.text == "script" and all(isinstance(each, Scalar) for each in value.items)
            else "remove the dashes before the options",
        )
    elif isinstance(value, Scalar):
        option = "code" if key.text == "script" else "name"
        findings.error(
            Code.STEP_SHAPE,
            f"step {key.text} has a string where its options belong",
            at=value,
            hint=f"write {option}: {value.text.strip()} under it, four spaces further in"
            if "\n" not in value.text.strip()
            else f"write {option}: | under it, four spaces further in, and the text under that",
        )


def _step(key: Scalar, options: tuple[tuple[Scalar, Node], ...], findings: Findings) -> Step:
    match = _IDENTIFIER.fullmatch(key.text.strip())
    if match is None:
        findings.error(
            Code.STEP_IDENTIFIER,
            f"{key.text!r} is not a step: steps are written owner/name@version",
            at=key,
            hint=_identifier_hint(key.text),
        )
        # The pipeline cannot run, but its steps are still counted.
        return Step(identifier=key.text, name=key.text, kind="registry", line=key.line)
    texts: dict[str, str] = {}
    for name, value in options:
        if name.text == "code" and match["name"] == "script" and not isinstance(value, Scalar):
            _refuse_code(value, findings)
            return Step(identifier=key.text, name="script", kind="script", line=key.line)
        texts[name.text] = _text(name, value, findings)
    reserved = {name: texts.pop(name, "") for name in _RESERVED}
    code = texts.pop("code", "")
    kind: Literal["script", "internal", "registry"] = "registry"
    if match["name"] == "script":
        kind = "script"
        if not code.strip():
            findings.warning(
                Code.SCRIPT_EMPTY,
                "this script has no code, so it does nothing",
                at=key,
                hint="add code: under it",
            )
    elif match["owner"] == "internal":
        kind = "internal"
    _check_names(key, match["name"], kind, options, findings)
    return Step(
        identifier=key.text,
        owner=match["owner"] or "wercker",
        name=match["name"],
        version=match["version"] or "*",
        url=match["url"] or "",
        kind=kind,
        display_name=reserved["name"],
        cwd=reserved["cwd"],
        checkpoint=reserved["checkpoint"],
        code=code,
        properties=tuple(texts.items()),
        line=key.line,
    )


def _refuse_code(value: Node, findings: Findings) -> None:
    """`code: { make; }` or `code: {{ x }}`: the original took it for no code, and the step passed."""
    findings.error(
        Code.STEP_OPTION_TYPE,
        f"the code of this script is a {'list' if isinstance(value, Items) else 'map'} to YAML, so nothing would run",
        at=value,
        hint="write code: |, and the script on the next lines, further in",
    )


def _check_names(
    key: Scalar,
    name: str,
    kind: Literal["script", "internal", "registry"],
    options: tuple[tuple[Scalar, Node], ...],
    findings: Findings,
) -> None:
    """Tell a step that is nearly one of ours, and options that are nearly, or not at all, those of the step."""
    if kind == "internal" and name not in INTERNAL:
        findings.warning(
            Code.STEP_UNKNOWN,
            f"unknown internal step internal/{name}",
            at=key,
            hint=did_you_mean(name, tuple(INTERNAL)) or f"there are: {', '.join(INTERNAL)}",
        )
        return
    if kind == "registry" and (hint := did_you_mean(name, ("script",))):
        findings.warning(Code.STEP_UNKNOWN, f"{name} is not a known step", at=key, hint=hint)
        return
    if kind == "script":
        _check_conditions(options, findings)
    elif kind == "registry":
        _check_pin(key, name, findings)
    known = {"internal": INTERNAL.get(name), "script": ("code",)}.get(kind, STANDARD.get(name))
    if known is None:
        return
    required = REQUIRED.get(name) if kind == "internal" else None
    if required and all(option.text != required for option, _ in options):
        findings.warning(
            Code.STEP_OPTION_MISSING,
            f"{key.text} requires the option {required}, which is missing",
            at=key,
            hint=f"add {required}: below the step",
        )
    taken = (*known, *_RESERVED)
    spelt = {each.replace("_", "-") for each in taken}
    for option, _ in options:
        if option.text.replace("_", "-") in spelt:
            continue
        if (hint := did_you_mean(option.text, taken)) or kind == "internal":
            findings.warning(
                Code.STEP_OPTION,
                f"{key.text} has no option {option.text}"
                + ("; it is ignored" * (kind == "internal")),
                at=option,
                hint=hint or (f"it has: {', '.join(taken)}" if len(taken) < 16 else ""),
            )


_CONDITIONS = frozenset(
    {
        "when", "if", "only", "except", "branch", "branches", "needs", "env", "environment", "shell", "timeout",
        "timeout-minutes", "retry", "continue-on-error", "allow_failure", "working-directory",
        "working_directory", "image",
    }
)  # fmt: skip
"""Options of scripts in other systems' files."""


def _check_conditions(options: tuple[tuple[Scalar, Node], ...], findings: Findings) -> None:
    """`when:` under a script: the script runs all the same, and the option only becomes a variable."""
    code = next((v.text for n, v in options if n.text == "code" and isinstance(v, Scalar)), "")
    for option, _ in options:
        variable = "WERCKER_SCRIPT_" + option.text.replace("-", "_").upper()
        if option.text in _CONDITIONS and variable not in code:
            findings.warning(
                Code.STEP_OPTION,
                f"script has no option {option.text}; it changes nothing but the variable {variable}",
                at=option,
                hint="a script has name, cwd and code; write conditions in the code",
            )


def _check_pin(key: Scalar, name: str, findings: Findings) -> None:
    """`- https://github.com/owner/step-foo` and `- owner/foo:1.2`, which read as the name of a step."""
    if "://" in key.text and '"' not in key.text:
        short = name.rsplit("/", 1)[-1].removeprefix("step-")
        findings.warning(
            Code.STEP_UNKNOWN,
            f"{key.text} is taken as the name of a step, not as a URL",
            at=key,
            hint=f'write the step\'s name before the URL, and the URL in double quotes: - {short} "{key.text}"',
        )
    elif pin := re.fullmatch(r"([^:]+):(v?\d[\w.-]*)", key.text):
        findings.warning(
            Code.STEP_UNKNOWN,
            f"{key.text} is taken as the name of a step, with the colon",
            at=key,
            hint=f"a version is written behind an @: - {pin[1]}@{pin[2]}",
        )


def _text(name: Scalar, value: Node, findings: Findings) -> str:
    if isinstance(value, Scalar):
        return source_text(value) if name.text in _RESERVED else property_text(value)
    findings.warning(
        Code.STEP_OPTION_TYPE,
        f"option {name.text} is a {'list' if isinstance(value, Items) else 'map'}; a step gets texts only, so this is "
        "empty",
        at=value,
        hint=f'write it as a string: {name.text}: "…"',
    )
    return ""


def _identifier_hint(text: str) -> str:
    """`- echo hi` is a command; `- a - b` is two items, of which the second is too far in."""
    if re.search(r"\s-\s*\S", text) and _IDENTIFIER.fullmatch(text.split(maxsplit=1)[0]):
        return "if these are several steps, begin each line with as many spaces before the dash"
    url = re.fullmatch(r"(\S+)\s+((?:https?|file)://\S+)", text.strip())
    if url is not None and _IDENTIFIER.fullmatch(url[1]):
        return f'put the url in double quotes: {url[1]} "{url[2]}"'
    if re.search(r"\s", text.strip()):
        return "a command is the code of a script: write - script:, and under it, four spaces further in, code: …"
    return "quotes, spaces and @ are no part of a name; a url stands behind it, in double quotes"


def _list_hint(node: Node) -> str:
    if isinstance(node, Table) and node.entries:
        return f"put a dash before each step: - {node.entries[0][0].text}:"
    return f"write: - {node.text}" if isinstance(node, Scalar) else ""
