"""Settings of retention: how much of what builds leave behind is kept (`sentinel prune`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class RetentionSettings(BaseModel):
    """How much of what builds leave behind is kept."""

    successful_builds_history_limit: Annotated[
        int | None,
        Field(
            ge=0,
            description="Builds of one application that succeeded, and as many WorkflowRuns, that the operator keeps: "
            "the last ones. Those with `ttlAfterFinished: 0s` neither count nor go. Unset: all, for their "
            "ttlAfterFinished.",
        ),
    ] = None
    failed_builds_history_limit: Annotated[
        int | None,
        Field(ge=0, description="The same for those that failed, errored or were cancelled."),
    ] = None
