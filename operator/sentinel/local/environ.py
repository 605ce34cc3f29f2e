"""The variables of a local build: wercker's ENVIRONMENT file and the X_… and XXX_… variables of the caller. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sentinel.plan.envfile import FileVariable, read_env_file

SECRET = "env-file"  # noqa: S105 - the name that protected variables are referred to by
_NAME = re.compile(r"(X|XXX)_([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, kw_only=True)
class Given:
    """`env` as a Build's spec wants it; `secrets` holds the protected values, which are only referred to in it."""

    env: tuple[dict[str, Any], ...] = ()
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()


def given_variables(text: str, environ: Mapping[str, str]) -> Given:
    """Those of the caller's environment that are not in the file, sorted, then the file's in its order.

    As in wercker, a variable of the environment that is not empty goes before the file's value of the same name.
    """
    read = read_env_file(text, environ=environ)
    known = {each.name for each in read.variables}
    own: list[FileVariable] = []
    for key in sorted(environ):
        match = _NAME.fullmatch(key)
        if match is None or match[2] in known or not environ[key]:
            continue
        protected = match[1] == "XXX"
        value = environ[key] if protected else environ[key].replace("$(", "$$(")
        own.append(FileVariable(name=match[2], value=value, protected=protected))
    variables = (*own, *read.variables)
    return Given(
        env=tuple(_entry(each) for each in variables),
        secrets={each.name: each.value.encode() for each in variables if each.protected},
        warnings=read.warnings,
    )


def _entry(each: FileVariable) -> dict[str, Any]:
    if not each.protected:
        return {"name": each.name, "value": each.value}
    return {"name": each.name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": each.name}}}
