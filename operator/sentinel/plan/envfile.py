"""wercker's ENVIRONMENT files, whose `X_` and `XXX_` lines are the variables of a build (wercker.md "The environment").

`X_NAME=value` is public, `XXX_NAME=value` is protected. The order is kept: later ones may refer to earlier ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_ESCAPE = re.compile(r'\\(["n])')


@dataclass(frozen=True, kw_only=True)
class FileVariable:
    """One variable of a file. `value` is text as a Build's spec.env wants it where it is public, literal elsewhere."""

    name: str
    value: str
    protected: bool


@dataclass(frozen=True, kw_only=True)
class EnvFile:
    """What a file says, in its order, and what is odd about it, for people."""

    variables: tuple[FileVariable, ...]
    warnings: tuple[str, ...] = ()


def read_env_file(text: str, *, environ: Mapping[str, str] | None = None) -> EnvFile:
    """The variables in `text`; one of `environ` (X_NAME=…) that is not empty goes before the file's, as in wercker.

    A line is split at its first `=`; matching quotes around the value go, and inside them `\\"` and `\\n` are decoded.
    `$NAME` of an earlier variable becomes `$(NAME)` in a public value, which a Build replaces: wercker's shell did.
    """
    said: dict[str, FileVariable] = {}
    warnings: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        key, equals, rest = line.partition("=")
        if not equals or line.lstrip().startswith("#"):
            continue
        protected = key.startswith("XXX_")
        name = key.removeprefix("XXX_" if protected else "X_")
        if name == key:
            warnings.append(
                f"line {number}: {key.strip()} begins with neither X_ nor XXX_ and is no variable of builds"
            )
            continue
        if not _NAME.fullmatch(name):
            warnings.append(f"line {number}: {name!r} cannot be the name of a variable")
            continue
        value = (environ or {}).get(key) or _unquoted(rest.strip())
        used = [match[1] or match[2] for match in _USE.finditer(value)]
        if protected:
            earlier = [each for each in used if each in said]
            if earlier:
                warnings.append(
                    f"line {number}: ${earlier[0]} in {name} stays as it is: values of a Secret are never expanded"
                )
        else:
            value = _referring(value, frozenset(said))
        # A name that stands again is the later one, at its new place.
        said.pop(name, None)
        said[name] = FileVariable(name=name, value=value, protected=protected)
    return EnvFile(variables=tuple(said.values()), warnings=tuple(warnings))


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "\"'":
        return value
    return _ESCAPE.sub(lambda match: '"' if match[1] == '"' else "\n", value[1:-1])


def _referring(value: str, known: frozenset[str]) -> str:
    """`value` for spec.env: uses of known variables as $(NAME), and nothing else that a Build would replace."""

    def use(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return f"$({name})" if name in known else match[0]

    return _USE.sub(use, value.replace("$(", "$$("))
