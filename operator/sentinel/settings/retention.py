"""Settings of retention: how much of what builds leave behind is kept (`sentinel prune`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class ImageRetention(BaseModel):
    """Which images in registries go (`sentinel prune --images`)."""

    repositories: Annotated[
        list[str],
        Field(
            max_length=1000,
            description="Repositories that images are deleted from, as registry/path. A pattern with * stands for "
            "those that Builds' status names; {namespace} is replaced. Empty: none.",
        ),
    ] = []
    keep_last: Annotated[
        int,
        Field(ge=1, description="Images of one repository and branch that stay: the last ones."),
    ] = 10
    keep_days: Annotated[
        int, Field(ge=1, description="Days that an image stays at least, from its creation.")
    ] = 30
    docker_config: Annotated[
        str,
        Field(
            description="File with a docker config.json whose logins may delete. Empty: no login."
        ),
    ] = ""


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
    grace_hours: Annotated[
        int,
        Field(
            ge=1,
            description="Hours that an object of the store stays at least after it was written, whether or not a Build "
            "refers to it.",
        ),
    ] = 24
    cache_days: Annotated[
        int,
        Field(
            ge=2,
            description="Days after which caches and archives of steps go that no build has used.",
        ),
    ] = 30
    images: Annotated[ImageRetention, Field(description="Images in registries.")] = ImageRetention()
