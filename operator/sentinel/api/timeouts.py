"""How long the parts of a build may take, and what is tried again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sentinel.api.model import Duration, Model


class Timeouts(Model):
    """How long things may take. Durations are Go's: 90s, 25m, 1h30m."""

    pending: Annotated[Duration, Field(description="Pod created until the box runs.")] = "15m"
    build: Annotated[Duration, Field(description="All main steps together.")] = "2h"
    command: Annotated[
        Duration | None,
        Field(description="One step. Default: command-timeout of wercker.yml, else 25m."),
    ] = None
    no_response: Annotated[
        Duration | None,
        Field(
            description="A step's silence. Default: no-response-timeout of wercker.yml, else 5m."
        ),
    ] = None


class Retries(Model):
    """When the cluster fails."""

    infrastructure: Annotated[
        int, Field(ge=0, le=5, description="How often a lost pod is replaced.")
    ] = 1
    after_start: Annotated[
        bool, Field(description="Replace it even when a step of the user's has started already.")
    ] = False
