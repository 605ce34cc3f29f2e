"""The WorkflowRun resource: one run of a workflow of a project's wercker.yml, as Builds that follow each other.

Descriptions here are what `kubectl explain workflowrun` prints. The fields that it shares with a Build mean the
same and go into each of its Builds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, ValidationError

from sentinel.api.build import (
    DEEPEST,
    Application,
    EnvFrom,
    EnvVar,
    Image,
    PodSettings,
    SourceStatus,
    Text,
)
from sentinel.api.cache import Cache
from sentinel.api.conditions import Condition
from sentinel.api.model import Duration, Model, Resource, findings, is_deeper
from sentinel.api.reasons import Reason
from sentinel.api.source import Source
from sentinel.api.timeouts import Retries, Timeouts
from sentinel.errors import UserError

MOST_STAGES = 50
"""Pipelines of one workflow."""


class RunPhase(StrEnum):
    """One word about a whole run."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERRORED = "Errored"
    CANCELLED = "Cancelled"


class WorkflowRunSpec(Model):
    """Which workflow to run, and with what. Immutable but for `cancel`, `retry` and `ttlAfterFinished`."""

    workflow: Annotated[
        str,
        Field(
            max_length=128,
            description="The workflow of wercker.yml to run; it may be left out where there is one.",
        ),
    ] = ""
    source: Annotated[Source, Field(description="Where the project comes from.")]
    config: Annotated[
        str,
        Field(max_length=262144, description="Text of a wercker.yml, instead of the source's own."),
    ] = ""
    deploy_targets: Annotated[
        dict[str, Annotated[str, Field(max_length=128)]],
        Field(
            description="The deployTarget of pipelines, by their names in the workflow.",
            json_schema_extra={"maxProperties": MOST_STAGES},
        ),
    ] = {}
    application: Annotated[Application, Field(description="The project's name and owner.")] = (
        Application()
    )
    started_by: Annotated[Text, Field(description="Sets WERCKER_STARTED_BY.")] = ""
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=512,
            description="Variables of all Builds, in order, after those of a pipeline's envFile.",
        ),
    ] = []
    env_from: Annotated[
        list[EnvFrom],
        Field(max_length=64, description="Secrets and ConfigMaps whose keys become variables."),
    ] = []
    image: Annotated[Image, Field(description="What becomes of the boxes.")] = Image()
    cache: Annotated[Cache, Field(description="What is kept for the next run.")] = Cache()
    timeouts: Annotated[Timeouts, Field(description="How long things may take in one Build.")] = (
        Timeouts()
    )
    retries: Annotated[Retries, Field(description="When the cluster fails.")] = Retries()
    ttl_after_finished: Annotated[
        Duration,
        Field(
            description="How long a finished WorkflowRun is kept, and its Builds with it. 0s: until deleted."
        ),
    ] = "168h"
    cancel: Annotated[
        bool, Field(description="Set it to true to stop all Builds and to start no other.")
    ] = False
    retry: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="Raise it by one to run again every pipeline that did not pass.",
        ),
    ] = 0
    pod: Annotated[PodSettings, Field(description="About the Builds' pods.")] = PodSettings()


class PipelineStatus(Model):
    """One pipeline of the workflow, as it was read from wercker.yml, and how it stands."""

    name: Annotated[str, Field(description="Its name in the workflow.")]
    pipeline: Annotated[str, Field(description="The section of wercker.yml that it runs.")]
    requires: Annotated[
        list[Annotated[str, Field(max_length=128)]],
        Field(description="What must have succeeded before."),
    ] = []
    artifact_pipeline: Annotated[str, Field(description="Whose output is its source.")] = ""
    env: Annotated[list[EnvVar], Field(description="The variables of its envFile.")] = []
    build: Annotated[str, Field(description="Its Build.")] = ""
    retry: Annotated[int, Field(description="The spec.retry that the Build was created for.")] = 0
    phase: Annotated[
        str,
        Field(description="Waiting, the Build's phase, or Skipped."),
    ] = "Waiting"
    reason: Annotated[str, Field(description="The Build's reason, or why there is none.")] = ""
    message: Annotated[str, Field(max_length=256, description="Why it did not pass.")] = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it, unless it is retried."""
        return self.phase in ("Succeeded", "Failed", "Errored", "Cancelled", "Skipped")


class WorkflowRunStatus(Model):
    """How the run stands."""

    observed_generation: Annotated[int, Field(description="The generation last looked at.")] = 0
    phase: Annotated[RunPhase | None, Field(description="One word.")] = None
    conditions: Annotated[
        list[Condition],
        Field(
            description="Accepted, Succeeded, Finished.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = []
    progress: Annotated[str, Field(description="Pipelines that have ended / all.")] = ""
    workflow: Annotated[str, Field(description="The workflow that runs.")] = ""
    start_time: Annotated[str, Field(description="When work on it began.")] = ""
    completion_time: Annotated[str, Field(description="When it ended.")] = ""
    retry: Annotated[int, Field(description="The spec.retry that was last acted on.")] = 0
    source: Annotated[SourceStatus | None, Field(description="What is built.")] = None
    pipelines: Annotated[
        list[PipelineStatus],
        Field(max_length=MOST_STAGES, description="Every pipeline, in the file's order."),
    ] = []


class WorkflowRun(Resource):
    """A WorkflowRun as read from the API server."""

    spec: WorkflowRunSpec
    status: WorkflowRunStatus = WorkflowRunStatus()

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> WorkflowRun:
        """The WorkflowRun in `raw`, or UserError InvalidSpec that names every wrong field."""
        if is_deeper(raw.get("spec"), DEEPEST):
            raise UserError(
                f"the spec is nested more than {DEEPEST} levels deep, which no field of it is",
                reason=Reason.INVALID_SPEC,
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as e:
            raise UserError(
                f"the WorkflowRun's spec is not valid: {findings(e)}", reason=Reason.INVALID_SPEC
            ) from e
