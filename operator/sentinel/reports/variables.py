"""The variables of a Build that are reported: all names, and the values of public ones. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sentinel.api.build import Build
from sentinel.plan.generic import generic_variables
from sentinel.plan.model import PlanSource
from sentinel.settings import Settings

VALUE_LIMIT = 4096
"""Characters of one value."""
VALUES_LIMIT = 65_536
"""Characters of all values of a Build; of further variables only the names are sent."""

_UNKNOWN = frozenset({"WERCKER_ROOT", "WERCKER_SOURCE_DIR"})
"""Depend on wercker.yml, which the status does not have."""


def environment(build: Build, settings: Settings) -> dict[str, Any]:
    """The names of all variables that Build and wercker set, and the values of public ones.

    A value is as the Build has it: `$(NAME)` is not replaced, so nothing of a Secret is in it.
    """
    own = [
        {"name": name, "value": value}
        for name, value in generic(build, settings)
        if name not in _UNKNOWN
    ]
    named: list[dict[str, Any]] = []
    left = VALUES_LIMIT
    for each in build.spec.env:
        origin = each.value_from
        if origin is None:
            value = each.value[:VALUE_LIMIT]
            left -= len(value)
            named.append({"name": each.name, "value": value} if left >= 0 else {"name": each.name})
        elif origin.secret_key_ref is not None:
            named.append({"name": each.name, "secret": True})
        else:
            named.append({"name": each.name})
    from_: list[dict[str, Any]] = [
        {
            "prefix": each.prefix,
            "kind": "Secret" if each.secret_ref is not None else "ConfigMap",
            "name": ref.name,
        }
        for each in build.spec.env_from
        if (ref := each.secret_ref or each.config_map_ref) is not None
    ]
    return {"variables": [*own, *named], "from": from_}


def generic(build: Build, settings: Settings) -> tuple[tuple[str, str], ...]:
    git, archive = build.spec.source.git, build.spec.source.archive
    status = build.status.source
    source = PlanSource(
        url=git.url if git is not None else archive.url if archive is not None else "",
        commit=status.commit if status is not None else "",
        digest=status.digest.removeprefix("sha256:") if status is not None else "",
        branch=status.branch if status is not None else "",
        tag=status.tag if status is not None else "",
    )
    started = build.status.start_time or build.metadata.get("creationTimestamp", "")
    try:
        moment = datetime.fromisoformat(started)
        return generic_variables(
            build, source=source, settings=settings, started=moment, base_path="", source_dir=""
        )
    except ValueError:  # not a valid URL; such a Build ends before its steps
        return ()
