"""Values of options that several verbs have."""

from __future__ import annotations

import click

from sentinel.api.model import seconds


def duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Seconds of a time such as `90s` or `1h30m`; None where the option is not given."""
    try:
        return None if value is None else seconds(value)
    except ValueError as e:
        raise click.BadParameter(str(e)) from e
